"""Callbacks: code of one's own that is called while a run goes.

    class Notify(Callback):
        def on_epoch(self, state: State, figures: Mapping[str, float]) -> None:
            post(f"epoch {state.epoch} of {state.config.name}: {figures['tune_balanced_accuracy']:.3f}")

    clipadapt.train(config, callbacks=[Notify()])

They are called on the main process alone, so that a message is sent once; they must not exchange anything with other
processes, nor change the model. What they write into the run's log after a checkpoint is gone where a run goes on from
it. One that raises stops the run, with its own error behind a clear message, and the same call goes on from the last
checkpoint. Nothing here knows of steps or losses.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clipadapt.config import Config
from clipadapt.errors import ClipadaptError, ConfigError, TrainingError
from clipadapt.runs import Run
from clipadapt.towers.encoder import TorchEncoder

EVENTS = ("on_start", "on_step", "on_epoch", "on_end")


class State(NamedTuple):
    """Where a run stands when a callback is called."""

    config: Config
    run: Run
    encoder: TorchEncoder
    """The model as it is now: to look at, not to change."""
    step: int
    """Optimizer steps done, of the main phase."""
    steps: int
    """Optimizer steps of the whole run."""
    epoch: int
    """Finished epochs."""
    best: int | None
    """Number of the best epoch so far, from 1; 0 is the text warm-up or the linear probe, None before all of them."""


class Callback:
    """Base of callbacks; each method does nothing until it is overridden."""

    def on_start(self, state: State) -> None:
        """Once, before anything is measured or trained; of a run that goes on, where it goes on."""

    def on_step(self, state: State, figures: Mapping[str, float]) -> None:
        """After each optimizer step: loss, its parts by name, lr, norm, accuracy where any was judged."""

    def on_epoch(self, state: State, figures: Mapping[str, float]) -> None:
        """After each epoch: its mean loss, and what tune says, as tune_NAME."""

    def on_end(self, state: State) -> None:
        """Once, when the best adapter lies in the run's folder."""


def checked(callbacks: Sequence[object]) -> tuple[object, ...]:
    """The callbacks, each of which has at least one method of `EVENTS`, whether or not it inherits from Callback.

    Raises:
        ConfigError: one that could never be called, such as a class in place of an object.
    """
    for place, callback in enumerate(callbacks):
        if isinstance(callback, type):
            raise ConfigError(
                f"callbacks[{place}]: {callback.__name__} is a class; hand in an object, as {callback.__name__}()"
            )
        if not any(callable(getattr(callback, event, None)) for event in EVENTS):
            raise ConfigError(
                f"callbacks[{place}]: {type(callback).__name__} has none of the methods {', '.join(EVENTS)}; "
                "inherit from clipadapt.training.callbacks.Callback and override one"
            )
    return tuple(callbacks)


def call(callbacks: Sequence[object], event: str, state: State, *arguments: object) -> None:
    """Calls one event of all callbacks, in order.

    Raises:
        TrainingError: a callback raised; names it, the event and the step.
        ClipadaptError: a callback's own, which says what to do as it is.
    """
    for callback in callbacks:
        method = getattr(callback, event, None)
        if method is None:
            continue
        try:
            method(state, *arguments)
        except ClipadaptError:
            raise
        except Exception as error:
            name = f"{type(callback).__name__}.{event}"
            raise TrainingError(
                f"callback {name} raised {type(error).__name__} at step {state.step}: {error}. "
                "The last checkpoint is whole: mend or leave out the callback, and the same call goes on from it"
            ) from error
