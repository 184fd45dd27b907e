import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clipadapt.data.bins import bin_of
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.garments import draw
from clipadapt.data.garments.picture import photo
from clipadapt.data.garments.products import Product, apportion, deal
from clipadapt.data.garments.shapes import garment
from clipadapt.data.garments.vocabulary import ATTRIBUTES, COLOURS
from clipadapt.errors import StoreError

PLAIN = {"category": "dress", "colour": "blue", "pattern": "solid", "fabric": "cotton", "cut": "straight"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("garments") / "catalogue", items=60, seed=3, size=48)


def items_per_value(split: str, attribute: str, items: int = 9000) -> Counter[str]:
    counts: Counter[str] = Counter()
    for product in deal(items, 0):
        if product.split == split and product.cells[attribute]:
            counts[product.cells[attribute]] += product.pictures
    return counts


def test_the_folder_loads_as_a_catalogue_split_by_product(drawn: Path) -> None:
    train, validation = (Catalogue.load(drawn, split, attributes=list(ATTRIBUTES)) for split in ("train", "validation"))
    assert len(train) + len(validation) == 60
    assert not set(train.products) & set(validation.products)
    assert len(set(train.ids)) == len(train)
    assert train.picture(0).size == (48, 48)
    assert {"name", "price", "product", *ATTRIBUTES} <= set(train.columns)
    assert set(Counter(train.products.tolist()).values()) <= {1, 2, 3, 4}
    assert max(Counter(train.products.tolist()).values()) > 1
    assert train.row(0)["category"] in train.row(0)["name"].lower()


def test_the_same_arguments_give_the_same_files_and_another_seed_others(drawn: Path, tmp_path: Path) -> None:
    def content(folder: Path) -> dict[str, bytes]:
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.*")}

    assert content(draw(tmp_path / "same", items=60, seed=3, size=48)) == content(drawn)
    assert content(draw(tmp_path / "other", items=60, seed=4, size=48)) != content(drawn)


def test_cells_of_a_product_agree_and_some_are_unknown(drawn: Path) -> None:
    rows = [
        row
        for split in ("train", "validation")
        for row in csv.DictReader((drawn / split / "metadata.csv").read_text(encoding="utf-8").splitlines())
    ]
    by_product: dict[str, set[tuple[str, ...]]] = {}
    for row in rows:
        by_product.setdefault(row["product"], set()).add(tuple(row[name] for name in ATTRIBUTES))
    assert all(len(cells) == 1 for cells in by_product.values())
    shares = {name: np.mean([not product.cells[name] for product in deal(9000, 0)]) for name in ATTRIBUTES}
    for name, attribute in ATTRIBUTES.items():
        assert shares[name] == pytest.approx(attribute.unknown, abs=0.05)


def test_a_long_tail_fills_every_bin_and_rare_values_can_be_measured() -> None:
    for name in ("pattern", "fabric", "cut"):
        train, validation = items_per_value("train", name), items_per_value("validation", name)
        assert set(train) == set(validation) == set(ATTRIBUTES[name].shares), "no value is in one split alone"
        bins = Counter(bin_of(count) for count in train.values())
        assert min(bins["few"], bins["medium"], bins["many"]) >= 1, (name, train)
        rare = [value for value, count in train.items() if bin_of(count) != "many"]
        assert sum(validation[value] >= 20 for value in rare) >= 2, (name, validation)
        assert min(validation[value] for value in rare) >= 3, (name, validation)


def test_combinations_have_a_longer_tail_than_values() -> None:
    pairs = Counter((p.values["pattern"], p.values["fabric"]) for p in deal(9000, 0) if p.split == "train")
    assert sum(count == 1 for count in pairs.values()) > 15


@pytest.mark.parametrize("attribute", sorted(ATTRIBUTES))
def test_every_value_looks_unlike_the_others(attribute: str) -> None:
    pictures = {}
    for value in ATTRIBUTES[attribute].shares:
        values = {**PLAIN, attribute: value}
        # One name: the same pose, wall and shade for all, so that only the value differs.
        picture = photo(Product("same", "train", 1, values, values, 1), 0, 64, 0)
        pictures[value] = np.asarray(picture, np.float32)
    values = list(pictures)
    for index, one in enumerate(values):
        for other in values[index + 1 :]:
            assert np.abs(pictures[one] - pictures[other]).mean() > 0.8, (one, other)


def test_photos_of_a_product_differ_but_show_the_same_cloth() -> None:
    product = Product("one", "train", 2, {**PLAIN, "pattern": "checked"}, {}, 1)
    first, second = (np.asarray(photo(product, number, 64, 0), np.float32) for number in (0, 1))
    assert np.abs(first - second).mean() > 4
    middles = [picture[24:40, 24:40].reshape(-1, 3).mean(axis=0) for picture in (first, second)]
    assert np.abs(middles[0] - middles[1]).max() < 40


def test_shares_are_dealt_by_largest_remainder() -> None:
    assert apportion({"a": 5, "b": 3, "c": 2}, 10) == {"a": 5, "b": 3, "c": 2}
    assert apportion({"a": 5, "b": 3, "c": 2}, 4) == {"a": 2, "b": 1, "c": 1}  # 2.0, 1.2, 0.8
    assert apportion({"a": 1, "b": 1}, 0) == {"a": 0, "b": 0}


@pytest.mark.parametrize("cut", sorted(ATTRIBUTES["cut"].shares))
def test_every_garment_stays_near_its_frame(cut: str) -> None:
    for category in ATTRIBUTES["category"].shares:
        shape = garment(category, cut)
        points = np.concatenate(shape.parts)
        assert np.abs(points).max() < 1.35
        # Cuts keep the garment whole: mirrored parts meet at the middle.
        assert points[:, 0].min() < 0 < points[:, 0].max()


def test_every_colour_has_its_paint() -> None:
    assert set(COLOURS) == set(ATTRIBUTES["colour"].shares)


def test_too_few_items_and_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="12 or more"):
        draw(tmp_path / "x", items=11)
    assert sum(product.pictures for product in deal(12, 0)) == 12
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file where a folder"):
        draw(tmp_path / "file", items=12)
