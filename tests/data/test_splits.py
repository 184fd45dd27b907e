import logging

import numpy as np
import pytest
from data_factory import write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt import config
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import carve, hold_out_pairs, load_splits, shared_products
from clipadapt.errors import CatalogueError, ConfigError

ATTRIBUTES = ("baseColour", "Pattern")


def data(source, **options):
    return config.Data.model_validate({"source": str(source), "attributes": ATTRIBUTES, **options})


def relabelled(catalogue, products):
    part = catalogue.subset(np.arange(len(products)) % len(catalogue))
    part.products = np.array(products, dtype=np.str_)
    part.ids = [str(i) for i in range(len(products))]
    return part


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    rows = [{"file_name": f"{i}.png", "product": f"p{i}"} for i in range(4)]
    return Catalogue.load(write_table(tmp_path_factory.mktemp("base"), rows, size=4))


PRODUCTS = st.lists(st.sampled_from([f"product {i}" for i in range(30)]), min_size=2, max_size=60)


@settings(deadline=None)
@given(products=PRODUCTS, share=st.floats(0.01, 0.99), seed=st.integers(0, 99), order=st.randoms())
def test_carving_keeps_products_whole_and_ignores_the_order_of_rows(base, products, share, seed, order):
    different = len(set(products))
    if different < 2:
        with pytest.raises(CatalogueError, match="1 product"):
            carve(relabelled(base, products), share, seed)
        return
    rest, carved = carve(relabelled(base, products), share, seed)
    assert sorted([*rest.products, *carved.products]) == sorted(products)
    assert not set(rest.products) & set(carved.products)
    assert len(set(carved.products)) == min(max(round(share * different), 1), different - 1)
    shuffled = order.sample(products, len(products))
    assert set(carve(relabelled(base, shuffled), share, seed)[1].products) == set(carved.products)


@settings(deadline=None)
@given(small=st.floats(0.05, 0.5), large=st.floats(0.5, 0.95), seed=st.integers(0, 99))
def test_a_larger_share_holds_the_smaller(base, small, large, seed):
    products = [f"p{i}" for i in range(40)]
    carved = [set(carve(relabelled(base, products), share, seed)[1].products) for share in (small, large)]
    assert carved[0] <= carved[1]


def test_seed_and_purpose_choose_other_products(base):
    products = [f"p{i}" for i in range(60)]
    drawn = [
        frozenset(carve(relabelled(base, products), 0.5, seed, purpose)[1].products)
        for seed, purpose in ((0, "tune"), (1, "tune"), (0, "validation"))
    ]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_all(tiny_catalogue, share):
    with pytest.raises(CatalogueError, match=r"both sides need one; choose a share between 0 and 1"):
        carve(tiny_catalogue, share, 0)


def test_three_splits_without_a_product_in_common(shop, caplog):
    with caplog.at_level(logging.WARNING):
        splits = load_splits(data(shop), seed=3)
    assert [len(part) for part in splits] == [14, 8, 2]  # 8 products in train, one of them is tune
    assert shared_products(splits._asdict()) == {}
    assert all(part.attributes[0].name == "baseColour" for part in splits)


