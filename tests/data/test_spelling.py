import unicodedata

import pytest
from data_factory import write_table

from clipadapt.data.catalogue import Attribute, Catalogue
from clipadapt.data.spelling import alike, folded

CAFE = unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("text", "unicode", "spaces", "case"),
    [
        (CAFE, "café", "café", "café"),
        ("Solid ", "Solid ", "Solid", "solid"),
        (" Off\xa0  White\t", " Off\xa0  White\t", "Off White", "off white"),
        ("So\xadlid\u200b", "So\xadlid\u200b", "Solid", "solid"),
        ("STRASSE", "STRASSE", "STRASSE", "strasse"),
        ("Weiß", "Weiß", "Weiß", "weiß"),
        ("T-Shirt", "T-Shirt", "T-Shirt", "t-shirt"),
    ],
)
def test_each_level_folds_more(text, unicode, spaces, case):
    assert (folded(text, "unicode"), folded(text, "spaces"), folded(text, "case")) == (unicode, spaces, case)


def test_what_looks_the_same_has_one_key():
    assert len({alike(text) for text in ("T-Shirt", "t shirt", "T\u2011SHIRT", "T\xadshirt ", "t_shirt")}) == 1
    assert alike(CAFE) == alike("Café") != alike("Cafe")


CELLS = ["Solid", "SOLID", "Solid ", "So\xadlid", CAFE, "café"]


def load(folder, level, attribute="Pattern"):
    rows = [{"file_name": f"{item}.png", "Pattern": cell, "product": f"{CAFE}{item % 2} "} for item, cell in
            enumerate(CELLS)]  # fmt: skip
    return Catalogue.load(write_table(folder, rows), attributes=[attribute], normalise=level)


@pytest.mark.parametrize(
    ("level", "values"),
    [
        ("unicode", {"Solid", "SOLID", "Solid ", "So\xadlid", "café"}),
        ("spaces", {"Solid", "SOLID", "café"}),
        ("case", {"solid", "café"}),
    ],
)
def test_values_of_attributes_are_folded(tmp_path, level, values):
    assert set(load(tmp_path, level).counts("Pattern")) == values


def test_members_are_folded_too_and_products_are_one_however_they_are_written(tmp_path):
    rows = [
        {"file_name": "1.png", "c": "Red |RED", "product": CAFE},
        {"file_name": "2.png", "c": "red", "product": "café "},
    ]
    catalogue = Catalogue.load(write_table(tmp_path, rows), attributes=[Attribute("c", "multi")], normalise="case")
    assert catalogue.counts("c") == {"red": 2}
    assert set(catalogue.products) == {"café"}
