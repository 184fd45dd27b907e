from pathlib import Path

import pytest

from clipadapt.config import Eval
from clipadapt.errors import CatalogueError, ConfigError
from clipadapt.evaluation.gate import Gate
from clipadapt.evaluation.suite import Suite
from clipadapt.evaluation.tasks import retention
from clipadapt.evaluation.tasks.recognition import Recognition
from clipadapt.evaluation.tasks.retention import Retention
from clipadapt.evaluation.tasks.text_to_image import TextToImage

SHIPPED = sorted(Path(__file__).parents[2].joinpath("eval").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path):
    assert Gate.load(path) if "gate" in path.name else Suite.load(path)


@pytest.mark.parametrize("name", ["eval/release.yaml", Eval().suite])
def test_the_gate_of_releases_names_nothing_that_a_default_suite_does_not_measure(name: str):
    tasks = {task.task for task in Suite.load(name).tasks}
    gated = {condition.row for condition in Gate.load("eval/release_gate.yaml").conditions}
    assert gated <= {*tasks, "headline"}


@pytest.mark.parametrize("name", ["eval/release.yaml", Eval().suite])
def test_what_a_default_suite_retains_comes_from_nothing_outside(name: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    (task,) = (task for task in Suite.load(name).tasks if isinstance(task, Retention))
    catalogue = retention.load(task, seed=0)
    counts = catalogue.counts(task.attribute)
    assert len(catalogue) == 1000
    assert min(counts.values()) >= Suite.load(name).min_items
    assert len(set(catalogue.products)) > 300
    assert catalogue.picture(0).size == (64, 64)
    assert retention.load(task, seed=0).fingerprint == catalogue.fingerprint
    with pytest.raises(CatalogueError, match="no split 'train'; it has validation"):
        retention.load(task.model_copy(update={"split": "train"}), seed=0)


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults(tmp_path: Path):
    suite = Suite.load(write(tmp_path, "name: small\ntasks: [{task: recognition}, {task: text_to_image}]"))
    assert suite.tasks == (Recognition(), TextToImage())
    assert suite.min_items == 5


def test_all_faults_are_told_at_once(tmp_path: Path):
    text = """
name: wrong
min_items: none
colour: red
tasks:
  - {task: recognition, metrics: [top2]}
  - {task: guessing}
  - {task: text_to_image, pairs: [{Pattern: Striped}]}
  - {task: retention, name: x, source: y, attribute: z, templates: [a photo]}
"""
    with pytest.raises(ConfigError) as error:
        Suite.load(write(tmp_path, text))
    message = str(error.value)
    for part in (
        "min_items",
        "colour",
        "top2",
        "guessing",
        "is no pair",
        "where the value's name goes",
        "there are recognition",
    ):
        assert part in message
    assert "at least 1 item" not in message


@pytest.mark.parametrize("text", ["", "tasks: []\nname: x", "name: x", "[1, 2]"])
def test_an_empty_suite_is_refused(tmp_path: Path, text: str):
    with pytest.raises(ConfigError):
        Suite.load(write(tmp_path, text))


def test_names_nobody_has_are_told_at_once(tmp_path: Path, validation):
    text = """
name: wrong
headline: [Patern]
tasks:
  - {task: recognition, attributes: [Fabric], candidates: {Pattern: [Stripd, Solid]}, segments: [gender]}
  - {task: text_to_image, by: pair, pairs: [{Pattern: Striped, baseColour: Mauve}]}
  - {task: text_to_image, by: name}
  - {task: image_to_text, column: title}
"""
    with pytest.raises(ConfigError) as error:
        Suite.load(write(tmp_path, text)).check(validation)
    message = str(error.value)
    for part in (
        "did you mean 'Pattern'",
        "'Fabric'",
        "did you mean 'Striped'",
        "'gender'",
        "'Mauve'",
        "by name",
        "'title'",
    ):
        assert part in message
    assert "7 fault(s)" in message


def test_a_suite_that_fits_passes(tmp_path: Path, validation):
    Suite.load(write(tmp_path, "name: fine\ntasks: [{task: image_to_text, column: name}]")).check(validation)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("recognition", "a task is a mapping"),
        ("{metrics: [top1]}", "a key `task`"),
        ("{task: recogniton}", "did you mean recognition"),
    ],
)
def test_a_task_that_is_none_says_what_there_is(tmp_path: Path, section: str, message: str):
    with pytest.raises(ConfigError, match=message):
        Suite.load(write(tmp_path, f"name: x\ntasks: [{section}]"))


def test_sources_that_are_not_there_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    tasks = [f"{{task: retention, name: {name}, source: {source}, attribute: x}}" for name, source in
             (("one", '"${NOWHERE}/a"'), ("two", tmp_path / "nothing"))]  # fmt: skip
    suite = Suite.load(write(tmp_path, f"name: x\ntasks: [{{task: recognition}}, {', '.join(tasks)}]"))
    with pytest.raises(ConfigError, match=r"2 sources cannot be opened") as error:
        suite.require_sources()
    assert "NOWHERE" in str(error.value)
    assert "nothing" in str(error.value)
