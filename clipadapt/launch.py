"""The main job, from a config to an export: where reading starts.

    accelerate launch -m clipadapt.launch --config configs/fashion_eva02_b16.yaml [train.lr=2e-4 output_dir=...]
    accelerate launch train.py --config ...                     # the same, in a checkout

catalogue -> towers -> LoRA -> training          clipadapt.train, on every process of the launch
-> what tune says of tags and typed queries      on the first process, from here on
-> evaluation against the base -> report
-> merge -> export, proven equal -> index -> gate -> what to type next

What the last steps need is looked at in the first seconds. One that fails all the same, after an hour of training,
leaves the others done and prints the command that makes up for it. Every step is a `clipadapt` command of its own.
"""

import argparse
import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from clipadapt.cli import reporting
from clipadapt.cli.summary import shell_command
from clipadapt.errors import ClipadaptError, ConfigError, listing
from clipadapt.memory import give_back

if TYPE_CHECKING:
    from clipadapt.config import Config
    from clipadapt.evaluation.gate import Gate
    from clipadapt.evaluation.suite import Suite
    from clipadapt.inputs import Inputs
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.runs import Run
    from clipadapt.training.callbacks import State

T = TypeVar("T")
log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the job that the command line names; `arguments` None takes the process's own."""
    parser = argparse.ArgumentParser(
        prog="clipadapt.launch", description="Adapt a CLIP to a catalogue.", epilog="See README.md and configs/."
    )
    parser.add_argument("--config", required=True, help="a YAML file of configs/, or of your own")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replaces a key of the config")
    given = parser.parse_args(arguments)
    with reporting(stopped="stopped; the same command goes on from the last checkpoint"):
        adapt(given.config, given.overrides)


def adapt(path: str, overrides: Sequence[str] = ()) -> None:
    """The whole job on this process.

    Raises:
        ClipadaptError: whatever keeps the training from its end; nothing was trained for nothing.
        SystemExit: the adapter is there, and a later step failed; with that step's exit code.
    """
    from clipadapt import Run, train
    from clipadapt.cli.summary import closing_summary
    from clipadapt.config import Config
    from clipadapt.inputs import resolve
    from clipadapt.processes import is_main_process
    from clipadapt.processes.exchange import leave

    config = Config.load(path, overrides)
    inputs = resolve(config=config)
    ending = Ending.of(config, inputs)
    warn_of_labels(config, inputs)
    with Run(config.output_dir).locked():
        run = train(config, inputs=inputs, callbacks=[ending])
        leave()
        if not is_main_process():
            return
        code = take(ending.steps(run))
    print(closing_summary(run))
    if code:
        raise SystemExit(code)


def warn_of_labels(config: "Config", inputs: "Inputs") -> None:
    """Says before training that too many of its labels are wrong, where the config names an audit.

    Raises:
        ConfigError: what it names is no audit's result.
    """
    from clipadapt.audit.label_error import LabelError

    if config.data.label_audit is None:
        return
    found = LabelError.load(config.data.label_audit)
    if warning := found.warning(inputs.items(config.data.splits.train), config.data.label_error):
        log.warning("%s: %s", config.data.source, warning)


class Step(NamedTuple):
    """One thing to do after training."""

    name: str
    do: Callable[[], object]
    command: str
    """Does it again, by itself."""


def take(steps: Sequence[Step]) -> int:
    """Takes the steps in order, each whatever became of the ones before; the exit code of the first that failed, or 0.

    A Ctrl-C ends all of them and names the commands of those that are left.
    """
    code = 0
    for place, step in enumerate(steps):
        give_back()  # of the training, or the step before
        try:
            step.do()
        except (KeyboardInterrupt, SystemExit):
            log.error("what is left to do:%s", listing([left.command for left in steps[place:]]))
            raise
        except Exception as error:
            bug = not isinstance(error, ClipadaptError | OSError)
            log.error("%s failed: %s\n  to do it again: %s", step.name, error, step.command, exc_info=bug)
            code = code or (error.exit_code if isinstance(error, ClipadaptError) else 1)
    return code


