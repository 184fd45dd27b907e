"""Queries that wish for values: what labels and probabilities weigh, and results against scoring everything."""

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.errors import ConfigError, SpaceError, UsageError
from clipadapt.prompts import Prompts
from clipadapt.recognition.calibration import Scale
from clipadapt.search import weighed
from clipadapt.search.embedded import Embedded
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.query import CompiledQuery, Item, Query
from clipadapt.search.typed import same_but, typed
from clipadapt.search.understanding.vocabulary import Value, Vocabulary
from clipadapt.search.wishes import MISTAKEN, Signal, Signals, Weigher, Wishes

STRIPED, CHECKED = Value("Pattern", "Striped"), Value("Pattern", "Checked")


def signals(dim: int = 32, space: str = "synthetic", weight: float = 1.0, slope: float = 20.0) -> Signals:
    vectors = np.eye(3, dim, dtype=np.float32)
    one = Signal(("Solid", "Striped", "Checked"), vectors, "exclusive", Scale(slope), (0.5, 0.3, 0.2), weight, weight)
    return Signals({"Pattern": one}, space, "words", {"path": "p.yaml", "digest": "d"}, {"split": "tune"})


def items(*patterns: str) -> Items:
    ids = [str(row) for row in range(len(patterns))]
    return Items.of(pa.table({"id": ids, "Pattern": pa.array(patterns)}))


def test_labels_weigh_where_they_are_known_and_probabilities_where_not() -> None:
    table, rows = items("Striped", "Solid", "", ""), np.arange(4)
    vectors = np.eye(4, 32, dtype=np.float32)
    vectors[2], vectors[3] = np.eye(32)[1], np.eye(32)[0]
    wanted, unwanted = Wishes(wanted=((STRIPED,),)), Wishes(unwanted=(STRIPED,))
    likely = np.exp(20) / (np.exp(20) + 2)
    want = Weigher(table, signals()).weigh(wanted, rows, vectors)
    np.testing.assert_allclose(want[:3], np.log([1 - MISTAKEN / 2, MISTAKEN, likely]), atol=1e-6)
    assert want[3] < np.log(1e-3)
    without = Weigher(table, signals()).weigh(unwanted, rows, vectors)
    np.testing.assert_allclose(without[:2], np.log([MISTAKEN, 1 - MISTAKEN / 2]), atol=1e-6)
    assert without[2] < np.log(1e-3) < without[3]


def test_where_tune_could_not_tell_an_unknown_counts_as_the_share_of_the_value() -> None:
    table, rows, vectors = items("Striped", "", ""), np.arange(3), np.eye(3, 32, dtype=np.float32)
    found = Weigher(table, signals(weight=0.0)).weigh(Wishes(wanted=((STRIPED,),)), rows, vectors)
    np.testing.assert_allclose(found[1:], np.log(0.3))
    labels_alone = Weigher(items("Striped", "Solid", "Solid", ""), None)
    found = labels_alone.weigh(Wishes(unwanted=(STRIPED,)), np.arange(4), np.eye(4, 32, dtype=np.float32))
    np.testing.assert_allclose(found[3], np.log(2 / 3))


def test_of_a_choice_any_will_do_and_of_what_is_unwanted_none() -> None:
    table, rows, vectors = items("Striped", "Checked", "Solid"), np.arange(3), np.eye(3, 32, dtype=np.float32)
    choice = Weigher(table, None).weigh(Wishes(wanted=((STRIPED, CHECKED),)), rows, vectors)
    assert choice[0] == choice[1] > choice[2]
    none = Weigher(table, None).weigh(Wishes(unwanted=(STRIPED, CHECKED)), rows, vectors)
    assert none[0] == none[1] < none[2]


def test_a_list_column_has_several_values_at_once() -> None:
    table = Items.of(pa.table({"id": ["a", "b", "c"], "tags": pa.array([["new", "eco"], ["sale"], []])}))
    vectors = np.eye(3, 32, dtype=np.float32)
    both = Wishes(wanted=((Value("tags", "new"),), (Value("tags", "eco"),)))
    found = Weigher(table, None).weigh(both, np.arange(3), vectors)
    assert found[0] == pytest.approx(2 * np.log(1 - MISTAKEN / 2))
    assert found.argmax() == 0


