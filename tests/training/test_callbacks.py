"""Code of one's own while a run goes: when it is called, with what, and what becomes of its mistakes."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clipadapt.config import Config
from clipadapt.errors import ConfigError, TrainingError
from clipadapt.training import checkpoints
from clipadapt.training.callbacks import EVENTS, Callback, State
from clipadapt.training.trainer import train


class Diary(Callback):
    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def on_start(self, state: State) -> None:
        self.lines.append(("start", state.step, state.epoch, state.steps))

    def on_step(self, state: State, figures: Mapping[str, float]) -> None:
        self.lines.append(("step", state.step, state.epoch, figures["loss"] > 0))

    def on_epoch(self, state: State, figures: Mapping[str, float]) -> None:
        self.lines.append(("epoch", state.step, state.epoch, "tune_balanced_accuracy" in figures))

    def on_end(self, state: State) -> None:
        self.lines.append(("end", state.step, state.epoch, (state.run.adapter / "adapter_config.json").is_file()))


def test_every_event_in_its_turn(configured: Callable[..., Config]) -> None:
    diary = Diary()
    train(configured(train={"epochs": 2}), callbacks=[diary])
    steps = diary.lines[0][3]
    half = steps // 2
    expected = [("start", 0, 0, steps)]
    for epoch in range(2):
        expected += [("step", epoch * half + step + 1, epoch, True) for step in range(half)]
        expected += [("epoch", (epoch + 1) * half, epoch + 1, True)]
    assert diary.lines == [*expected, ("end", steps, 2, True)]


def test_the_base_class_has_every_event_and_an_object_needs_but_one(configured: Callable[..., Config]) -> None:
    assert all(callable(getattr(Callback(), event)) for event in EVENTS)

    class Plain:
        ended = False

        def on_end(self, state: State) -> None:
            self.ended = True

    plain = Plain()
    train(configured(train={"epochs": 1}), callbacks=[plain])
    assert plain.ended


@pytest.mark.parametrize(("callback", "fault"), [(Diary, "Diary is a class; hand in an object"), (3, "int has none")])
def test_what_could_never_be_called_is_refused(configured: Callable[..., Config], callback: Any, fault: str) -> None:
    config = configured()
    with pytest.raises(ConfigError, match=rf"callbacks\[1\]: {fault}"):
        train(config, callbacks=[Diary(), callback])


def test_one_that_raises_stops_the_run_and_the_run_goes_on_without_it(configured: Callable[..., Config]) -> None:
    class Broken(Callback):
        def on_epoch(self, state: State, figures: Mapping[str, float]) -> None:
            raise KeyError("nothing there")

    config = configured(train={"epochs": 2})
    named = r"callback Broken\.on_epoch raised KeyError at step \d+: 'nothing there'.*goes on from it"
    with pytest.raises(TrainingError, match=named):
        train(config, callbacks=[Broken()])
    diary = Diary()
    run = train(config, callbacks=[diary])
    assert diary.lines[0][1] == diary.lines[-1][1] // 2 > 0, "it went on from the epoch that was done"
    assert checkpoints.latest(run.checkpoints) is not None


def test_a_path_is_taken_for_a_config_and_a_loss_of_ones_own_trains(
    configured: Callable[..., Config], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_loss.py").write_text(
        "from clipadapt.losses.captions import multi_positive\n"
        "class Own:\n"
        "    def __init__(self, factor):\n"
        "        self.factor = factor\n"
        "    def __call__(self, image, text, pairs, *, scale, bias):\n"
        "        return self.factor * multi_positive(image, text, pairs, scale=scale, bias=bias).mean()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    losses = []
    for name, options in (("multi_positive", {}), ("own_loss:Own", {"factor": 3.0})):
        sections = {"train": {"epochs": 1}, "loss": {"name": name, "options": options}}
        file = tmp_path / "config.yaml"
        file.write_text(configured(**sections, output_dir=str(tmp_path / name.partition(":")[0])).to_yaml())
        losses.append(next(line["loss"] for line in train(str(file)).metrics() if "lr" in line))
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)
