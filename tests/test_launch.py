"""The whole job: what its end needs is known at its beginning, and what fails late leaves the rest done."""

import logging
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training_material import configured, material

from clipadapt import cli, export, launch, load
from clipadapt.config import Config
from clipadapt.data.splits import load_splits
from clipadapt.errors import ConfigError, TrainingError, UsageError
from clipadapt.export import formats
from clipadapt.inputs import resolve
from clipadapt.launch import Ending, Step, adapt, main, take
from clipadapt.prompts import Prompts
from clipadapt.runs import Run
from clipadapt.search.wishes import Signals
from clipadapt.tagging.thresholds import Thresholds
from clipadapt.towers.encoder import TorchEncoder

__all__ = ["configured", "material"]
TESTS = Path(__file__).parent
SUITE = "name: small\nmin_items: 1\nstatistics: {draws: 100, permutations: 100}\ntasks:\n  - {task: recognition}\n"
GATE = "name: g\nconditions:\n  - {row: %s, metric: balanced_accuracy, bound: mean, above: %s}\n"


@pytest.fixture
def written(configured: Callable[..., Config], tmp_path: Path) -> Callable[..., Path]:
    """Sections -> a config file of one epoch with suite, export and index."""

    def write(suite: str = SUITE, gate: str | None = None, **sections: Any) -> Path:
        (tmp_path / "suite.yaml").write_text(suite)
        (tmp_path / "gate.yaml").write_text(gate or "")
        ends = {"suite": str(tmp_path / "suite.yaml"), "gate": str(tmp_path / "gate.yaml") if gate else None}
        raw: dict[str, Any] = {"train": {"epochs": 1}, "eval": ends, "export": ["open_clip"], "index": "validation"}
        config = configured(**(raw | sections))
        file = tmp_path / "config.yaml"
        file.write_text(config.to_yaml())
        return file

    return write


