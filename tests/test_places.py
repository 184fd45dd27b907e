"""Paths of a run are found after a move, and what is written for others names no folder of this machine."""

import json
from pathlib import Path

import pytest

from clipadapt import places


def laid_out(root: Path, run: str = "runs/a") -> dict[str, object]:
    """A base, a catalogue and a run under `root`, which is the working directory."""
    for folder in ("models/base", "shop", run):
        (root / folder).mkdir(parents=True)
    raw: dict[str, object] = {"model": {"name": "local-dir:models/base"}, "data": {"source": "shop", "prepared": None}}
    started(root / run, raw)
    return raw


def started(folder: Path, raw: dict[str, object]) -> None:
    paths = places.paths_of(raw, folder)
    (folder / places.FILE).write_text(json.dumps({"paths": paths}))
    (folder / places.STARTS).write_text(json.dumps({"starts": [{"directory": str(Path.cwd())}]}))


def test_where_nothing_moved_paths_stay_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = laid_out(tmp_path)
    assert places.resolved(raw, Path("runs/a")) == raw


def test_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = laid_out(tmp_path)
    monkeypatch.chdir(tmp_path / "runs")
    (tmp_path / "runs" / "shop").mkdir()  # of the same name, and not the one that was trained on
    found = places.resolved(raw, Path("a"))
    assert found["model"]["name"] == f"local-dir:{tmp_path / 'models/base'}"
    assert found["data"]["source"] == str(tmp_path / "shop")


def test_moved_with_all_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    raw = laid_out(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    found = places.resolved(raw, Path("new/runs/a"))
    assert (found["model"]["name"], found["data"]["source"]) == ("local-dir:new/models/base", "new/shop")


def test_moved_alone_on_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = laid_out(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs/a").rename(tmp_path / "elsewhere/a")
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = places.resolved(raw, Path("a"))
    assert found["model"]["name"] == f"local-dir:{tmp_path / 'models/base'}"
    (tmp_path / "models").rename(tmp_path / "gone")
    assert places.resolved(raw, Path("a"))["model"]["name"] == "local-dir:models/base"  # the error will name it


def test_names_of_the_hub_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    raw = {"model": {"name": "hf-hub:org/name"}, "data": {"source": "org/none"}}
    assert places.paths_of(raw, tmp_path) == {}
    assert places.portable("EVA02-B-16:random", tmp_path) == "EVA02-B-16:random"
    assert places.from_folder("transformers:org/name@main", tmp_path) == "transformers:org/name@main"


@pytest.mark.parametrize("scheme", ["", "local-dir:", "timm:local-dir:", "EVA02-B-16:"])
def test_a_value_travels_with_its_folder(tmp_path: Path, scheme: str) -> None:
    (tmp_path / "a" / "adapter").mkdir(parents=True)
    (tmp_path / "base").mkdir()
    kept = places.portable(f"{scheme}{tmp_path / 'base'}", tmp_path / "a" / "adapter")
    assert kept == f"{scheme}../../base"
    assert places.from_folder(kept, tmp_path / "a" / "adapter") == f"{scheme}{tmp_path / 'base'}"
    inside = places.portable(f"{scheme}{tmp_path / 'a' / 'adapter'}", tmp_path / "a")
    assert inside == f"{scheme}./adapter"
    assert places.from_folder(inside, tmp_path / "b") == f"{scheme}{tmp_path / 'b' / 'adapter'}"


def test_what_others_read_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    document = {
        "source": str(tmp_path / "shop"),
        "systems": [{"model": f"run:{tmp_path / 'shop'}"}, {"model": "run:runs/a"}],
        "text": "a/b of /nothing/there",
        "long": "x" * 5000,
        "items": 3,
    }
    assert places.public(document) == {
        "source": "shop",
        "systems": [{"model": "run:shop"}, {"model": "run:runs/a"}],
        "text": "a/b of /nothing/there",
        "long": "x" * 5000,
        "items": 3,
    }


def test_a_value_changed_by_hand_is_taken_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = laid_out(tmp_path)
    monkeypatch.chdir(tmp_path / "runs")
    found = places.resolved(raw | {"data": {"source": "another"}}, Path("a"))
    assert found["data"]["source"] == "another" and found["model"]["name"] == f"local-dir:{tmp_path / 'models/base'}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/home/ann/shop", "shop"),
        ("local-dir:/data/models/base, seed 1", "local-dir:base, seed 1"),
        ("/catalogue", "catalogue"),
        ("~/shops/a → ../b", "a → ../b"),
        (r"C:\Users\Ann\shop", "shop"),
        ("'/a/b': no such file (looked from /c/d)", "'b': no such file (looked from d)"),
        ("https://example.org/a/b and/or 3 / 4, s3://bucket/key, report/results.json", None),
        ("sha256 ab/cd, 5 items/s", None),
    ],
)
def test_sentences_for_others_name_no_folder_of_any_machine(text: str, wanted: str | None) -> None:
    assert places.without_folders(text) == (text if wanted is None else wanted)
