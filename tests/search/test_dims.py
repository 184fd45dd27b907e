"""Indexes that keep the first dimensions of vectors: like one of vectors that have no more, with queries cut alike."""

import numpy as np
import pytest
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import SpaceError, UsageError
from clipadapt.recognition.calibration import Scale
from clipadapt.search.embed import embed_pictures
from clipadapt.search.index import Index, Item, Query, Target
from clipadapt.search.typed import Known, same_but
from clipadapt.search.vectors import first
from clipadapt.search.wishes import Signal, Signals


@pytest.fixture
def short(vectors_of, place):
    return Index.build(vectors_of(600), place, dims=12, factory="Flat")


def test_it_finds_what_exact_search_over_the_first_dimensions_finds(short, vectors_of, cloud, place):
    vectors = first(vectors_of(600).vectors, 12)
    queries = cloud(5, seed=3)
    expected = np.argsort(-(first(queries, 12) @ vectors.T), axis=1, kind="stable")[:, :8]
    for index in (short, Index.open(place)):
        assert (index.meta.dim, index.meta.whole) == (12, 32)
        found = index.search(queries, 8, collapse=False)
        assert [[hit.id for hit in hits] for hits in found] == [[f"i{row}" for row in rows] for rows in expected]
        assert [[hit.id for hit in hits] for hits in index.search(first(queries, 12), 8, collapse=False)] == [
            [hit.id for hit in hits] for hits in found
        ]
        assert found[0][0].score == pytest.approx(float((first(queries, 12) @ vectors.T)[0].max()), abs=1e-5)


def test_what_comes_later_is_cut_alike_and_a_rebuild_keeps_it(short, vectors_of):
    short.add(vectors_of(40, first=600))
    short.update(vectors_of(1, first=5, seed=9).shortened(12))
    assert np.allclose(short.vector("i620"), first(vectors_of(40, first=600).vectors[20], 12), atol=1e-6)
    assert np.allclose(short.vector("i5"), first(vectors_of(1, first=5, seed=9).vectors[0], 12), atol=1e-6)
    short.tune(Target(recall=0.9))
    assert (short.meta.dim, short.meta.whole, len(short)) == (12, 32, 640)
    assert short.search(vectors_of(40, first=600).vectors[20], 1, collapse=False)[0][0].id == "i620"


def test_vectors_of_other_lengths_are_refused(short, vectors_of):
    with pytest.raises(SpaceError, match="16 dimensions for an index of 12"):
        short.add(vectors_of(3, first=700, dim=16))
    with pytest.raises(SpaceError, match="12 dimensions"):
        short.search(np.ones(16, np.float32))


@pytest.mark.parametrize("dims", [0, 33])
def test_dimensions_that_are_not_there(vectors_of, place, dims):
    with pytest.raises(UsageError, match=rf"{dims} dimensions of vectors that have 32; name 1 to 32"):
        Index.build(vectors_of(50), place, dims=dims)


def test_dimensions_that_are_not_there_are_refused_before_anything_is_encoded(painter, shop, place):
    encoder = painter()
    with pytest.raises(UsageError, match="7 dimensions of vectors that have 6"):
        Index.build(Catalogue.load(shop, "train"), place, encoder=encoder, dims=7)
    assert not encoder.encoded


def test_all_of_them_are_an_index_like_any_other(vectors_of, place):
    assert Index.build(vectors_of(50), place, dims=32).meta.whole is None


def test_words_pictures_and_changes_are_cut_alike(painter, shop, place):
    built = Index.build(Catalogue.load(shop, "train"), place, encoder=painter(), dims=3)
    assert built.meta.whole == 6
    assert built.meta.measured["text"].recall >= 0.9  # equal pictures stand in any order
    (hits,) = built.search(Image.new("RGB", (8, 8), "red"), 3)
    assert hits[0].attributes["colour"] == "red"
    (hits,) = built.search(Query(("blue", Item("i0")), text_weight=1.0), 1)
    assert hits[0].attributes["colour"] == "blue"
    vectors = painter().encode_texts(["red", "blue"]).numpy()
    signals = Signals(
        {"colour": Signal(("red", "blue"), vectors, "exclusive", Scale(50.0), (0.5, 0.5), 1.0, 1.0)},
        built.meta.image_space, "words", {},
    )  # fmt: skip
    index = Index(built.backend, encoder=painter(), signals=signals)
    assert index.signals is not None and index.signals.attributes["colour"].vectors.shape == (2, 3)
    whole = embed_pictures(painter(), Catalogue.load(shop, "train")).vectors[0]
    for start in (Item("i0"), whole):
        asked = same_but(start, "blue", index, Known(signals=signals).vocabulary(index))
        assert index.search(asked.query, 1)[0][0].attributes["colour"] == "blue"
