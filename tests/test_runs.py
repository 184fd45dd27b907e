import json
import subprocess
from pathlib import Path

import light
import pytest

from clipadapt.config import Config
from clipadapt.errors import ConfigError, ModelError, StoreError
from clipadapt.processes import is_main_process
from clipadapt.runs import Run, environment


def make(folder: Path, **changes: object) -> Config:
    raw = {"name": "t", "output_dir": str(folder), "data": {"source": "x"}, "prompts": "p.yaml", **changes}
    return Config.model_validate(raw)


def test_a_run_holds_its_config_and_its_environment(tmp_path: Path) -> None:
    config = make(tmp_path / "run", seed=7)
    run = Run.create(config)
    assert Run.open(run.path).config == config
    (start,) = json.loads((run.path / "environment.json").read_text())["starts"]
    assert start["seed"] == 7
    assert start["packages"]["clipadapt"]
    assert start["packages"]["torch"]
    assert start["machine"]["cores"] > 0
    assert start["machine"]["memory_bytes"] > 2**30
    Run.create(config)
    assert len(json.loads((run.path / "environment.json").read_text())["starts"]) == 2


def test_importing_runs_imports_no_heavy_package() -> None:
    script = "import clipadapt.runs, clipadapt.store; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run(light.command(script), capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_another_config_is_refused_once_there_is_something_to_lose(tmp_path: Path) -> None:
    run = Run.create(make(tmp_path))
    other = make(tmp_path, train={"lr": 1e-5}, seed=3)
    Run.create(other)  # nothing was learnt yet
    Run.create(make(tmp_path))
    run.checkpoints.mkdir()
    with pytest.raises(ConfigError, match=r"name another output_dir") as caught:
        Run.create(other)
    assert "train.lr: 0.0002 there, 1e-05 now" in str(caught.value)
    assert "seed: 0 there, 3 now" in str(caught.value)
    assert Run.open(tmp_path).config == make(tmp_path)


def test_what_does_not_touch_learning_may_change(tmp_path: Path) -> None:
    Run.create(make(tmp_path)).adapter.mkdir()
    changed = make(tmp_path, export=["transformers"], train={"trackers": []}, eval={"suite": None})
    assert Run.open(Run.create(changed).path).config == changed


def test_every_key_that_may_change_exists(tmp_path: Path) -> None:
    from clipadapt import runs

    assert runs._flat(make(tmp_path)).keys() >= runs._WITHOUT_EFFECT


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.yaml"):
        Run.open(tmp_path)
    with pytest.raises(ModelError, match="is no folder"):
        Run.open(tmp_path / "nothing")


def test_metrics_are_lines_that_survive_a_kill_and_a_resume(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    assert run.metrics() == []
    run.forget_after(0)
    run.log(1, loss=0.5, phase="train")
    run.log(2, loss=float("nan"))
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    run.log(4, loss=0.25)
    assert run.metrics() == [
        {"step": 1, "loss": 0.5, "phase": "train"},
        {"step": 2, "loss": "nan"},
        {"step": 4, "loss": 0.25},
    ]
    run.forget_after(2)
    assert [line["step"] for line in run.metrics()] == [1, 2]
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line)
    there = run.logged
    run.log(2, when="after the last checkpoint, of the same step")
    run.forget_after(2)
    assert len(run.metrics()) == 3
    run.forget_after(2, there)
    assert [line["step"] for line in run.metrics()] == [1, 2] and run.logged == there


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_main_process()
    run = Run.create(make(tmp_path / "run"))
    run.log(1, loss=1.0)
    assert not run.path.exists()
    monkeypatch.setenv("RANK", "0")  # the first process of all, whatever its number on its own machine
    assert is_main_process()


def test_the_commit_is_none_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    Run.create(make(tmp_path))
    assert json.loads((tmp_path / "environment.json").read_text())["starts"][0]["commit"] is None


def test_the_commit_says_that_code_differs_and_results_of_benchmarks_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, result = tmp_path / "code.py", tmp_path / "eval" / "results" / "speed.json"
    result.parent.mkdir(parents=True)
    code.write_text("1")
    result.write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(result.parent)
    head = environment(0)["commit"]
    assert len(head) == 40
    result.write_text("2")
    assert environment(0)["commit"] == head
    code.write_text("2")
    assert environment(0)["commit"] == f"{head}+changes"


def test_the_prompts_are_copied_and_the_copy_is_what_a_run_names(tmp_path: Path) -> None:
    words = tmp_path / "p.yaml"
    words.write_text("captions: [a]\n")
    run = Run.create(make(tmp_path / "run", prompts=str(words)))
    words.write_text("captions: [b]\n")
    assert run.prompts.read_text() == "captions: [a]\n"
    assert Run.open(run.path).config.prompts == str(run.prompts)


def test_prompts_that_changed_are_refused_once_there_is_something_to_lose(tmp_path: Path) -> None:
    words, other = tmp_path / "p.yaml", tmp_path / "q.yaml"
    words.write_text("captions: [a]\n")
    other.write_text("captions: [a]\n")
    config = make(tmp_path / "run", prompts=str(words))
    Run.create(config)
    words.write_text("captions: [b]\n")
    Run.create(config).adapter.mkdir()  # nothing was learned, so the copy follows
    Run.create(config)
    words.write_text("captions: [c]\n")
    with pytest.raises(ConfigError, match=r"prompts: .*p\.yaml changed since"):
        Run.create(config)
    assert Run(config.output_dir).prompts.read_text() == "captions: [b]\n"
    other.write_text("captions: [b]\n")
    Run.create(make(tmp_path / "run", prompts=str(other)))  # of the same words, whatever it is called


def test_data_that_changed_is_refused_by_name(tmp_path: Path) -> None:
    run = Run.create(make(tmp_path / "run"))
    run.learn_from({"train": 1}, lambda then, now: ["never asked"])
    run.learn_from({"train": 2}, lambda then, now: ["nothing is lost yet"])
    run.adapter.mkdir()
    run.learn_from({"train": 2}, lambda then, now: [])
    with pytest.raises(ConfigError, match=r"the catalogue changed since run .*\n  - train: 2 items"):
        run.learn_from({"train": 3}, lambda then, now: [f"train: {then['train']} items, {now['train']} now"])
    (run.path / "learned_from.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        run.learn_from({"train": 2}, lambda then, now: [])


HOLD = """
import time, pathlib, sys
from clipadapt.runs import Run
with Run(sys.argv[-1]).locked():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_trained_into_by_one_process_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "run")
    with run.locked(), Run(run.path).locked():  # one process may nest it
        pass
    other = subprocess.Popen(light.command(HOLD, run.path), stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    with pytest.raises(StoreError, match="another process trains or writes there now"), run.locked():
        pass
    monkeypatch.setenv("RANK", "1")
    with run.locked():  # its main process holds it
        pass
    monkeypatch.setenv("RANK", "0")
    other.kill()  # a killed process gives it back
    other.wait()
    other.stdout.close()
    with run.locked():
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), Run(tmp_path / "file" / "run").locked():
        pass
