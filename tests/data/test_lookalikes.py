import numpy as np
import pytest
from data_factory import paint, write_table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipadapt.config import Data
from clipadapt.data import lookalikes as module
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.lookalikes import difference_bits, grid_of, lookalikes
from clipadapt.data.splits import load_splits
from clipadapt.errors import CatalogueError


def textured(seed: int, size: int = 96) -> Image.Image:
    """A picture like no other: a blurred random mosaic."""
    cells = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def shop(tmp_path):
    """Six pictures: 3 is 0 saved again, smaller and compressed; 4 and 5 are broken; titles of 1 and 2 are equal."""
    titles = ["One", "Two shirt", " two  SHIRT", "Three", "", ""]
    rows = [{"file_name": f"{i}.jpg", "Pattern": "Solid", "title": title} for i, title in enumerate(titles)]
    (tmp_path / "train").mkdir()
    for i in range(3):
        textured(i).save(tmp_path / "train" / f"{i}.jpg", quality=95)
    textured(0).resize((80, 80)).save(tmp_path / "train/3.jpg", quality=60)
    for i in (4, 5):
        (tmp_path / "train" / f"{i}.jpg").write_bytes(b"no picture")
    return write_table(tmp_path / "train", rows).parent


def test_copies_and_equal_titles_form_groups_and_broken_or_untitled_items_none(shop):
    catalogue = Catalogue.load(shop, "train", product=None)
    (plain,) = lookalikes([catalogue])
    assert [plain.tolist().index(name) for name in plain] == [0, 1, 2, 0, 4, 5]
    (titled,) = lookalikes([catalogue], title="title")
    assert [titled.tolist().index(name) for name in titled] == [0, 1, 1, 0, 4, 5]


def test_groups_reach_over_catalogues(shop):
    catalogue = Catalogue.load(shop, "train", product=None)
    first, second = lookalikes([catalogue.subset([0, 1]), catalogue.subset([2, 3])])
    assert first[0] == second[1] and len({*first, *second}) == 3


def test_colours_tell_pictures_of_one_shape_apart(tmp_path):
    rows = [{"file_name": f"{c}.png", "baseColour": c, "Pattern": "Striped"} for c in ("Red", "Blue")]
    catalogue = Catalogue.load(write_table(tmp_path, rows, size=64), "train", product=None)
    assert len(set(lookalikes([catalogue])[0])) == 2


def test_a_title_column_that_is_not_there(shop):
    with pytest.raises(CatalogueError, match="no column of titles 'name'; columns are"):
        lookalikes([Catalogue.load(shop, "train", product=None)], title="name")


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 7))
def test_pairs_equal_the_slow_comparison_of_all(seeds, rows):
    grids = np.stack([grid_of(paint("Red", "Striped", 48, seed)) for seed in seeds])
    own = difference_bits(grids)
    slow = {
        (i, j)
        for i in range(len(seeds))
        for j in range(i)
        if np.unpackbits(own[i] ^ own[j]).sum() <= module.NEAR
        and np.abs(grids[i].astype(float) - grids[j]).mean() <= module.CLOSE
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ROWS", rows)
        found = module._near_pairs(grids, np.arange(len(seeds)))
    assert {(max(pair), min(pair)) for pair in found.tolist()} == slow


def test_above_the_bound_equal_hashes_are_compared_and_that_is_said(shop, monkeypatch, caplog):
    monkeypatch.setattr(module, "EXACT", 2)
    catalogue = Catalogue.load(shop, "train", product=None).subset([0, 0, 1, 2])
    (names,) = lookalikes([catalogue])
    assert len(set(names.tolist())) == 3
    assert "only those whose hashes are equal are compared" in caplog.text


def test_splits_never_part_a_copy_from_its_picture(tmp_path, caplog):
    """40 pictures, each twice: without groups, a carved split holds copies of what is trained on."""
    (tmp_path / "train").mkdir()
    rows = []
    for i in range(40):
        for copy, size in enumerate((96, 80)):
            name = f"{i}-{copy}.jpg"
            textured(i, size).save(tmp_path / "train" / name, quality=90 - 20 * copy)
            rows.append({"file_name": name, "Pattern": ("Solid", "Striped")[i % 2]})
    write_table(tmp_path / "train", rows)
    splits = load_splits(Data(source=str(tmp_path), attributes=("Pattern",)), seed=0)
    pictures = [{item.split("-")[0] for item in part.ids} for part in splits]
    assert not (pictures[0] & pictures[1] or pictures[0] & pictures[2] or pictures[1] & pictures[2])
    assert sum(map(len, splits)) == 80
    assert "no product column; near-identical pictures make 40 groups of 80 items" in caplog.text
