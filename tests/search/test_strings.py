"""Texts by row are those that Arrow gives, however the column was cut and joined."""

import pyarrow as pa
import pytest

from clipadapt.search.strings import Strings

TEXTS = ["a", "", "größer", "日本", "x" * 300, "b", "", "c"]


@pytest.mark.parametrize(
    "column",
    [
        pa.chunked_array([pa.array(TEXTS)]),
        pa.chunked_array([pa.array(TEXTS[:3]), pa.array([], pa.string()), pa.array(TEXTS[3:])]),
        pa.chunked_array([pa.array(["left out", *TEXTS, "too"]).slice(1, len(TEXTS))]),
        pa.chunked_array([pa.array(TEXTS).slice(0, 5), pa.array(["left out", *TEXTS[5:]]).slice(1)]),
    ],
    ids=["one", "several", "cut", "cut and joined"],
)
def test_texts_of_rows(column: pa.ChunkedArray):
    strings = Strings(column)
    assert len(strings) == len(TEXTS)
    assert strings.at(range(len(TEXTS))) == column.to_pylist() == TEXTS
    assert strings.at([7, 0, 0, 2]) == ["c", "a", "a", "größer"]
    assert strings.at([]) == []
    for row in (-1, len(TEXTS)):
        with pytest.raises(IndexError):
            strings.at([row])


def test_texts_that_are_all_empty_and_columns_without_rows():
    assert Strings(pa.chunked_array([pa.array(["", ""])])).at([0, 1]) == ["", ""]
    assert Strings(pa.chunked_array([], pa.string())).at([]) == []


def test_unknown_cells_are_no_texts():
    with pytest.raises(AssertionError):
        Strings(pa.chunked_array([pa.array(["a", None])]))
