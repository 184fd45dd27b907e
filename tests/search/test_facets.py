import pyarrow as pa
import pytest

from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.filters import parse_all
from clipadapt.search.items import Items


@pytest.fixture
def items() -> Items:
    """60 items, two to a product; each product has a title of its own."""
    rows = range(60)
    table = {
        "id": [f"i{row}" for row in rows],
        "product": [f"p{row // 2}" for row in rows],
        "title": [f"Shirt {row // 2}" for row in rows],
        "colour": ["red" if row % 3 else "blue" for row in rows],
        "price": [10 + row for row in rows],
    }
    return Items.of(pa.table(table))


def test_values_are_counted_and_ranges_measured(items: Items):
    assert facets(items) == [Values("colour", [("red", 40), ("blue", 20)], 0), Range("price", 10, 69)]


def test_a_column_that_names_products_is_no_facet_under_any_conditions(items: Items):
    assert "title" not in [facet.name for facet in facets(items, parse_all(["price<20", "title=Shirt 1"]))]


def test_a_columns_conditions_do_not_narrow_its_facet(items: Items):
    colour, price = facets(items, parse_all(["colour=red", "price<20"]))
    assert colour == Values("colour", [("red", 6), ("blue", 4)], 0)
    assert price == Range("price", 11, 69)