def test_a_missing_validation_split_is_carved_and_said(tmp_path, caplog):
    rows = [
        {"file_name": f"{i}.png", "Pattern": "Solid", "baseColour": "Red", "product": str(i // 2)} for i in range(40)
    ]
    folder = write_table(tmp_path, rows, size=4)
    with caplog.at_level(logging.WARNING):
        splits = load_splits(data(folder), seed=0)
    assert [len(set(part.products)) for part in splits] == [14, 4, 2]
    assert "no split 'validation'; carved 8 items (4 products) from 'train' by product" in caplog.text


@pytest.mark.parametrize("name", ["holdout", "validtion"])
def test_a_validation_split_of_another_name_is_not_guessed(shop, name):
    with pytest.raises(CatalogueError, match=f"no split '{name}'; it has 'train', 'validation'"):
        load_splits(data(shop, splits={"validation": name}), seed=0)


def test_tune_by_name(shop, tmp_path):
    import shutil

    shutil.copytree(shop / "validation", shop / "test")
    with pytest.raises(CatalogueError, match=r"4 product\(s\) are in two splits"):
        load_splits(data(shop, splits={"tune": "test"}), seed=0)
    table = shop / "test/metadata.csv"
    table.write_text(table.read_text().replace(",p0", ",other-p0"))
    splits = load_splits(data(shop, splits={"tune": "test"}), seed=0)
    assert [len(part) for part in splits] == [16, 8, 8]


def test_a_product_in_two_splits_is_refused_with_rows_and_remedy(shop):
    table = shop / "validation/metadata.csv"
    table.write_text(table.read_text().replace("p008", "p003"))
    with pytest.raises(CatalogueError) as caught:
        load_splits(data(shop), seed=0)
    message = str(caught.value)
    assert "1 product(s) are in two splits" in message and "'p003': " in message
    assert "train/metadata.csv, row 8" in message and "validation/metadata.csv, row 2" in message
    assert "move all items of a product to one split" in message
    splits = load_splits(data(shop, product=None), seed=0)  # without products the same names clash with nothing
    assert len(splits.train) + len(splits.tune) == 16


def test_what_is_odd_is_a_counted_warning(tmp_path, caplog):
    train = [{"file_name": f"{i}.png", "Pattern": "Solid" if i else "", "product": str(i)} for i in range(6)]
    validation = [{"file_name": f"{i}.png", "Pattern": "Dotted", "product": f"v{i}"} for i in range(3)]
    write_table(tmp_path / "train", train, size=4)
    write_table(tmp_path / "validation", validation, size=4)
    with caplog.at_level(logging.WARNING):
        load_splits(data(tmp_path, attributes=["Pattern"], splits={"tune": 0.5}), seed=0)
    assert "1 of 3 items have no known attribute; they are kept" in caplog.text
    assert "Pattern: 1 value(s) only in validation, never trained: 'Dotted' (3)" in caplog.text


PAIRS = [{"Pattern": "Striped", "Fabric": "Linen"}]


def paired(tmp_path, cells):
    rows = [{"file_name": f"{i}.png", "Pattern": a, "Fabric": b} for i, (a, b) in enumerate(cells)]
    return Catalogue.load(write_table(tmp_path, rows, size=4), attributes=["Pattern", "Fabric"])


def test_pairs_held_out(tmp_path):
    catalogue = paired(tmp_path, [("Striped", "Linen"), ("Striped", "Wool"), ("", "Linen"), ("Solid", "Linen")])
    kept, held = hold_out_pairs(catalogue, PAIRS)
    assert (kept.ids, held.ids) == (["1.png", "2.png", "3.png"], ["0.png"])
    kept, held = hold_out_pairs(catalogue, [*PAIRS, {"Pattern": "Solid", "Fabric": "Linen"}])
    assert held.ids == ["0.png", "3.png"]
    assert hold_out_pairs(catalogue, [])[0].ids == catalogue.ids


def test_pairs_that_cannot_be_held_out(tmp_path, caplog):
    catalogue = paired(tmp_path, [("Striped", "Linen"), ("Solid", "Wool")])
    with pytest.raises(ConfigError) as caught:
        hold_out_pairs(catalogue, [{"Pattern": "Stripes", "Fabric": "Linen"}, {"Pattern": "Solid"}])
    assert "2 fault(s)" in str(caught.value) and "did you mean 'Striped'" in str(caught.value)
    with pytest.raises(CatalogueError, match="no such column; did you mean 'Pattern'"):
        hold_out_pairs(catalogue, [{"pattern": "Solid", "Fabric": "Wool"}])
    with pytest.raises(CatalogueError, match="takes every item"):
        hold_out_pairs(catalogue, [*PAIRS, {"Pattern": "Solid", "Fabric": "Wool"}])
    with caplog.at_level(logging.WARNING):
        kept, _ = hold_out_pairs(catalogue, [{"Pattern": "Solid", "Fabric": "Linen"}])
    assert len(kept) == 2 and "no item of 'train' has Pattern Solid and Fabric Linen" in caplog.text


def test_pairs_leave_train_and_stay_in_validation(shop):
    whole = load_splits(data(shop), seed=0)
    cells = list(zip(whole.train.values("baseColour"), whole.train.values("Pattern"), strict=True))
    colour, pattern = next(pair for pair in cells if None not in pair)
    held = load_splits(data(shop, holdout_pairs=[{"baseColour": colour, "Pattern": pattern}]), seed=0)
    assert len(held.train) == len(whole.train) - cells.count((colour, pattern))
    assert len(held.validation) == len(whole.validation)


def test_broken_pictures_are_left_out_and_counted_when_asked(shop, caplog):
    broken = shop / "train/0003.png"
    broken.write_bytes(b"not a picture")
    assert sum(map(len, load_splits(data(shop), seed=0))) == 24  # no picture is read
    with caplog.at_level(logging.WARNING):
        splits = load_splits(data(shop, broken="count"), seed=0)
    assert sum(map(len, splits)) == 23
    left_out = [line for part in splits for line in part.left_out]
    assert len(left_out) == 1 and "item '0003'" in left_out[0] and "row 5" in left_out[0]
    assert "1 broken picture(s) left out" in caplog.text


def test_real_photos_split(photos):
    splits = load_splits(config.Data(source=str(photos / "fashion")), seed=0)
    assert sum(map(len, splits)) == 7085
    assert shared_products(splits._asdict()) == {}
    assert 0.09 < len(set(splits.tune.products)) / 4231 < 0.11