def test_the_whole_job_leaves_everything_and_says_what_is_next(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt(str(written(gate=GATE % ("headline", -1))), ["name=renamed"])
    run = Run.open(tmp_path / "run")
    assert run.config.name == "renamed"
    for place in ("adapter", "report/results.json", "export/open_clip/open_clip_model.safetensors", "index",
                  "thresholds.json", "queries.safetensors"):  # fmt: skip
        assert (run.path / place).exists(), place
    said = capsys.readouterr().out
    assert f"clipadapt index search {run.path / 'index'}" in said and "--help" not in said


def test_without_an_index_the_next_step_is_one_that_can_be_typed(
    written: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapt(str(written(index=None, eval={"suite": None}, export=[])))
    said = capsys.readouterr().out
    run = tmp_path / "run"
    assert f"clipadapt index build --model run:{run}" in said
    assert "--help" not in said and "SOURCE" not in said


@pytest.mark.parametrize(
    ("sections", "fault"),
    [
        ({"suite": SUITE + "  - {task: retention, name: other, source: '${NOWHERE}/x', attribute: a}\n"}, "NOWHERE"),
        ({"suite": SUITE + "  - {task: retention, name: other, source: /nowhere, attribute: a}\n"}, "/nowhere"),
        ({"suite": SUITE.replace("recognition}", "recognition, attributes: [Patern]}")}, "did you mean 'Pattern'"),
        ({"suite": "name: s\ntasks: [{task: nonsense}]\n"}, "suite.yaml"),
        ({"gate": "conditions: []"}, "gate.yaml"),
        ({"gate": GATE % ("retention", 0)}, "does not measure; add it there"),
        ({"gate": GATE % ("headline", 0), "eval": {"suite": None, "gate": "gate.yaml"}}, "nothing is measured"),
    ],
)
def test_what_the_end_needs_is_known_at_the_beginning(
    written: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    fault: str,
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir(tmp_path)
    file = written(**sections)
    with pytest.raises(ConfigError, match=r"nothing was trained") as refused:
        adapt(str(file))
    assert fault in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_gate_may_ask_for_a_segment_and_for_what_is_optional(written: Callable[..., Path]) -> None:
    optional = "  - {row: retention, metric: balanced_accuracy, bound: mean, above: 0, optional: true}\n"
    config = Config.load(written(gate=GATE % ("recognition@Pattern=Striped", 0) + optional))
    assert Ending.of(config, resolve(config=config)).gate is not None


def test_an_export_that_the_model_cannot_have_is_refused_before_the_first_step(
    written: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="transformers has no architecture"):
        adapt(str(written(export=["transformers"])))
    assert Run(tmp_path / "run").metrics() == []


def test_what_fails_late_leaves_the_rest_done_and_names_its_command(
    written: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "run", full)
    with pytest.raises(SystemExit) as ended:
        adapt(str(written(gate=GATE % ("headline", 1))))
    assert ended.value.code == 1  # the first failure's, not the gate's
    run = tmp_path / "run"
    assert (run / "report" / "results.json").exists() and (run / "index").exists()
    text = caplog.text
    assert "export to open_clip failed: [Errno 28] No space left on device" in text
    assert f"clipadapt export run:{run} --to open_clip --out {run / 'export' / 'open_clip'}" in text
    assert "gate failed" in text and "Traceback" not in text
    assert "Where things are" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_that_are_named_make_up_for_what_failed(
    written: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(*_: object) -> None:
        raise TrainingError("not this time")

    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "cache"))
    with monkeypatch.context() as broken:
        broken.setattr(launch.Ending, "fit", fails)
        broken.setattr(launch.Ending, "measure", fails)
        broken.setattr(launch.Ending, "index", fails)
        broken.setattr(formats, "run", lambda *_, **__: [][0])
        with pytest.raises(SystemExit):
            adapt(str(written()))
    run = tmp_path / "run"
    assert not any((run / place).exists() for place in ("report", "index", "export/open_clip", "thresholds.json"))
    named = [line.partition("to do it again: ")[2] for line in caplog.text.splitlines() if "to do it again" in line]
    assert len(named) == 4
    for command in named:
        assert cli.main(shlex.split(command)[1:]) == 0, command
    assert (run / "report/results.json").is_file() and (run / "index").is_dir()
    assert (run / "export/open_clip/open_clip_model.safetensors").is_file()
    assert Thresholds.load(run / "thresholds.json").attributes and Signals.load(run / "queries.safetensors").attributes


def test_a_gate_alone_ends_with_its_own_code(written: Callable[..., Path]) -> None:
    with pytest.raises(SystemExit) as ended:
        adapt(str(written(gate=GATE % ("headline", 1), export=[], index=None)))
    assert ended.value.code == 3


def test_pictures_may_be_left_out_of_the_report(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def full(*_: Any, **more: Any) -> None:
        given.update(more)
        raise OSError(28, "No space left on device")

    steps: list[Step] = []
    monkeypatch.setattr("clipadapt.evaluate", full)
    monkeypatch.setattr(launch, "take", lambda found: steps.extend(found) or take(found))
    with pytest.raises(SystemExit):
        adapt(str(written(export=[], index=None)), ["eval.show_pictures=false"])
    assert given["show_pictures"] is False
    evaluation = next(step for step in steps if step.name == "evaluation")
    assert evaluation.command.endswith("--no-pictures"), "nor by the command that does it again"


def test_no_model_of_one_step_is_in_memory_in_the_next(
    written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[weakref.ref[TorchEncoder]] = []
    alive: dict[str, int] = {}
    made = TorchEncoder.__init__

    def noted(self: TorchEncoder, *args: Any, **more: Any) -> None:
        made(self, *args, **more)
        seen.append(weakref.ref(self))

    def counted(step: Step) -> Step:
        def do() -> None:
            alive[step.name] = sum(one() is not None for one in seen)
            step.do()

        return step._replace(do=do)

    monkeypatch.setattr(TorchEncoder, "__init__", noted)
    monkeypatch.setattr(launch, "take", lambda found: take([*map(counted, found), counted(Step("end", int, ""))]))
    adapt(str(written()))
    assert len(seen) >= 5, "of training, tags, two of evaluation, index; exports copy one"
    assert alive == dict.fromkeys(["thresholds of tags", "evaluation", "export to open_clip", "index", "end"], 0)


def test_a_stop_names_the_commands_that_are_left(caplog: pytest.LogCaptureFixture) -> None:
    def stop() -> None:
        raise SystemExit(130)

    done: list[str] = []
    steps = [Step("a", lambda: done.append("a"), "do a"), Step("b", stop, "do b"), Step("c", stop, "do c")]
    with caplog.at_level(logging.INFO), pytest.raises(SystemExit):
        take(steps)
    assert done == ["a"] and "do b\n  - do c" in caplog.text and "do a" not in caplog.text


def test_a_bug_in_a_step_keeps_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    assert take([Step("a", lambda: [][0], "do a"), Step("b", lambda: None, "do b")]) == 1
    assert "IndexError" in caplog.text and "do a" in caplog.text


def test_the_same_command_over_a_changed_catalogue_is_refused(
    written: Callable[..., Path], material: Path, tmp_path: Path
) -> None:
    shutil.copytree(material / "shop", tmp_path / "shop")
    sections = {"eval": {"suite": None}, "export": [], "index": None}
    raw = written(**sections).read_text().replace(str(material / "shop"), str(tmp_path / "shop"))
    file = tmp_path / "changed.yaml"
    file.write_text(raw)
    adapt(str(file))
    before = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    table = tmp_path / "shop" / "train" / "metadata.csv"
    table.write_text(table.read_text().replace("Striped", "Zigzag"))
    with pytest.raises(ConfigError, match=r"changed since run .*\n  - train: column 'Pattern' differs"):
        adapt(str(file))
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() == before


def test_a_run_moved_with_what_it_needs_works_from_anywhere(
    written: Callable[..., Path], material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained with paths from a project's folder; the project is moved, and used from another working directory."""
    project = tmp_path / "project"
    shutil.copytree(material, project)
    monkeypatch.chdir(project)
    shutil.copy(written(suite=SUITE), "config.yaml")
    text = Path("config.yaml").read_text().replace(f"{material}/", "").replace(str(tmp_path / "run"), "runs/a")
    shutil.copy(tmp_path / "suite.yaml", "suite.yaml")
    Path("config.yaml").write_text(text.replace(str(tmp_path / "suite.yaml"), "suite.yaml"))
    adapt("config.yaml")
    named = [
        file.relative_to(project).as_posix()
        for file in sorted((project / "runs").rglob("*"))
        if file.suffix in (".json", ".yaml", ".md", ".html", ".jsonl") and str(tmp_path) in file.read_text()
    ]
    assert named == ["runs/a/environment.json"], "which is about this machine"
    whole = load("run:runs/a").encode_texts(["a striped shirt"])
    monkeypatch.chdir(tmp_path)
    project.rename(tmp_path / "moved")
    for file in (tmp_path / "moved").rglob("*"):
        file.chmod(0o555 if file.is_dir() else 0o444)
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "moved" / "runs").rglob("*")}
    torch.testing.assert_close(load("run:moved/runs/a").encode_texts(["a striped shirt"]), whole)
    config = Run.open("moved/runs/a").config
    assert Path(config.data.source) == Path("moved/shop") and Path(config.prompts).read_text()
    Prompts.load(config.prompts)
    load_splits(config.data, config.seed)
    export("run:moved/runs/a", "open_clip", tmp_path / "out")
    assert load(f"local-dir:{tmp_path / 'out'}").image_space == load("run:moved/runs/a").image_space
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "moved" / "runs").rglob("*")} == kept


def test_a_mistake_on_the_command_line_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", "nowhere.yaml"])
    assert ended.value.code == 2
    assert "nowhere.yaml: no such file" in capsys.readouterr().err
    assert launch.__doc__ is not None and "accelerate launch -m clipadapt.launch" in launch.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True], ids=["off", "on"])
def test_ctrl_c_says_one_line_and_ends_with_130(written: Callable[..., Path], tmp_path: Path, terminal: bool) -> None:
    file = written(train={"epochs": 500})
    command = [sys.executable, str(TESTS / "run_launch.py"), "--config", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    ours, theirs = pty.openpty()
    log = tmp_path / "stderr"
    with log.open("wb") as errors:
        target = theirs if terminal else errors
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=target)
        os.close(theirs)
        run, deadline = Run(tmp_path / "run"), time.monotonic() + 120
        while len(run.metrics()) < 4 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=60)
    said = log.read_bytes().decode()
    while terminal:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux ends a closed terminal so
            break
        said += data.decode(errors="replace")
    os.close(ours)
    assert code == 130, said
    assert said.count("stopped; the same command goes on from the last checkpoint") == 1
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
