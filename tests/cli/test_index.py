"""clipadapt index search, remove and compact, as typed, over an index of random vectors with a table."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipadapt import cli
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    """24 items, two to a product, whose colours and prices go round."""
    folder = tmp_path_factory.mktemp("search") / "index"
    points = np.random.default_rng(0).standard_normal((24, 8)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    columns = {
        "id": [f"i{row}" for row in range(24)],
        "product": [f"p{row // 2}" for row in range(24)],
        "colour": [("red", "blue", "green")[row % 3] for row in range(24)],
        "price": [10 * row for row in range(24)],
    }
    Index.build(Vectors(points, Items.of(pa.table(columns)), "image-x", "run:somewhere"), folder, factory="Flat")
    return str(folder)


def found(index: str, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict]:
    assert cli.main(["index", "search", index, "--like", "i0", "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_result_meets_every_condition(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    everything = found(index, capsys, "-k", "24", "--no-collapse")
    assert len(everything) == 22, "all but the item that was asked about and its product"
    wanted = {
        hit["id"] for hit in everything if hit["attributes"]["colour"] == "red" and hit["attributes"]["price"] < 150
    }
    conditions = ("--where", "colour=red", "--where", "price<150")
    hits = found(index, capsys, "-k", "24", "--no-collapse", *conditions)
    assert 0 < len(wanted) < 22 and {hit["id"] for hit in hits} == wanted


def test_an_index_of_the_first_dimensions_says_so(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Index.open(index)
    whole = Vectors(opened.backend.vectors(opened.ids()), opened.items, "image-x", "run:somewhere")
    Index.build(whole, tmp_path / "short", factory="Flat", dims=4)
    assert cli.main(["index", "info", str(tmp_path / "short")]) == 0
    assert "24 vectors of the first 4 of 8 dimensions" in capsys.readouterr().out
    assert found(str(tmp_path / "short"), capsys, "-k", "3")
    assert cli.main(["index", "info", index]) == 0 and "24 vectors of 8 dimensions" in capsys.readouterr().out


def test_shards_are_told_one_by_one_and_searched_as_one(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Index.open(index)
    whole = Vectors(opened.backend.vectors(opened.ids()), opened.items, "image-x", "run:somewhere")
    many = Index.build(whole, tmp_path / "many", factory="Flat", shards=2)
    assert many.meta.shards is not None
    assert found(str(tmp_path / "many"), capsys, "-k", "9") == found(index, capsys, "-k", "9")
    assert cli.main(["index", "remove", str(tmp_path / "many"), "i3", "i4"]) == 0
    assert "0 added, 2 removed, 22 items" in capsys.readouterr().out
    assert cli.main(["index", "info", str(tmp_path / "many")]) == 0
    said = capsys.readouterr().out
    for part in many.meta.shards.parts:
        assert f"{part.folder}: " in said and f"({part.vectors} vectors), Flat, recall@10 of picture queries" in said
    assert cli.main(["index", "info", str(tmp_path / "many"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(part["items"] for part in told["shards"]["parts"]) == told["items"] == 22


def test_as_many_results_as_were_asked_for_one_to_a_product(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    hits = found(index, capsys, "-k", "3")
    assert len({hit["product"] for hit in hits}) == len(hits) == 3
    scores = [hit["score"] for hit in found(index, capsys, "-k", "24")]
    assert len(scores) == 11 and scores == sorted(scores, reverse=True)


def test_a_filter_that_nobody_meets_names_the_nearest_value(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", "search", index, "--like", "i0", "--where", "colour=gren"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "no item has colour = 'gren' (did you mean 'green'?)" in said.err
    assert cli.main(["index", "search", index, "--like", "i0", "--where", "colour=green"]) == 0
    said = capsys.readouterr()
    assert "colour: green" in said.out and "no item" not in said.err


def test_a_condition_at_fault_is_usage(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["index", "search", index, "--like", "i0", "--where", "color=red"]) == 2
    assert "no column 'color' (did you mean 'colour'?)" in capsys.readouterr().err


def test_a_removal_says_that_a_compaction_is_due_and_compact_does_it(
    index: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = str(shutil.copytree(index, tmp_path / "copy"))
    assert cli.main(["index", "compact", copy]) == 0
    assert capsys.readouterr().out == f"{copy}: nothing to do, 24 items\n"
    assert cli.main(["index", "remove", copy, *(f"i{row}" for row in range(8))]) == 0
    said = capsys.readouterr()
    assert said.out == "0 added, 8 removed, 16 items in the index\n"
    assert f"clipadapt index compact {copy}" in said.err
    assert cli.main(["index", "compact", copy]) == 0
    assert "built again from what was not removed, 16 items" in capsys.readouterr().out
    assert len(list((tmp_path / "copy" / "versions").iterdir())) == 2
    assert Index.open(copy).backend.items.rows == 16


def test_a_compaction_lets_other_processes_go_first(index: str, tmp_path: Path) -> None:
    copy = str(shutil.copytree(index, tmp_path / "copy"))
    script = (
        "import os, sys; from clipadapt import cli; cli.main(sys.argv[1:]); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "index", "compact", copy],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout.splitlines()[-1]) >= 10


def test_the_same_but(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    hits = found(index, capsys, "-k", "5", "--but", "not red, under 200")
    assert {hit["attributes"]["colour"] for hit in hits} == {"blue", "green"}
    assert all(hit["attributes"]["price"] < 200 for hit in hits)
    assert cli.main(["index", "search", index, "--like", "i0", "--but", "not red"]) == 0
    said = capsys.readouterr().err
    assert "understood: not colour: red" in said and "labels alone decide" in said
    assert cli.main(["index", "search", index, "--text", "a", "--but", "red"]) == 2
    assert "--but changes one --like or one --image" in capsys.readouterr().err
    assert cli.main(["index", "search", index, "--text", "not red"]) == 2
    assert "not what to look for" in capsys.readouterr().err
