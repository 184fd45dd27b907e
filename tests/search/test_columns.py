"""Columns widen when items of another type are added; filters written before find what they found."""

import logging
import re
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.errors import CatalogueError, UsageError
from clipadapt.search.columns import typed
from clipadapt.search.embed import embed_pictures
from clipadapt.search.embedded import Embedded
from clipadapt.search.filters import matching, parse_all
from clipadapt.search.index import Index
from clipadapt.search.items import Items


def of(cells, first=0, separator=None):
    """Items of one column, c."""
    table = pa.table({"id": [str(first + row) for row in range(len(cells))], "c": cells})
    return Items.of(table, {"c": separator} if separator else None)


def found(items, where):
    return np.flatnonzero(matching(items, parse_all(where))).tolist()


SIZES = ["36", "38", "41", ""]


@pytest.mark.parametrize(
    ("new", "kind", "word"),
    [
        (["38.5"], pa.float64(), "held whole numbers and holds numbers from now on.*'38.5'"),
        (["38", "M"], pa.string(), "held whole numbers and holds texts from now on.*'M'"),
        (["n/a"], pa.string(), "'n/a'"),
        (["40"], pa.int64(), None),
        (["", ""], pa.int64(), None),
        (["2026-01-31"], pa.string(), "2026-01-31"),
    ],
)
def test_shoe_sizes_take_what_comes(new, kind, word, caplog):
    """An index built while a column held only whole numbers once refused 38.5 and M."""
    with caplog.at_level(logging.WARNING):
        items = of(SIZES).extended(of(new, 4))
    assert items.table.column("c").type == kind
    if word is None:
        assert not caplog.records
    else:
        assert re.search(word, caplog.text)
    assert found(items, "c=38")[0] == 1
    assert found(items, "c=38.0")[0] == 1
    assert [row for row in found(items, "c>=38") if row < 4] == [1, 2]
    assert [row for row in found(items, "c!=38") if row < 4] == [0, 2]
    assert 3 in found(items, "c is unknown")


NUMBERS = st.one_of(st.none(), st.integers(-50, 50), st.floats(-50, 50, width=32))
OTHERS = st.lists(st.one_of(NUMBERS, st.sampled_from(["M", "XL", "2026-01-31", "7a"])), min_size=1, max_size=5)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NUMBERS, min_size=1, max_size=8),
    st.lists(OTHERS, min_size=1, max_size=3),
    NUMBERS.filter(bool),
    st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
)
def test_a_filter_finds_the_same_of_what_was_there(cells, additions, wanted, operator):
    texts = ["" if cell is None else repr(cell) for cell in cells]
    items = of([*texts, "1"])
    before = found(items, f"c{operator}{wanted}")
    for more in additions:
        items = items.extended(of(["" if cell is None else str(cell) for cell in more], items.rows))
        assert [row for row in found(items, f"c{operator}{wanted}") if row <= len(cells)] == before


def test_new_numbers_among_texts_are_found_by_number():
    items = of(["3", "4"]).extended(of(["M", "3.50", "12"], 2))
    assert found(items, "c=3.5") == [3]
    assert found(items, "c>3") == [1, 3, 4]
    assert items.attributes(np.array([0, 4])) == [{"c": "3"}, {"c": "12"}]
    with pytest.raises(UsageError, match=r"ordered by its numbers; 'big' is none"):
        found(items, "c>big")


def test_texts_that_never_were_numbers_stay_texts():
    items = of(["007", "8", "M"]).extended(of(["7"], 3))
    assert found(items, "c=7") == [3]  # 007 is a code
    with pytest.raises(UsageError, match="no order"):
        found(items, "c>5")


def test_dates_widen_to_moments_and_texts():
    items = of(["2026-01-31", "2026-03-01"]).extended(of(["2026-02-01T10:00:00", "soon"], 2))
    assert found(items, "c>=2026-02-01") == [1, 2]
    moments = of(pa.array([datetime(2026, 1, 1, 9, 30), datetime(2026, 1, 3)]))
    assert found(moments, "c>=2026-01-03") == [1]
    assert moments.attributes(np.array([0])) == [{"c": "2026-01-01T09:30:00"}]
    assert of(pa.array([datetime(2026, 1, 1)])).attributes(np.array([0])) == [{"c": date(2026, 1, 1)}]
    zoned = of(pa.array([datetime(2026, 1, 1, 23, tzinfo=UTC)], pa.timestamp("us", "UTC")))
    assert found(zoned, "c>=2026-01-01T22:00:00+00:00") == [0]
    assert found(of(["2026-01-01T10:00", ""]), "c<2026-01-02") == [0]


