"""What changed in a catalogue is named; what did not is not."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from data_factory import write_catalogue

from clipadapt.config import Data
from clipadapt.data.digests import changes, digests
from clipadapt.data.splits import load_splits

ALL = ("train", "validation", "tune")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_catalogue(tmp_path / "shop", items=24)
    return tmp_path / "shop"


def taken(shop: Path) -> dict:
    data = Data(source=str(shop), attributes=("Pattern", "baseColour"))
    return digests(load_splits(data, 0)._asdict(), ["Pattern", "baseColour", "no such column"])


def edited(shop: Path, edit: Callable[[list[dict[str, str]]], object]) -> None:
    file = shop / "train" / "metadata.csv"
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    edit(rows)
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_nothing_changed(shop: Path) -> None:
    assert changes(taken(shop), taken(shop), ALL) == []


def test_a_cell(shop: Path) -> None:
    then = taken(shop)
    edited(shop, lambda rows: [row.update(baseColour="Mauve") for row in rows])
    lines = changes(then, taken(shop), ALL)
    assert {line.partition(":")[2] for line in lines} == {" column 'baseColour' differs"}


def test_rows_that_went(shop: Path) -> None:
    then = taken(shop)
    edited(shop, lambda rows: rows.pop())
    assert any(" items then, " in line for line in changes(then, taken(shop), ALL))


def test_a_picture_of_another_size(shop: Path) -> None:
    then = taken(shop)
    picture = next(path for path in sorted((shop / "train").rglob("*")) if path.suffix in (".jpg", ".png"))
    picture.write_bytes(picture.read_bytes() + b" ")
    assert [line.partition(":")[2] for line in changes(then, taken(shop), ALL)] == [" other pictures"]


def test_only_the_splits_that_matter(shop: Path) -> None:
    then = taken(shop)
    now = {name: {**split, "rows": "other"} if name == "validation" else split for name, split in then.items()}
    assert changes(then, now, ("train", "tune")) == []
    assert changes(then, now, ALL) == ["validation: other rows"]