def test_the_file_comes_back_as_it_was_and_refuses_what_it_is_not_for(tmp_path) -> None:
    made = signals()
    made.save(tmp_path / "queries.safetensors")
    back = Signals.load(tmp_path / "queries.safetensors")
    np.testing.assert_array_equal(back.attributes["Pattern"].vectors, made.attributes["Pattern"].vectors)
    assert back.attributes["Pattern"].shares == made.attributes["Pattern"].shares
    assert (back.prompts, back.fitted_on, back.image_space) == (made.prompts, made.fitted_on, made.image_space)
    with pytest.raises(SpaceError, match="fit them again"):
        back.require("another", "an index")
    words = Prompts.parse("attributes:\n  Pattern:\n    templates: ['{value}']\n")
    with pytest.raises(ConfigError, match="was changed since"):
        back.require("synthetic", "an index", words)
    (tmp_path / "queries.safetensors").write_bytes(b"no")
    with pytest.raises(ConfigError, match="clipadapt tag"):
        Signals.load(tmp_path / "queries.safetensors")


WISHES = [
    Wishes(wanted=((STRIPED,),)),
    Wishes(unwanted=(STRIPED, CHECKED)),
    Wishes(wanted=((STRIPED, CHECKED), (Value("tags", "new"),)), unwanted=(Value("tags", "eco"),)),
]


@pytest.mark.parametrize("wishes", WISHES)
@pytest.mark.parametrize("small", [True, False])
def test_results_are_those_of_scoring_everything(tmp_path, vectors_of, wishes, small: bool, monkeypatch) -> None:
    monkeypatch.setattr(weighed, "WHOLE", weighed.WHOLE if small else 0)
    Index.build(vectors_of(3_000), tmp_path / "index", factory="Flat")
    index = Index.open(tmp_path / "index", signals=signals())
    index.remove(["i5", "i77"])
    backend = index.backend
    assert isinstance(backend, Embedded)
    rows = np.arange(index.items.rows)
    vectors, removed = backend.engine.vectors(rows), index.items.removed
    worth = Weigher(index.items, index.signals).weigh(wishes, rows, vectors)
    for seed in range(8):
        vector = np.random.default_rng(seed).standard_normal(32).astype(np.float32) + 1.0
        vector /= np.linalg.norm(vector)
        (hits,) = index.search(Query((vector,), wishes=wishes), 10, collapse=False)
        (exact,) = backend.exact([CompiledQuery(vector, "picture", (), wishes, index.signals)], 10, collapse=False)
        spread = float((exact[0].score - vectors[row(index, exact[0].id)] @ vector) / worth[row(index, exact[0].id)])
        totals = np.where(removed, -np.inf, vectors @ vector + spread * worth)
        assert [hit.id for hit in exact] == [index.items.id(int(one)) for one in np.argsort(-totals)[:10]]
        assert len({hit.id for hit in hits} & {hit.id for hit in exact}) >= (10 if small else 9)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_items_of_one_vector_come_in_the_order_in_which_they_came(tmp_path, vectors_of) -> None:
    """Products of matrices sum the last rows of a block in another order than the others."""
    source, twins = vectors_of(1_003), [7, 500, 1_000, 1_001, 1_002]
    vectors = source.vectors.copy()
    vectors[twins] = vectors[7]
    Index.build(source._replace(vectors=vectors), tmp_path / "index", factory="Flat")
    index = Index.open(tmp_path / "index", signals=signals())
    (hits,) = index.search(Query((vectors[7],), wishes=Wishes(unwanted=(CHECKED,))), 1_003, collapse=False)
    scores = {hit.id: hit.score for hit in hits}
    same = [hit.id for hit in hits if hit.id in {f"i{twin}" for twin in twins}]
    labels = {item: index.item(item).attributes.get("Pattern") for item in same}
    for label in set(labels.values()):
        alike = [item for item in same if labels[item] == label]
        assert len({scores[item] for item in alike}) == 1
        assert alike == sorted(alike, key=lambda item: int(item[1:]))


def row(index: Index, item: str) -> int:
    return int(index.items.live_rows([item])[0])


@pytest.mark.parametrize("wishes", WISHES)
def test_results_are_those_of_scoring_everything_in_milvus(in_milvus, vectors_of, wishes) -> None:
    Index.build(vectors_of(1_000), in_milvus)
    index, vectors = Index.open(in_milvus, signals=signals()), vectors_of(1_000).vectors
    worth = Weigher(vectors_of(1_000).items, index.signals).weigh(wishes, np.arange(1_000), vectors)
    for seed in range(4):
        vector = np.random.default_rng(seed).standard_normal(32).astype(np.float32) + 1.0
        vector /= np.linalg.norm(vector)
        spread = float((index.backend.sample(2_048) @ vector).std())
        (hits,) = index.search(Query((vector,), wishes=wishes), 10, collapse=False)
        totals = vectors @ vector + spread * worth
        assert [hit.id for hit in hits] == [f"i{one}" for one in np.argsort(-totals)[:10]]
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(totals)[::-1][:10], atol=1e-5)


