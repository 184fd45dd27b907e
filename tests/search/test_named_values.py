"""Which values a query names, and what its vector is then."""

import numpy as np
import pytest

from clipadapt.search.query import _with_value, values_named
from clipadapt.towers.value_vectors import Learned, ValueVectors


def unit(rows: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


LEARNED = ValueVectors(
    {
        "Pattern": Learned(("Striped", "Polka dots", "Plain"), unit(3, 1), 0.75),
        "Category": Learned(("Dresses", "T-shirt", "Tank top", "Plain"), unit(4, 2), 1.0),
        "Colour": Learned(("red", "dark red"), unit(2, 3), 0.5),
    },
    "space",
)


@pytest.mark.parametrize(
    ("text", "values", "share"),
    [
        ("striped", [("Pattern", "Striped")], 1.0),
        ("Pattern: striped", [("Pattern", "Striped")], 1.0),
        ("pattern :  STRIPED", [("Pattern", "Striped")], 1.0),
        ("striped dress", [("Pattern", "Striped"), ("Category", "Dresses")], 1.0),
        ("T-Shirts, polka-dots", [("Category", "T-shirt"), ("Pattern", "Polka dots")], 1.0),
        ("dark red tank tops", [("Colour", "dark red"), ("Category", "Tank top")], 1.0),
        ("a red dress for a summer party", [("Colour", "red"), ("Category", "Dresses")], 2 / 7),
        ("red, red, red", [("Colour", "red")], 1.0),
        ("plain", [], 0.0),
        ("Category: plain", [("Category", "Plain")], 1.0),
        ("plain red", [("Colour", "red")], 0.5),
        ("dress without polka dots", [("Category", "Dresses")], 0.25),
        ("not striped", [], 0.0),
        ("tank", [], 0.0),
        ("Fabric: striped", [("Pattern", "Striped")], 0.5),
        ("...", [], 0.0),
        ("", [], 0.0),
    ],
)
def test_what_a_query_names(text: str, values: list[tuple[str, str]], share: float) -> None:
    names = values_named(text, LEARNED)
    assert list(names.values) == values
    assert names.share == pytest.approx(share)


def test_a_value_alone_is_mixed_as_in_recognition() -> None:
    text = unit(1, 9)[0]
    expected = LEARNED.mixed("Pattern", ["Striped"], text[None])[0]
    np.testing.assert_allclose(_with_value("striped", text, LEARNED), expected, atol=1e-6)


def test_several_values_pull_alike_and_other_words_keep_their_share() -> None:
    text = unit(1, 9)[0]
    assert _with_value("a summer party", text, LEARNED) is text
    both = LEARNED.attributes["Colour"].vectors[0] + LEARNED.attributes["Category"].vectors[0]
    both /= np.linalg.norm(both)
    wanted = 0.25 * text + 0.75 * both  # the mean of the weights 0.5 and 1
    np.testing.assert_allclose(_with_value("red dress", text, LEARNED), wanted / np.linalg.norm(wanted), atol=1e-6)
    half = 0.625 * text + 0.375 * both  # two of four words
    half /= np.linalg.norm(half)
    np.testing.assert_allclose(_with_value("red dress for summer", text, LEARNED), half, atol=1e-6)
