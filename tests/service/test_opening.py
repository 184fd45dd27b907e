"""Which pictures a service shows where no flag names their catalogue."""

import shutil
from pathlib import Path

import pytest

from clipadapt.cli import main
from clipadapt.search.index import Index
from clipadapt.search.meta import Target
from clipadapt.service.opening import Opener, find
from clipadapt.service.serving import Serving
from clipadapt.service.settings import Settings


@pytest.fixture
def serving():
    made = Serving(Settings(), "shop")
    yield made
    made.close()


@pytest.fixture
def built(shop: Path, model: Path, tmp_path: Path) -> Path:
    """A shop and the index that the command built of it, side by side."""
    shutil.copytree(shop, tmp_path / "shop")
    given = ["--model", f"local-dir:{model}", "--source", str(tmp_path / "shop"), "--split", "train"]
    assert main(["index", "build", *given, "--out", str(tmp_path / "index"), "--workers", "1"]) == 0
    return tmp_path / "index"


def test_an_index_shows_the_pictures_that_it_was_built_from(built: Path, serving: Serving):
    (built.parent / "index").rename(built.parent / "renamed")
    Index.open(built.parent / "renamed").tune(Target(recall=0.5), ["Flat"])
    made = Opener(serving).open(find(str(built.parent / "renamed")))
    assert made.pictures is not None
    item = made.index.items.id(0)
    thumbnail = made.pictures.thumbnail(item, 64)
    assert thumbnail is not None and thumbnail.data.startswith(b"\xff\xd8")
    assert not serving.faults
    made.retire()


def test_a_run_is_served_with_the_thresholds_that_it_keeps(built: Path, tmp_path: Path):
    (tmp_path / "adapter").mkdir()
    assert find(str(tmp_path)).thresholds is None
    (tmp_path / "thresholds.json").write_text("{}")
    assert find(f"run:{tmp_path}").thresholds == tmp_path / "thresholds.json"
    assert find(str(built)).thresholds is None


def test_an_index_whose_pictures_are_gone_is_searched_on(built: Path, serving: Serving):
    shutil.rmtree(built.parent / "shop")
    made = Opener(serving).open(find(str(built)))
    assert made.pictures is None
    assert serving.faults == ["no pictures: name the catalogue with --source or --config"]
    assert made.index.search("red", 3)[0]
    made.retire()