def test_types_of_a_source_keep_their_shortest_text():
    assert found(of(pa.array([19.99, 20.5], pa.float32())), "c=19.99") == [0]
    assert found(of(pa.array([19.99], pa.float32())), "c>=19.99") == [0]
    assert of(pa.array(["38.00"]).cast(pa.decimal128(10, 2))).attributes(np.array([0])) == [{"c": 38.0}]
    assert found(of(pa.array([[38, 39], None, [40]])), "c=38") == [0]
    assert found(of(pa.array([[38.0, 38.5]])), "c=38") == [0]
    assert of(["5e-05", "2"]).attributes(np.array([0])) == [{"c": 5e-05}]
    assert of(pa.array([[True], [False]])).attributes(np.array([0])) == [{"c": ["true"]}]


def test_an_index_splits_what_is_added_by_its_rule():
    items = of(["Red|Black", "Red"], separator="|")
    assert items.separators == {"c": "|"}
    grown = items.extended(of(["Red|Blue", "Green"], 2)).without(np.array([1])).compacted().extended(of(["Red|Tan"], 9))
    assert grown.separators == {"c": "|"}
    assert found(grown, "c=Red") == [0, 1, 3]
    assert found(grown, "c!=Red") == [2]


def test_whole_cells_are_not_split_later():
    with pytest.raises(CatalogueError, match=r"split at '\|'; the index holds whole cells, such as 'Red\|Black'"):
        of(["Red|Black", "Red"]).extended(of(["Red|Blue"], 2, separator="|"))
    joined = of(["Black", "Red"]).extended(of(["Red|Blue"], 2, separator="|"))
    assert found(joined, "c=Red") == [1, 2]
    assert joined.separators == {"c": "|"}


def test_the_rule_is_on_disk_and_reaches_what_is_added(painter, shop, tmp_path):
    catalogue = Catalogue.load(shop, "train", attributes=[Attribute("colour", "multi", "e")])
    Index.build(catalogue, tmp_path / "index", encoder=painter())
    more = embed_pictures(painter(), Catalogue.load(shop, "train"))  # knows of no rule
    Index.open(tmp_path / "index").update(more)
    again = Index.open(tmp_path / "index")
    assert Embedded(tmp_path / "index").items.separators == {"colour": "e"}
    assert again.count("colour=r") == 3  # red, split at its e
    assert again.count("colour=red") == 0


@pytest.mark.parametrize(
    ("mapping", "clauses"),
    [
        ({"c": "36"}, "c=36"),
        ({"c": 36}, "c=36"),
        ({"c": 36.0}, "c=36"),
        ({"c": ["36", "41"]}, "c in (36, 41)"),
        ({"c": (36, 41)}, "c in (36, 41)"),
        ({"c": None}, "c is unknown"),
        ({"c": np.int64(41)}, "c=41"),
        ({"c": np.array([36, 38])}, "c in (36, 38)"),
        ({"c": "36", "id": "0"}, ["c=36", "id=0"]),
        ({}, None),
    ],
)
def test_conditions_as_a_mapping(mapping, clauses):
    assert found(of(SIZES), mapping) == found(of(SIZES), clauses)


def test_a_mapping_of_other_types():
    assert found(of(pa.array([True, False])), {"c": True}) == [0]
    assert found(of(["2026-01-31", ""]), {"c": date(2026, 1, 31)}) == [0]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"c": {"gte": 5}}, r"condition on 'c': \{'gte': 5\} is no value"),
        ({"c": []}, "is no value"),
        ({"c": [None, 36]}, "None is no value"),
        ([("c", "36")], r"condition \('c', '36'\): give texts"),
        ([{"c": "36"}], "or a mapping such as"),
        ({"d": "36"}, "no column 'd'"),
    ],
)
def test_what_is_no_condition_is_refused_in_one_line(where, said):
    with pytest.raises(UsageError, match=said) as caught:
        found(of(SIZES), where)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([" 12", "7 "], "whole"),
        ([" 0.5", "7"], "number"),
        (["2024-01-05 ", " 2024-02-01"], "date"),
        ([" x", "7"], "text"),
    ],
)
def test_spaces_around_numbers_and_dates_do_not_make_them_texts(cells, kind):
    column = typed(pa.chunked_array([pa.array(cells)]))
    assert column.kind == kind
    assert kind != "text" or column.cells.to_pylist() == cells


def test_columns_that_one_side_lacks_are_named(caplog):
    ours = Items.of(pa.table({"id": ["a"], "colour": ["Red"], "price": ["5"]}))
    with caplog.at_level(logging.WARNING):
        whole = ours.extended(Items.of(pa.table({"id": ["b"], "Colour": ["Blue"], "price": ["6"]})))
    assert caplog.messages == [
        "the new items lack 'colour', which are unknown for them and bring 'Colour', which the items before do not "
        "have; if one column has two names, write one"
    ]
    assert whole.table.column("colour").to_pylist() == ["Red", None]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ours.extended(Items.of(pa.table({"id": ["b"], "price": ["6"], "colour": ["Blue"]})))
    assert caplog.messages == []
