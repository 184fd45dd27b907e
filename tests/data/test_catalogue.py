import logging
import pickle
import shutil

import numpy as np
import pytest
from data_factory import write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.columns import nearest
from clipadapt.errors import CatalogueError


def rows(*cells, **columns):
    return [
        {"file_name": f"{i}.png", "Pattern": cell, **{k: v[i] for k, v in columns.items()}}
        for i, cell in enumerate(cells)
    ]


def test_cells_values_counts_and_rows(tmp_path):
    table = rows("Striped", "", " NA ", "Solid", "Striped", year=["2011", "", "2012", "NA", "2011"])
    catalogue = Catalogue.load(write_table(tmp_path, table), attributes=["Pattern"])
    assert len(catalogue) == 5 and catalogue.columns == ["Pattern", "year"]
    assert catalogue.values("Pattern") == ["Striped", None, None, "Solid", "Striped"]
    assert catalogue.value_sets("Pattern")[:2] == [frozenset({"Striped"}), frozenset()]
    assert list(catalogue.counts("Pattern").items()) == [("Striped", 2), ("Solid", 1)]
    assert catalogue.row(3) == {"Pattern": "Solid", "year": ""}
    assert catalogue.values("year") == ["2011", None, "2012", None, "2011"]  # any column answers
    assert catalogue.labelled().tolist() == [True, False, False, True, True]
    assert catalogue.ids == [f"{i}.png" for i in range(5)]  # no id column: the file's name


def test_cells_that_nobody_is_to_know_are_emptied(tmp_path):
    table = rows("Striped", "Solid", "NA", year=["2011", "2012", "2013"])
    catalogue = Catalogue.load(write_table(tmp_path, table), attributes=["Pattern"])
    part = catalogue.with_known({"Pattern": np.array([False, True, True])})
    assert part.values("Pattern") == [None, "Solid", None] and part.counts("Pattern") == {"Solid": 1}
    assert part.values("year") == catalogue.values("year") and part.ids == catalogue.ids
    assert catalogue.values("Pattern") == ["Striped", "Solid", None], "the whole is as it was"
    assert part.fingerprint != catalogue.fingerprint
    with pytest.raises(CatalogueError, match="Patern"):
        catalogue.with_known({"Patern": np.ones(3, bool)})


def test_a_value_keeps_the_spaces_it_was_written_with(tmp_path):
    catalogue = Catalogue.load(write_table(tmp_path, rows("Striped", "Striped ")))
    assert catalogue.counts("Pattern") == {"Striped": 1, "Striped ": 1}


def test_multi_attributes(tmp_path):
    table = rows("a", "b", "c", Occasion=["Party; Formal;Party", "", "NA"])
    catalogue = Catalogue.load(
        write_table(tmp_path, table), attributes=[Attribute("Occasion", "multi", ";"), "Pattern"]
    )
    assert catalogue.value_sets("Occasion") == [frozenset({"Party", "Formal"}), frozenset(), frozenset()]
    assert catalogue.counts("Occasion") == {"Formal": 1, "Party": 1}
    with pytest.raises(CatalogueError, match="several values"):
        catalogue.values("Occasion")


def test_other_unknown_marks(tmp_path):
    catalogue = Catalogue.load(write_table(tmp_path, rows("NA", "?", "")), unknown=["?"])
    assert catalogue.values("Pattern") == ["NA", None, None]  # an empty cell is unknown whatever is listed


def test_missing_columns_are_reported_at_once_with_near_misses(shop):
    with pytest.raises(CatalogueError) as caught:
        Catalogue.load(shop, attributes=["pattern", "SleeveLength", "Fabric"], product="prod", id="sku")
    message = str(caught.value)
    for part in (
        "5 column(s)",
        "'pattern': no such column; did you mean 'Pattern'?",
        "did you mean 'Sleeve Length'?",
        "'Fabric': no such column\n",
        "did you mean 'product'?",
        "id 'sku'",
        "columns there are: id, name",
    ):
        assert part in message
    with pytest.raises(CatalogueError, match="'Pattern': named twice"):
        Catalogue.load(shop, attributes=["Pattern", "Pattern"])


def test_the_default_product_column_may_be_absent_but_not_nearly_there(tmp_path):
    alone = Catalogue.load(write_table(tmp_path / "a", rows("Solid", "Solid")))
    assert alone.product_column is None and alone.products.tolist() == alone.ids
    with pytest.raises(CatalogueError, match="did you mean 'product_id'"):
        Catalogue.load(write_table(tmp_path / "b", rows("Solid", "Solid", product_id=["1", "1"])))


def test_items_without_product_are_products_of_their_own_and_counted(tmp_path, caplog):
    folder = write_table(tmp_path, rows("a", "b", "c", "d", product=["p", "", "NA", "p"]))
    with caplog.at_level(logging.WARNING):
        catalogue = Catalogue.load(folder)
    assert catalogue.products.tolist() == ["p", "item 1.png", "item 2.png", "p"]
    assert "2 item(s) of split 'train' name no product" in caplog.text


@pytest.mark.parametrize(("ids", "message"), [(["1", "2", "1"], "'1': rows 2, 4"), (["1", "", "2"], "'': rows 3")])
def test_ids_name_one_item_each(tmp_path, ids, message):
    folder = write_table(tmp_path, rows("a", "b", "c", id=ids))
    with pytest.raises(CatalogueError, match=message) as caught:
        Catalogue.load(folder)
    assert "data.id" in str(caught.value)


