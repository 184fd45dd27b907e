"""First prompts files: they load, speak of every item, and survive columns and values with odd names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.prompts import Prompts
from clipadapt.prompts.lint import lint
from clipadapt.prompts.starter import Words, noun_of, starter

KIND = Words("articleType", [("Shirt", 9), ("Umbrella", 2)], everywhere=True)
COLOUR = Words("Main Colour", [("Red", 5), ("No", 3)])
FIT = Words("Fit", [("Slim Fit", 4), ("Loose Fit", 2), ("36", 1)])
FABRIC = Words("Fabric", [("Cotton", 3)])


def test_reads_like_a_person_wrote_it():
    prompts = Prompts.parse(starter("shop", [KIND, COLOUR, FIT, FABRIC], caption="title"))
    row = {"articleType": "Umbrella", "Main Colour": "No", "Fit": "Slim Fit", "Fabric": "Cotton", "title": "T {x}"}
    assert prompts.captions(row) == [
        "a photo of a no umbrella, slim fit, fabric cotton",
        "a no umbrella",
        "an umbrella, slim fit",
        "an umbrella, fabric cotton",
        "T {x}",
    ]
    assert prompts.captions(row | {"Main Colour": "", "Fit": "", "title": ""})[:2] == [
        "a photo of an umbrella, fabric cotton",
        "an umbrella",
    ]
    assert prompts.value_texts("Fit", "Slim Fit") == ["a photo, slim fit", "something with slim fit"]
    assert prompts.value_texts("Fabric", "Cotton") == ["a photo, fabric cotton", "fabric: cotton"]
    assert prompts.plain("articleType", "Umbrella") == "a photo of an umbrella"
    assert lint(prompts) == []


def test_plural_categories_take_no_article():
    prompts = Prompts.parse(starter("shop", [Words("Category", [("Shirts", 9), ("Dress", 3)], everywhere=True)]))
    assert prompts.captions({"Category": "Shirts"}) == ["a photo of shirts", "shirts"]
    assert prompts.value_texts("Category", "Shirts") == ["a photo of shirts", "shirts"]


def test_an_item_that_nobody_knows_anything_of_still_has_a_caption():
    prompts = Prompts.parse(starter("shop", [FIT, FABRIC], absent=["Not Applicable"]))
    assert prompts.captions({"Fit": "", "Fabric": ""}) == ["a photo"]
    assert prompts.captions({"Fit": "Slim Fit", "Fabric": "Not Applicable"}) == ["a photo, slim fit"]
    assert prompts.value_texts("Fabric", "Not Applicable") == ["something without fabric"]
    assert Prompts.parse(starter("shop", [], caption="text")).captions({"text": ""}) == ["a photo"]


def test_the_noun_is_the_finest_category_that_is_everywhere():
    master = Words("masterCategory", [("a", 1), ("b", 1)], everywhere=True)
    fine = Words("Product Type", [("a", 1), ("b", 1), ("c", 1)], everywhere=True)
    sparse = Words("label", [("a", 1)] * 9)
    assert noun_of([FIT, Words("category", [("a", 1)], everywhere=True), fine, sparse]) is fine
    assert noun_of([FIT, master]) is None and noun_of([sparse]) is sparse


names = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12).map(str.strip)


@pytest.mark.filterwarnings("error")
@given(
    st.lists(names.filter(bool), min_size=1, max_size=3, unique=True),
    st.lists(names.filter(bool), max_size=4, unique=True),
)
def test_odd_columns_and_values_stay_readable(columns, values):
    both = [column for column in columns if '"' in column and "'" in column]
    columns = [column for column in columns if column not in both]
    prompts = Prompts.parse(starter("odd", [Words(column, [(value, 2) for value in values]) for column in columns]))
    row = dict.fromkeys(columns, values[0] if values else "")
    assert prompts.captions(row)
    assert prompts.attributes == tuple(columns)
    for column in columns:
        for value in values:
            assert prompts.library.attributes[column].values.keys() == set(values)
            assert prompts.value_texts(column, value)
