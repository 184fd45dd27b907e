"""Near-identical pictures in two products or splits."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipadapt.audit.twins import altered, likeness, twins
from clipadapt.data.catalogue import Catalogue
from clipadapt.towers.encode import encode_catalogue


def write(folder: Path, pictures: dict[str, tuple[Image.Image, str]]) -> None:
    folder.mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "id", "product"])
        for name, (picture, product) in pictures.items():
            picture.save(folder / f"{name}.png")
            table.writerow([f"{name}.png", name, product])


def scene(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, Catalogue]:
    shirt = scene(1)
    write(tmp_path / "shop/train", {
        "a": (shirt, "shirt"), "b": (shirt.resize((80, 80)), "shirt"), "c": (shirt.resize((64, 64)), "trousers"),
        "d": (scene(2), "skirt"),
    })  # fmt: skip
    write(tmp_path / "shop/validation", {"e": (shirt.resize((100, 100)), "coat"), "f": (altered(scene(2)), "dress")})
    return {name: Catalogue.load(tmp_path / "shop", name) for name in ("train", "validation")}


def names(catalogues: dict[str, Catalogue], pair) -> tuple[str, str, bool, bool]:
    one, other = (catalogues[item.split].ids[item.row] for item in (pair.one, pair.other))
    return one, other, pair.splits, pair.products


def test_copies_are_found_by_hash_but_not_within_a_product(splits):
    found = twins(splits)
    assert {names(splits, one) for one in found} == {
        ("a", "c", False, True),
        ("b", "c", False, True),
        ("a", "e", True, True),
        ("b", "e", True, True),
        ("c", "e", True, True),
    }
    assert all(one.by == "hash" and one.cosine is None for one in found)


def test_vectors_find_what_hashes_do_not_and_repeat_nothing(splits):
    train = np.eye(4, dtype=np.float32)
    train[1] = train[2] = train[0]
    validation = np.array([train[0], [0, 0, 0, 1]], np.float32)
    found = twins(splits, {"train": train, "validation": validation}, 0.95)
    by_vectors = [names(splits, one) for one in found if one.by == "vectors"]
    assert by_vectors == [("d", "f", True, True)]
    assert [one.cosine for one in found] == pytest.approx([1.0] * len(found))
    validation[1] = np.nan
    assert not [one for one in twins(splits, {"train": train, "validation": validation}, 0.95) if one.by == "vectors"]


def test_the_threshold_is_what_pictures_keep_with_their_own_copies(good, train):
    vectors = encode_catalogue(good, train)
    bound = likeness(good, train, vectors)
    pixels = torch.stack([good.preprocess(altered(train.picture(row))) for row in range(len(train))])
    kept = (good.encode_images(pixels).numpy() * vectors).sum(axis=1)
    assert kept.min() - 1e-6 <= bound <= np.quantile(kept, 0.3)
