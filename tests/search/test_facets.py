"""Facets against counting by hand."""

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.errors import UsageError
from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.filters import parse_all
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

TABLE = pa.table(
    {
        "id": [f"i{row}" for row in range(60)],
        "product": [f"p{row // 2}" for row in range(60)],
        "colour": [("red", "blue", "green")[row % 3] if row < 58 else "" for row in range(60)],
        "price": [str(row) for row in range(60)],
        "added": [f"2026-01-{row % 28 + 1:02d}" for row in range(60)],
        "tags": ["new | sale" if row % 2 else "new" for row in range(60)],
        "title": [f"shirt {row // 2}" for row in range(60)],
    }
)


def by_name(items: Items, *where: str, most: int = 20) -> dict:
    return {facet.name: facet for facet in facets(items, parse_all(where), most)}


@pytest.fixture
def items() -> Items:
    return Items.of(TABLE, {"tags": "|"})


def test_an_index_counts_as_its_table_does_wherever_it_is_kept(items: Items, place):
    points = np.eye(60, dtype=np.float32)
    index = Index.build(Vectors(points, items, "space", None), place)
    for where in ([], ["colour=red", "price<30"], ["added>=2026-01-20"]):
        assert index.facets(where) == facets(items, parse_all(where))
    index.remove([f"i{row}" for row in range(0, 60, 3)])
    assert dict(index.facets()[0].values) == {"blue": 19, "green": 19}  # pyright: ignore[reportAttributeAccessIssue]


def test_values_are_counted_and_numbers_and_dates_have_ends(items: Items):
    found = by_name(items)
    assert found["colour"] == Values("colour", [("red", 20), ("blue", 19), ("green", 19)], 0)
    assert found["price"] == Range("price", 0, 59)
    assert found["added"] == Range("added", "2026-01-01", "2026-01-28")
    assert found["tags"] == Values("tags", [("new", 60), ("sale", 30)], 0)
    assert list(found) == ["colour", "price", "added", "tags"], "ids, products and free text are no facets"


def test_a_columns_own_condition_does_not_narrow_it(items: Items):
    found = by_name(items, "colour=red", "price<30")
    assert dict(found["colour"].values) == {"red": 10, "blue": 10, "green": 10}
    assert found["price"] == Range("price", 0, 57)
    assert dict(found["tags"].values) == {"new": 10, "sale": 5}


def test_a_chosen_value_is_listed_in_any_case(items: Items):
    found = by_name(items, "colour=green", "price>58", most=1)
    assert found["colour"].values == [("green", 0)]
    found = by_name(items, "colour in (green, blue)", most=1)
    assert found["colour"].values == [("red", 20), ("blue", 19), ("green", 19)]
    assert by_name(items, most=1)["colour"].more == 2


def test_removed_items_do_not_count_and_empty_columns_are_left_out(items: Items):
    left = items.without(items.live_rows([f"i{row}" for row in range(0, 60, 3)]))
    assert dict(by_name(left)["colour"].values) == {"blue": 19, "green": 19}
    assert "price" not in by_name(items, "colour=purple")


def test_a_column_that_names_products_is_no_facet_under_any_conditions(items: Items):
    assert "title" not in by_name(items, "price<20", "title=shirt 1")


def test_a_condition_at_fault_is_an_error(items: Items):
    with pytest.raises(UsageError, match="did you mean 'colour'"):
        by_name(items, "color=red")