def test_a_picture_listed_twice_needs_a_column_of_ids(tmp_path):
    table = [{"file_name": "1.png", "sku": "a"}, {"file_name": "1.png", "sku": "b"}]
    folder = write_table(tmp_path, table)
    with pytest.raises(CatalogueError, match=r"'1.png': rows 2, 3"):
        Catalogue.load(folder)
    assert Catalogue.load(folder, id="sku").ids == ["a", "b"]


def test_nothing_known_and_nothing_there(tmp_path):
    with pytest.raises(CatalogueError, match="not one item of split 'train' has a known value of Pattern"):
        Catalogue.load(write_table(tmp_path / "a", rows("", "NA")), attributes=["Pattern"])
    (tmp_path / "b").mkdir()
    (tmp_path / "b/metadata.csv").write_text("file_name,Pattern\n")
    with pytest.raises(CatalogueError, match="split 'train' is empty"):
        Catalogue.load(tmp_path / "b")
    with pytest.raises(CatalogueError, match=r"no split 'test'; it has 'train'"):
        Catalogue.load(tmp_path / "a", "test")


def test_broken_and_missing_pictures_name_item_file_and_remedy(tmp_path):
    folder = write_table(tmp_path, rows("a", "b", "c"))
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:100])
    (folder / "2.png").unlink()
    catalogue = Catalogue.load(folder)
    assert catalogue.picture(0).size == (32, 32)
    with pytest.raises(CatalogueError, match=r"item '1.png', .*metadata.csv, row 3 \(.*1.png\): broken .*; replace it"):
        catalogue.picture(1)
    with pytest.raises(CatalogueError, match=r"item '2.png', .* row 4 .*No such file.*; restore the file"):
        catalogue.picture(2)


def test_a_row_without_a_picture(tmp_path):
    write_table(tmp_path, rows("a"))
    (tmp_path / "metadata.csv").write_text("file_name,id\n0.png,1\n,2\n")
    with pytest.raises(CatalogueError, match="row 3: the row names no picture"):
        Catalogue.load(tmp_path).picture(1)


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    return Catalogue.load(write_table(tmp_path_factory.mktemp("seven"), rows(*"abcdefg", product=list("ppqqrst"))))


@settings(max_examples=25)
@given(st.data())
def test_a_subset_is_its_rows(seven, data):
    chosen = data.draw(st.lists(st.integers(0, len(seven) - 1), max_size=20))
    part = seven.subset(chosen)
    assert len(part) == len(chosen)
    for place, index in enumerate(chosen):
        assert part.ids[place] == seven.ids[index]
        assert part.products[place] == seven.products[index]
        assert part.row(place) == seven.row(index)
        assert part.place(place) == seven.place(index)
        assert part.picture_bytes(place) == seven.picture_bytes(index)
    again = part.subset(range(len(part)))
    assert again.ids == part.ids and again.fingerprint == part.fingerprint


def test_a_subset_refuses_what_is_not_there(tiny_catalogue):
    with pytest.raises(IndexError, match="16 in a catalogue of 16"):
        tiny_catalogue.subset([0, 16])


def test_the_fingerprint_is_of_content_not_of_place(tmp_path, shop, tiny_catalogue):
    shutil.copytree(shop, tmp_path / "copy")
    copy = Catalogue.load(tmp_path / "copy", "train", attributes=["Pattern"])
    assert copy.fingerprint == tiny_catalogue.fingerprint
    assert tiny_catalogue.subset(np.arange(16)[::-1]).fingerprint != copy.fingerprint
    picture = tmp_path / "copy/train/0003.png"
    picture.write_bytes(picture.read_bytes() + b"more")
    assert Catalogue.load(tmp_path / "copy", "train").fingerprint != copy.fingerprint
    table = tmp_path / "copy/train/metadata.csv"
    table.write_text(table.read_text().replace("Striped", "Stripes", 1))
    assert Catalogue.load(tmp_path / "copy", "train").fingerprint != copy.fingerprint


def test_the_table_has_ids_products_and_every_column(tmp_path):
    table = rows("a", "b", id=["x", "y"], product=["p", "q"], group=["g", "g"])
    plain = Catalogue.load(write_table(tmp_path, table)).table()
    assert plain.column_names == ["id", "product", "Pattern", "group"]
    assert plain.to_pylist()[1] == {"id": "y", "product": "q", "Pattern": "b", "group": "g"}
    other = Catalogue.load(tmp_path, product="group").table()
    assert other.column_names == ["id", "product", "Pattern", "product (source)", "group"]
    assert other.column("product").to_pylist() == ["g", "g"]


def test_a_catalogue_travels_to_other_processes(tiny_catalogue):
    copy = pickle.loads(pickle.dumps(tiny_catalogue))
    assert copy.ids == tiny_catalogue.ids and copy.picture(3) == tiny_catalogue.picture(3)


def test_nearest_looks_past_case_spaces_and_beginnings():
    names = ["Sleeve Length", "Pattern", "product_number"]
    assert [nearest(name, names) for name in ("sleeve_length", "patern", "product", "Fabric")] == [
        "Sleeve Length", "Pattern", "product_number", None,
    ]  # fmt: skip


def test_real_photos_load(photos):
    train = Catalogue.load(photos / "fashion", "train", attributes=["Pattern", "Sleeve Length", "Fit"])
    validation = Catalogue.load(photos / "fashion", "validation")
    assert (len(train), len(validation)) == (5673, 1412)
    assert {value: train.counts("Pattern")[value] for value in ("Solid", "Printed", "Checked", "Striped")} == {
        "Solid": 947, "Printed": 729, "Checked": 437, "Striped": 432,
    }  # fmt: skip
    assert train.picture(0).size == (224, 224)
    clothing = Catalogue.load(photos / "clothing10", "validation", attributes=["articleType"])
    assert (len(clothing), len(clothing.counts("articleType"))) == (341, 10)
