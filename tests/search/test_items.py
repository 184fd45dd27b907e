from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.errors import CatalogueError, UsageError
from clipadapt.search.items import Items, Numbers, Texts


def of(**columns):
    count = len(next(iter(columns.values())))
    return Items.of(pa.table({"id": [str(row) for row in range(count)], **columns}), {"tags": "|"})


@pytest.mark.parametrize(
    ("cells", "kind", "first"),
    [
        (["3", "", "-12"], pa.int64(), 3),
        (["3.50", "4", ""], pa.float64(), 3.5),
        (["2026-01-31", "", "2025-12-01"], pa.date32(), date(2026, 1, 31)),
        (["007", "8", "9"], pa.string(), "007"),  # a code, not a number: its zeros would be lost
        (["2026-02-31", "2026-01-01", ""], pa.string(), "2026-02-31"),
        (["inf", "1", "2"], pa.string(), "inf"),
        (["12345678901234567890", "1", "2"], pa.string(), "12345678901234567890"),
        (["", "", ""], pa.string(), None),
    ],
)
def test_texts_find_their_type(cells, kind, first):
    items = of(column=cells)
    assert items.table.column("column").type == kind
    assert items.table.column("column")[0].as_py() == first


def test_lists_are_split_and_unknown_cells_left_out_of_what_is_known():
    items = of(tags=["a | b", "", "b"], Pattern=["Striped", "", ""])
    assert items.attributes(np.array([0, 1])) == [{"tags": ["a", "b"], "Pattern": "Striped"}, {}]
    view = items.view("tags")
    assert isinstance(view, Texts)
    assert [view.values[code] for code in view.codes] == ["a", "b", "b"]
    assert view.rows is not None
    assert view.rows.tolist() == [0, 0, 2]


def test_typed_tables_keep_their_types():
    items = of(price=pa.array([1.5, None, 2.0]), fresh=pa.array([True, False, None]))
    assert items.table.column("fresh").to_pylist() == ["true", "false", None]
    view = items.view("price")
    assert isinstance(view, Numbers)
    assert view.known.tolist() == [True, False, True]


def test_items_without_a_product_are_their_own():
    assert of(a=["x", "y"]).product(1) == "1"


def test_a_source_column_named_vector_is_kept_aside():
    assert of(vector=["x", "y"]).attributes(np.array([1])) == [{"vector (source)": "y"}]


@pytest.mark.parametrize(
    ("ids", "said"), [(["a", "b", "a"], "used before"), (["a", ""], "empty"), (["a", None], "empty")]
)
def test_ids_must_tell_items_apart(ids, said):
    with pytest.raises(CatalogueError, match=said):
        Items.of(pa.table({"id": ids}))


def test_removing_keeps_rows_and_forgets_ids():
    items = of(a=["x", "y", "z"]).without(np.array([1]))
    assert (len(items), items.rows) == (2, 3)
    assert items.live_rows(["2", "0"]).tolist() == [2, 0]
    with pytest.raises(UsageError, match=r"'1' was removed\n.*'9' was never added"):
        items.live_rows(["1", "9"])
    again = items.extended(Items.of(pa.table({"id": ["1"], "a": ["new"]})))
    assert again.live_rows(["1"]).tolist() == [3]
    assert again.compacted().table.column("id").to_pylist() == ["0", "2", "1"]
    assert again.compacted().table.column("vector").to_pylist() == [0, 1, 2]


def test_extending_fits_types_and_fills_columns():
    items = of(price=["3", "4"]).extended(Items.of(pa.table({"id": ["5"], "price": ["7"], "colour": ["red"]})))
    assert items.attributes(np.array([0, 2])) == [{"price": 3}, {"price": 7, "colour": "red"}]
    with pytest.raises(CatalogueError, match="in the index already"):
        items.extended(Items.of(pa.table({"id": ["5"]})))


def test_one_tag_joins_a_column_of_lists():
    items = of(tags=["a | b", "b"]).extended(Items.of(pa.table({"id": ["9"], "tags": ["c"]})))
    assert items.attributes(np.array([2])) == [{"tags": ["c"]}]
