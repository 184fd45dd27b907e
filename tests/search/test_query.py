import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipadapt.errors import SpaceError, UsageError
from clipadapt.search.query import Compiler, Item, Query
from clipadapt.towers.value_vectors import Learned, ValueVectors

RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
STORED = {"a": np.array([0, 1, 0, 0.5, 0, 0], np.float32)}


def compiler(encoder, **more):
    """Similarities to words spread a tenth as far as those to pictures, as a modality gap makes them."""
    spread = lambda vector: 0.02 if vector[4] > 0.5 else 0.2  # noqa: E731
    return Compiler(6, lambda: encoder, lambda: encoder, lambda item: STORED[item], spread, **more)


def compiled(encoder, *queries, **more):
    return compiler(encoder, **more).compile([Query.of(query) for query in queries])


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


def test_a_single_part_is_its_own_vector(painter):
    words, picture, vector, item = compiled(painter(), "red", RED, np.array([3, 0, 0, 0, 4, 0.0]), Item("a"))
    np.testing.assert_allclose(words.vector, painter().encode_texts(["red"])[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(picture.vector, painter().encode_images([RED])[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(vector.vector, [0.6, 0, 0, 0, 0.8, 0], atol=1e-6)
    np.testing.assert_allclose(item.vector, unit(STORED["a"]), atol=1e-6)
    assert [one.kind for one in (words, picture, vector, item)] == ["text", "picture", "picture", "picture"]
    assert item.items == ("a",)


def test_words_and_pictures_have_an_equal_say_at_half(painter):
    encoder = painter()
    words, picture = encoder.encode_texts(["red"])[0].numpy(), encoder.encode_images([BLUE])[0].numpy()
    for weight in (0.0, 0.3, 0.5, 1.0):
        (asked,) = compiled(encoder, Query((BLUE, "red"), text_weight=weight))
        np.testing.assert_allclose(asked.vector, unit(weight * words / 0.02 + (1 - weight) * picture / 0.2), atol=1e-6)


def test_negatives_push_away(painter):
    encoder = painter()
    red, blue = encoder.encode_texts(["red", "blue"]).numpy()
    (asked,) = compiled(encoder, Query(("red",), ("blue",), negative_weight=0.4))
    np.testing.assert_allclose(asked.vector, unit(red - 0.4 * blue), atol=1e-6)
    assert asked.vector @ blue < red @ blue
    (several,) = compiled(encoder, Query(("red",), ("blue", "green"), negative_weight=1.0))
    green = encoder.encode_texts(["green"])[0].numpy()
    np.testing.assert_allclose(several.vector, unit(red - (blue + green) / 2), atol=1e-6)


def test_each_part_has_a_weight_of_its_own(painter):
    encoder = painter()
    red, blue, green = encoder.encode_texts(["red", "blue", "green"]).numpy()
    (asked,) = compiled(encoder, Query(("red", "blue", "green"), weights=(3, 1, -0.8)))
    np.testing.assert_allclose(asked.vector, unit(unit(3 * red + blue) - 0.2 * green), atol=1e-6)
    picture = encoder.encode_images([BLUE])[0].numpy()
    (shared,) = compiled(encoder, Query((BLUE, "red"), weights=(3, 1)))
    np.testing.assert_allclose(shared.vector, unit(0.25 * red / 0.02 + 0.75 * picture / 0.2), atol=1e-6)
    (overruled,) = compiled(encoder, Query((BLUE, "red"), text_weight=0.5, weights=(3, 1)))
    np.testing.assert_allclose(overruled.vector, unit(0.5 * red / 0.02 + 0.5 * picture / 0.2), atol=1e-6)
    (without,) = compiled(encoder, Query((Item("a"), "red"), weights=(1, -0.5)))
    np.testing.assert_allclose(without.vector, unit(unit(STORED["a"]) / 0.2 - 0.5 * red / 0.02), atol=1e-6)
    same, plain = compiled(encoder, Query(("red", BLUE), weights=(2, 2)), Query(("red", BLUE)))
    np.testing.assert_allclose(same.vector, plain.vector, atol=1e-6)


def test_several_positives_are_averaged(painter):
    (asked,) = compiled(painter(), Query(("red", "blue")))
    np.testing.assert_allclose(
        asked.vector, unit(painter().encode_texts(["red", "blue"]).numpy().mean(axis=0)), atol=1e-6
    )


def test_everything_is_encoded_at_once(painter):
    encoder = painter()
    compiled(encoder, RED, BLUE, Query((RED, "red"), (BLUE,)))
    assert encoder.encoded == [4]


def test_a_text_may_stand_for_several(painter):
    (asked,) = compiled(painter(), "warm", expand=lambda text: ["red", "red white"] if text == "warm" else [text])
    mean = painter().encode_texts(["red", "red white"]).numpy().mean(axis=0)
    np.testing.assert_allclose(asked.vector, unit(mean), atol=1e-6)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (lambda: Query(()), "negatives alone find nothing"), (lambda: Query((" \n",)), "is empty"),
        (lambda: Query(("x" * 10_000,)), "10,000 characters.*1,000 are the most"),
        (lambda: Query(("x",), ("y" * 1_001,)), "1,001 characters"),
        (lambda: Query(("x",), text_weight=1.5), "text weight 1.5"),
        (lambda: Query(("x", "y"), weights=(1,)), r"1 weight\(s\) for 2 part"),
        (lambda: Query(("x", "y"), weights=(-1, -2)), "one of them is above 0"),
        (lambda: Query(("x", "y"), weights=(1, 0)), "other than 0"),
        (lambda: Query(("x",), weights=(float("nan"),)), "weights nan"),
        (lambda: Query(("x",), negative_weight=-1), "negative weight -1"),
        (lambda: Query(("x",), negative_weight=float("nan")), "negative weight nan"),
    ],
)  # fmt: skip
def test_queries_that_cannot_be(query, said):
    with pytest.raises(UsageError, match=said):
        query()


@pytest.mark.parametrize(
    ("vector", "error", "said"),
    [
        (np.zeros(6), UsageError, "zero or not finite"), (np.full(6, np.nan), UsageError, "zero or not finite"),
        (np.array([1, 0, 0, 0, 0, np.inf]), UsageError, "zero or not finite"),
        (np.ones(5), SpaceError, r"shape \(5,\)"),
    ],
)  # fmt: skip
def test_vectors_that_cannot_be(painter, vector, error, said):
    with pytest.raises(error, match=said):
        compiled(painter(), vector)


@given(st.integers(0, 2**20), st.floats(0.01, 9), st.floats(1e-3, 0.3))
def test_what_cancels_itself_out_is_refused_whatever_rounding_leaves_of_it(seed, weight, spread):
    rng = np.random.default_rng(seed)
    once, again = rng.standard_normal((2, 64)).astype(np.float32)
    almost = once * (1 + 1e-6 * rng.standard_normal(64)).astype(np.float32)  # as a picture that is encoded twice
    asked = Compiler(64, painter_of_none, painter_of_none, STORED.__getitem__, lambda _: spread)
    for query in (
        Query((once,), (almost,), negative_weight=1.0),
        Query((once, almost), weights=(weight, -weight)),
        Query((once, -almost)),
    ):
        with pytest.raises(UsageError, match="cancel each other out"):
            asked.compile([query])
    (kept,) = asked.compile([Query((once, again), weights=(weight, -weight / 1000))])
    assert np.linalg.norm(kept.vector - unit(once)) < 3e-3
    (tiny,) = asked.compile([Query((once * 1e-9,))])
    np.testing.assert_allclose(tiny.vector, unit(once), atol=1e-6)


def painter_of_none():
    raise AssertionError("vectors alone")


def test_words_need_a_text_tower(painter):
    with pytest.raises(UsageError, match="has no text tower"):
        compiled(painter(text=False), "red")


def test_a_query_that_names_a_value_takes_what_pictures_taught_of_it(painter):
    encoder = painter()
    taught = unit([0, 0, 1, 1, 0, 0]).astype(np.float32)
    other = unit([1, 0, 0, 1, 0, 0]).astype(np.float32)
    encoder.value_vectors = ValueVectors(
        {
            "Colour": Learned(("Red", "Blended"), np.stack([taught, other]), 0.75),
            "Fabric": Learned(("Blended",), other[None], 1.0),
        },
        "space",
    )
    red, phrase, blended = (vector.numpy() for vector in encoder.encode_texts(["red", "a red shirt", "blended"]))
    for text in ("red", "RED", "Colour: red", "colour :  Red"):
        (own,) = compiled(encoder, text)
        (words,) = encoder.encode_texts([text]).numpy()
        np.testing.assert_allclose(own.vector, unit(0.25 * words + 0.75 * taught), atol=1e-6)
    assert not np.allclose(compiled(encoder, "red")[0].vector, red, atol=1e-3)
    third = 0.75 / 3  # of three words one is a name
    within = unit((1 - third) * phrase + third * taught)
    for text, vector in (("a red shirt", within), ("blended", blended)):  # a name of two values is none
        np.testing.assert_allclose(compiled(encoder, text)[0].vector, vector, atol=1e-6)
    np.testing.assert_allclose(compiled(encoder, "Fabric: blended")[0].vector, other, atol=1e-6)