@pytest.mark.parametrize("small", [True, False])
def test_filters_and_products_hold_for_wishes_too(place, vectors_of, small: bool, monkeypatch) -> None:
    monkeypatch.setattr(weighed, "WHOLE", weighed.WHOLE if small else 0)
    Index.build(vectors_of(600), place)
    index = Index.open(place, signals=signals())
    (hits,) = index.search(Query((Item("i3"),), wishes=WISHES[0]), 10, where="price<50")
    assert len({hit.product for hit in hits}) == len(hits) == 10
    assert all(int(hit.attributes["price"]) < 50 for hit in hits)  # pyright: ignore[reportArgumentType]
    assert "p1" not in {hit.product for hit in hits}
    (many,) = index.search(Query((Item("i3"),), wishes=WISHES[0]), 500)
    assert len(many) == 299


def test_a_query_in_which_nothing_is_known_is_searched_as_before(tmp_path, shop, painter) -> None:
    from clipadapt.data.catalogue import Catalogue

    encoder = painter()
    Index.build(Catalogue.load(str(shop), product="product"), tmp_path / "index", encoder=encoder)
    index = Index.open(tmp_path / "index", encoder=encoder)
    vocabulary = Vocabulary.of(index.items)
    asked = typed("something  for Tom, please", vocabulary)
    assert asked.plain
    assert asked.query == Query.of("something  for Tom, please")
    assert index.search(asked.query, 5) == index.search("something  for Tom, please", 5)
    asked = typed("green not red under 60", vocabulary)
    assert asked.query.positives == ("green",)
    (hits,) = index.search(asked.query, 4, where=asked.conditions)
    assert [hit.attributes["colour"] for hit in hits[:1]] == ["green"]
    assert all(int(hit.attributes["price"]) < 60 for hit in hits)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UsageError, match="not what to look for"):
        typed("not red", vocabulary)
    assert typed(Query((Item("i3"), "not red")), vocabulary).query.positives == (Item("i3"),)


def test_the_same_but_keeps_what_is_not_changed(tmp_path, vectors_of) -> None:
    Index.build(vectors_of(600), tmp_path / "index", factory="Flat")
    index = Index.open(tmp_path / "index", signals=signals())
    vocabulary = Vocabulary.of(index.items)
    striped = next(row for row in range(600) if index.items.attributes(np.array([row]))[0].get("Pattern") == "Striped")
    start = Item(index.items.id(striped))
    asked = same_but(start, "checked", index, vocabulary)
    assert asked.query.wishes.wanted == ((CHECKED,),)
    old, new = np.eye(32)[1], np.eye(32)[2]
    moved = index.vector(start.id) + new - old
    (part,) = asked.query.positives
    assert isinstance(part, np.ndarray)
    np.testing.assert_allclose(part, moved / np.linalg.norm(moved), atol=1e-6)
    (hits,) = index.search(asked.query, 10)
    assert index.items.product(striped) not in {hit.product for hit in hits}
    assert sum(hit.attributes.get("Pattern") == "Checked" for hit in hits) >= 8
    kept = same_but(start, "under 50", index, vocabulary)
    assert kept.query.wishes == Wishes(kept=(STRIPED,))
    assert kept.conditions
    with pytest.raises(UsageError, match="what should be other"):
        same_but(start, " ", index, vocabulary)


@pytest.mark.parametrize("wishes", [WISHES[0], Wishes(wanted=((Value("tags", "eco"),),), unwanted=(STRIPED,))])
def test_quantised_cells_find_what_scoring_everything_finds(tmp_path, vectors_of, wishes, monkeypatch) -> None:
    """Wishes that have nothing to do with the query, whose results lie far down in a plain search."""
    monkeypatch.setattr(weighed, "WHOLE", 0)
    Index.build(vectors_of(6_000), tmp_path / "index", factory="IVF64,PQ16x4fsr,RFlat")
    index = Index.open(tmp_path / "index", signals=signals())
    found = 0
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_normal(32).astype(np.float32)
        vector = index.vector(f"i{31 * seed}") + 0.05 * noise
        asked = CompiledQuery(vector / np.linalg.norm(vector), "picture", (), wishes, index.signals)
        (hits,), (exact,) = index.backend.search([asked], 10), index.backend.exact([asked], 10)
        found += len({hit.id for hit in hits} & {hit.id for hit in exact})
    assert found >= 98
