import datetime
import decimal

import pyarrow as pa
import pytest

from clipadapt.data.cells import text_table
from clipadapt.errors import CatalogueError


def texts(values, kind=None, separators=None):
    return text_table(pa.table({"x": pa.array(values, kind)}), separators or {}).table.to_pydict().get("x")


@pytest.mark.parametrize(
    ("values", "kind", "want"),
    [
        (["a", None, "007"], pa.string(), ["a", "", "007"]),
        (["a", None], pa.large_string(), ["a", ""]),
        ([1, None, -3], pa.int64(), ["1", "", "-3"]),
        ([2011.0, None, 0.5, float("nan"), float("inf")], pa.float64(), ["2011", "", "0.5", "", "inf"]),
        ([True, None], pa.bool_(), ["true", ""]),
        ([None, None], pa.null(), ["", ""]),
        ([["a", "b"], [], None, ["c", None]], pa.list_(pa.string()), ["a|b", "", "", "c"]),
        ([[1, 2]], pa.list_(pa.int32()), ["1|2"]),
        ([datetime.date(2024, 2, 1)], pa.date32(), ["2024-02-01"]),
        (["a", "b", "a"], pa.dictionary(pa.int8(), pa.string()), ["a", "b", "a"]),
        ([b"bytes", None], pa.binary(), ["bytes", ""]),
        ([b"\xff\xd8"], pa.binary(), None),
        ([b"abc"], pa.binary(3), ["abc"]),
        ([19.99, 5e-05, -0.0, None], pa.float32(), ["19.99", "0.00005", "0", ""]),
        ([19.99, 38.0, 1e21, 5e-05], pa.float64(), ["19.99", "38", "1e+21", "0.00005"]),
        ([1.5, 2.0], pa.float16(), ["1.5", "2"]),
        ([decimal.Decimal("38.00"), decimal.Decimal("19.90")], pa.decimal128(10, 2), ["38", "19.9"]),
        (
            [datetime.datetime(2024, 1, 15), datetime.datetime(2024, 1, 15, 10, 30)],
            pa.timestamp("ns"),
            ["2024-01-15", "2024-01-15 10:30:00"],
        ),
        ([datetime.datetime(2024, 1, 15, 10, 30)], pa.timestamp("us", "Asia/Kolkata"), ["2024-01-15 16:00:00+05:30"]),
        ([datetime.date(2024, 2, 1)], pa.date64(), ["2024-02-01"]),
        ([datetime.time(10, 5)], pa.time32("s"), ["10:05:00"]),
        ([[38, 39], None, []], pa.list_(pa.int64()), ["38|39", "", ""]),
        ([[38.0, 19.99]], pa.list_(pa.float32()), ["38|19.99"]),
        ([[True, False]], pa.list_(pa.bool_()), ["true|false"]),
        ([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2), ["1|2", "", "3|4"]),
        ([[1, 2], None], pa.list_view(pa.int64()), ["1|2", ""]),
        ([["a", "b"]], pa.large_list(pa.large_string()), ["a|b"]),
        ([[decimal.Decimal("1.50")]], pa.list_(pa.decimal128(5, 2)), ["1.5"]),
        (["a"], pa.string_view(), ["a"]),
        ([[0.5] * 33], pa.list_(pa.float32()), None),
        ([[[1, 2]]], pa.list_(pa.list_(pa.int64())), None),
        ([], pa.string(), []),
    ],
)
def test_every_type_reads_as_a_person_would_write_it(values, kind, want):
    assert texts(values, kind) == want


def test_lists_take_the_separator_of_their_attribute():
    assert texts([["a|b", "c"]], separators={"x": ";"}) == ["a|b;c"]
    with pytest.raises(CatalogueError, match=r"'a\|b' holds the separator '\|'; name another one"):
        texts([["a|b", "c"]], separators={"x": "|"})


def test_a_list_that_nobody_declares_never_refuses_the_source():
    found = text_table(pa.table({"x": [["a|b", "c"]], "y": [["d", "e"]]}), {})
    assert found.table.to_pydict() == {"x": ["a|b;c"], "y": ["d|e"]} and found.lists == {"x": ";", "y": "|"}


def test_structs_are_opened_and_keep_their_gaps():
    table = pa.table({"json": pa.array([{"Pattern": "Solid", "year": 2011}, None]), "name": ["one", "two"]})
    assert text_table(table, {}).table.to_pydict() == {
        "Pattern": ["Solid", ""], "year": ["2011", ""], "name": ["one", "two"],
    }  # fmt: skip


def test_nested_fields_are_columns_and_names_in_two_places_take_their_path():
    table = pa.table(
        {
            "json": pa.array([{"name": "x", "size": {"eu": 38, "tags": ["a", "b"]}}, None]),
            "name": ["one", "two"],
            "objects": pa.array([[{"category": "bag"}, {"category": "hat"}], []]),
            "facts": pa.array([[("Colour", "Red")], [("Fit", "Slim")]], pa.map_(pa.string(), pa.string())),
        }
    )
    found = text_table(table, {})
    assert found.table.to_pydict() == {
        "json.name": ["x", ""], "eu": ["38", ""], "tags": ["a|b", ""], "name": ["one", "two"],
        "category": ["bag|hat", ""], "Colour": ["Red", ""], "Fit": ["", "Slim"],
    }  # fmt: skip
    assert found.lists == {"tags": "|", "category": "|"}


def test_what_has_no_text_is_named_with_the_reason():
    table = pa.table(
        {
            "vector": pa.array([[0.5] * 512], pa.list_(pa.float32(), 512)),
            "hash": pa.array([b"\xff\x00"], pa.binary()),
            "back": pa.array([{"bytes": b"x", "path": "1.png"}]),
            "boxes": pa.array([[[1, 2], [3, 4]]]),
            "words": pa.array([[(str(key), 1) for key in range(65)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    assert text_table(table, {}).left_out == {
        "vector": "lists of up to 512 numbers: vectors, not values",
        "hash": "bytes that are no text",
        "back": "pictures or other media",
        "boxes": "lists within lists",
        "words": "a map with 65 different keys",
    }
