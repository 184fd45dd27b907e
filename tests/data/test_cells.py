import datetime

import pyarrow as pa
import pytest

from clipadapt.data.cells import text_table
from clipadapt.errors import CatalogueError


def texts(values, kind=None, separators=None):
    return text_table(pa.table({"x": pa.array(values, kind)}), separators or {}).to_pydict().get("x")


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
        ([b"bytes"], pa.binary(), None),
        ([], pa.string(), []),
    ],
)
def test_every_type_reads_as_a_person_would_write_it(values, kind, want):
    assert texts(values, kind) == want


def test_lists_take_the_separator_of_their_attribute():
    assert texts([["a|b", "c"]], separators={"x": ";"}) == ["a|b;c"]
    with pytest.raises(CatalogueError, match=r"'a\|b' holds the separator '\|'; name another one"):
        texts([["a|b", "c"]])


def test_structs_are_opened_and_keep_their_gaps():
    table = pa.table({"json": pa.array([{"Pattern": "Solid", "year": 2011}, None]), "name": ["one", "two"]})
    assert text_table(table, {}).to_pydict() == {
        "Pattern": ["Solid", ""], "year": ["2011", ""], "name": ["one", "two"],
    }  # fmt: skip
    clash = pa.table({"json": pa.array([{"name": "x"}]), "name": ["one"]})
    with pytest.raises(CatalogueError, match="two columns are called 'name'"):
        text_table(clash, {})