@dataclass(frozen=True)
class Ending:
    """What follows a training, as far as it can be known before."""

    config: "Config"
    inputs: "Inputs"
    suite: "Suite | None"
    gate: "Gate | None"

    @classmethod
    def of(cls, config: "Config", inputs: "Inputs") -> "Ending":
        """Opens everything that the steps after training will open.

        Raises:
            ConfigError: a suite or gate that cannot be used with this catalogue, a retention source that is not there;
                all such faults at once.
        """
        from clipadapt.evaluation.gate import Gate
        from clipadapt.evaluation.suite import Suite

        faults: list[str] = []

        suite = _collect(faults, Suite.load, config.eval.suite) if config.eval.suite else None
        gate = _collect(faults, Gate.load, config.eval.gate) if config.eval.gate else None
        if suite is not None:
            _collect(faults, suite.check, inputs.splits.validation)
            _collect(faults, suite.require_sources)
        if gate is not None:
            faults += _unmeasured(gate, suite)
        if faults:
            raise ConfigError(
                f"what follows the training could not be done, so nothing was trained: {len(faults)} fault(s)"
                f"{listing(faults)}\nmend it, or leave it out with eval.suite=null or eval.gate=null"
            )
        return cls(config, inputs, suite, gate)

    def on_start(self, state: "State") -> None:
        """A callback of training: exports that this model cannot have are refused before the first step."""
        from clipadapt.export.formats import form_named

        for name in self.config.export:
            form_named(name).requires(state.encoder)

    def steps(self, run: "Run") -> list[Step]:
        """What is fitted on tune, evaluation, exports, index and gate, as far as the config wants them."""
        from clipadapt.export import export
        from clipadapt.recognition.vectors import VectorCache

        cache = VectorCache()
        config, model = self.config, f"run:{run.path}"
        about = ("--model", model, "--config", run.path / "config.yaml")
        measured = (
            "eval",
            *about,
            "--against",
            config.model.name,
            "--suite",
            config.eval.suite or "",
            "--out",
            run.report,
            *(() if config.eval.show_pictures else ("--no-pictures",)),
        )
        steps = []
        if config.head == "text" and self.inputs.attributes:
            again = shell_command("tag", *about, "--fit", run.path)
            steps.append(Step("thresholds of tags", lambda: self.fit(run, cache), again))
        if self.suite is not None:
            steps.append(Step("evaluation", lambda: self.measure(run, cache), shell_command(*measured)))
        for form in config.export:
            out = run.export / form
            again = shell_command("export", model, "--to", form, "--out", out)
            steps.append(Step(f"export to {form}", functools.partial(export, model, form, out, overwrite=True), again))
        if config.index:
            again = shell_command("index", "build", *about, "--split", config.index, "--out", run.path / "index")
            steps.append(Step("index", lambda: self.index(run), again))
        if self.gate is not None:
            again = shell_command(*measured, "--gate", config.eval.gate or "")
            steps.append(Step("gate", lambda: self.judge(run), again))
        return steps

    def fit(self, run: "Run", cache: "VectorCache") -> None:
        """Which tags are sure, and how searches weigh what the model sees of values, by tune; kept in the run."""
        from clipadapt import load
        from clipadapt.tagging.fitting import fit_tune
        from clipadapt.tagging.inputs import tag_inputs

        inputs = self.inputs.of_run()
        to_fit = tag_inputs(inputs, inputs.default_split, tune=None, given=None)
        fit_tune(to_fit, load(f"run:{run.path}"), inputs.prompts, cache).save(run.path)

    def measure(self, run: "Run", cache: "VectorCache") -> None:
        """The run against its base on validation, into its report."""
        from clipadapt import evaluate, load

        config, inputs = self.config, self.inputs.of_run()
        assert self.suite is not None
        evaluate(
            load(f"run:{run.path}"),
            inputs.splits.validation,
            inputs.prompts,
            self.suite,
            split=inputs.default_split,
            against=load(config.model.name, image_size=config.model.image_size),
            train_counts=inputs.training_counts(),
            headline=inputs.headline,
            holdout_pairs=inputs.holdout_pairs,
            tune=inputs.tune,
            fitted_on=inputs.fitted_on,
            out=run.report,
            cache=cache,
            broken=config.data.broken,
            run=run,
            show_pictures=config.eval.show_pictures,
        )

    def index(self, run: "Run") -> None:
        """A search index of the split that the config names."""
        from clipadapt import Index, load

        Index.build(
            getattr(self.inputs.splits, str(self.config.index)), run.path / "index", encoder=load(f"run:{run.path}")
        )

    def judge(self, run: "Run") -> None:
        """The gate over what was measured.

        Raises:
            GateError: a condition does not hold.
        """
        from clipadapt import Results
        from clipadapt.evaluation.gate import require

        assert self.gate is not None
        for outcome in require(self.gate, Results.load(run.report).rows):
            log.info("gate: %s", outcome.reason)


def _collect(faults: list[str], what: Callable[..., T], *arguments: object) -> T | None:
    """What a call returns; its fault goes to `faults` and None comes back."""
    try:
        return what(*arguments)
    except ClipadaptError as error:
        faults.append(str(error))
        return None


def _unmeasured(gate: "Gate", suite: "Suite | None") -> list[str]:
    """Conditions on rows that the suite never measures."""
    if suite is None:
        return [f"eval.gate {gate.name!r}: nothing is measured where eval.suite is null"]
    measured = {"headline", *(name for task in suite.tasks for name in task.row_tasks())}
    return [
        f"gate {gate.name!r}: {condition} is about a task that suite {suite.name!r} does not measure; add it there"
        for condition in gate.conditions
        if not condition.optional and condition.row.split("@")[0] not in measured
    ]


if __name__ == "__main__":
    main()
