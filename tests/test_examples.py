"""Examples in README.md and in docstrings, run as they stand, in a folder that has what they name."""

import importlib
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import readme
import readme_shop
from data_factory import write_catalogue
from runs_factory import write_run
from tiny_models import OPEN_CLIP, write_open_clip
from training_material import configured, material

import clipadapt
from clipadapt.config import Config
from clipadapt.data.bins import training_counts
from clipadapt.data.splits import load_splits

__all__ = ["configured", "material"]
SUITE = "name: small\nmin_items: 1\nstatistics: {draws: 100, permutations: 100}\ntasks:\n  - {task: recognition}\n"


def example(module: str) -> str:
    """The first indented block of a module's docstring."""
    text = importlib.import_module(module).__doc__ or ""
    found = re.search(r"(?:^ {4}.*\n|^\n(?= {4}))+", text, re.M)
    assert found, f"{module}: no example"
    return textwrap.dedent(found[0])


@pytest.fixture
def shop(configured: Callable[..., Config], material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """A folder with configs/mine.yaml over my/catalogue, prompts/mine.yaml and a small eval/attributes.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in ("configs", "prompts", "eval"):
        Path(name).mkdir()
    write_catalogue(Path("my/catalogue"), items=48)
    words = (material / "prompts.yaml").read_text()
    Path("prompts/mine.yaml").write_text(words)
    Path("prompts/fashion.yaml").write_text(words)
    Path("eval/attributes.yaml").write_text(SUITE)
    data, train = {"source": "my/catalogue"}, {"epochs": 1}
    config = configured(data=data, prompts="prompts/mine.yaml", output_dir="runs/mine", train=train)
    for name in ("mine", "quickstart"):
        Path(f"configs/{name}.yaml").write_text(config.to_yaml())
    return config


def test_the_packages_own_example(shop: Config) -> None:
    names: dict[str, Any] = {}
    exec(example("clipadapt"), names)
    assert names["run"].path == Path("runs/mine") and names["results"].rows
    assert names["hits"][0] and all(hit.attributes["Pattern"] == "Striped" for hit in names["hits"][0])


def test_the_example_of_train(shop: Config) -> None:
    names: dict[str, Any] = {"train": clipadapt.train}
    exec(example("clipadapt.training.trainer"), names)
    assert names["run"].adapter.is_dir()


def test_the_example_of_evaluate(shop: Config) -> None:
    base = clipadapt.load(shop.model.name)
    names: dict[str, Any] = {"evaluate": clipadapt.evaluate, "training_counts": training_counts}
    names |= {"splits": load_splits(shop.data, shop.seed), "adapted": base, "base": base}
    exec(example("clipadapt.evaluation.evaluate"), names)
    assert Path("runs/fashion/report/report.html").is_file() and names["results"].rows


def test_the_example_of_a_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_catalogue(Path("shop"))
    names: dict[str, Any] = {"Catalogue": clipadapt.Catalogue, "indices": [1, 2]}
    exec(example("clipadapt.data.catalogue"), names)
    assert names["catalogue"].source == "shop"


def test_readmes_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    readme_shop.write_csv(Path("my/catalogue"))
    write_open_clip(Path("base"), OPEN_CLIP["clip"])
    write_run(Path("runs/mine"), Path("base"))
    blocks = re.findall(r"^```python\n(.*?)^```", readme.README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    for block in blocks:
        names: dict[str, Any] = {}
        exec(block, names)
        assert names["vectors"].shape == (1, names["encoder"].dim) and -1 <= names["similarity"] <= 1
    assert len(capsys.readouterr().out.splitlines()) == 5
