"""Tasks on pictures whose vectors are handed in, so that every ranking is known."""

import dataclasses

import numpy as np
import pytest

from clipadapt.data.catalogue import Catalogue
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.item_queries import ImageToImage, ImageToText
from clipadapt.evaluation.tasks.recognition import Recognition
from clipadapt.evaluation.tasks.text_to_image import TextToImage, searches, text_of_pair
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import ClassMeans, Rankings, Resampled
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics

ROWS = [
    # file, Pattern, colour, name, product, gender
    ("1.png", "Solid", "Red", "one", "a", "Men"),
    ("2.png", "Solid", "Red", "one", "a", "Men"),
    ("3.png", "Striped", "Red", "two", "b", "Women"),
    ("4.png", "Striped", "Blue", "three", "c", "Women"),
    ("5.png", "", "Blue", "", "c", "Women"),
    ("6.png", "Checked", "Blue", "four", "d", "Men"),
]


@pytest.fixture
def context(tmp_path, words, good) -> EvalContext:
    import data_factory

    columns = ("file_name", "Pattern", "baseColour", "name", "product", "gender")
    data_factory.write_table(tmp_path / "validation", [dict(zip(columns, row, strict=True)) for row in ROWS])
    catalogue = Catalogue.load(tmp_path, "validation", attributes=["Pattern", "baseColour"])
    cache = VectorCache()
    pictures = {"model": cache.pictures(good, catalogue, progress=False)}
    sampler = Sampler(catalogue.products, draws=100, swaps=100, seed=0)
    counts = {"Pattern": {"Solid": 500, "Striped": 30}, "baseColour": {"Red": 7, "Blue": 300}}
    return EvalContext(
        catalogue, {"model": good}, pictures, cache, words, sampler, "validation", 2, Statistics(), counts
    )


def find(measured: Measured, **about) -> Cell:
    found = [cell for cell in measured.cells if all(getattr(cell, key) == value for key, value in about.items())]
    assert len(found) == 1, [cell[:6] for cell in measured.cells]
    return found[0]


def mean(cell: Cell) -> float:
    evidence = cell.evidence
    return evidence.points["model"] if isinstance(evidence, Resampled) else evidence.mean("model")


def test_recognition(context):
    measured = Recognition().measure(context)
    whole = find(measured, attribute="Pattern", metric="balanced_accuracy", bin="all")
    assert (whole.n, whole.products) == (4, 3)  # Checked has one item and is not on offer; one item is unknown
    assert mean(whole) == 1.0
    assert {cell.bin for cell in measured.cells if cell.attribute == "Pattern"} == {"all", "many", "medium", "rare"}
    assert find(measured, attribute="baseColour", value="Red").bin == "few"
    assert find(measured, attribute="Pattern", metric="recall", value="Striped").n == 2
    assert measured.confusions[0].table("model", 2).tolist() == [[2, 0], [0, 2]]


def test_candidates_compete_though_they_are_too_few_to_be_scored(context):
    task = Recognition(attributes=("Pattern",), candidates={"Pattern": ("Solid", "Striped", "Checked")})
    measured = task.measure(context)
    assert find(measured, metric="balanced_accuracy", bin="all").n == 4
    assert find(measured, metric="top1").n == 5


def test_segments_are_measured_apart_with_the_same_choice(context):
    context = dataclasses.replace(context, min_items=1, _sets={})
    measured = Recognition(attributes=("baseColour",), segments=("gender",)).measure(context)
    assert measured.cells[-1].task == "recognition"  # three men and three women are less than four items each
    context = dataclasses.replace(context, min_items=0, _sets={})
    measured = Recognition(attributes=("baseColour",), segments=("gender",)).measure(context)
    women = find(measured, task="recognition@gender=Women", metric="top1")
    assert women.n == 3
    assert not any(cell.value for cell in measured.cells if "@" in cell.task)


def test_headlines_count_attributes_or_rare_values_alike(context):
    measured = Recognition().measure(context)
    quoted = Recognition.headlines(context, measured, ("Pattern", "baseColour"))
    whole, rare = quoted.cells
    assert (whole.task, whole.metric, whole.bin) == ("headline", "balanced_accuracy", "all")
    assert isinstance(whole.evidence, ClassMeans)
    assert whole.evidence.weights.tolist() == [0.25] * 4
    assert isinstance(rare.evidence, ClassMeans)
    assert rare.evidence.weights.tolist() == [0, 0.5, 0, 0.5]  # Solid, Striped (medium); Blue, Red (few): by name
    used = rare.evidence.rows[rare.evidence.weights[rare.evidence.classes] > 0]
    assert sorted(used.tolist()) == [0, 1, 2, 2, 3]  # the red ones and the striped ones; one is both
    assert (rare.n, rare.bin) == (4, "rare"), "items, not pairs of an item and a value"
    assert "without Neck" in Recognition.headlines(context, measured, ("Pattern", "Neck")).notes[0]
    assert len(Recognition.headlines(context, measured, ("Neck",)).notes) == 2


def test_macro_f1_is_scikit_learns(context):
    from sklearn.metrics import f1_score

    context.pictures["model"][0] = context.pictures["model"][3]  # a solid one that looks striped
    measured = Recognition(attributes=("Pattern",)).measure(context)
    expected = f1_score([0, 0, 1, 1], [1, 0, 1, 1], average="macro")
    assert mean(find(measured, metric="macro_f1")) == pytest.approx(expected)


def test_unknown_items_are_not_in_the_gallery_of_their_attribute(context):
    (search,) = searches(context, TextToImage(attributes=("Pattern",)))
    assert search.gallery.tolist() == [0, 1, 2, 3, 5]
    assert [query.value for query in search.queries] == ["Solid", "Striped"]
    assert search.gallery[search.orders["model"][1][:2]].tolist() in ([2, 3], [3, 2])


def test_search_by_value(context):
    measured = TextToImage(attributes=("Pattern",), k=(2,)).measure(context)
    whole = find(measured, attribute="Pattern", metric="average_precision", bin="all", value=None)
    assert isinstance(whole.evidence, Rankings)
    assert mean(whole) == 1.0
    assert (whole.n, whole.products) == (4, 3)
    assert mean(find(measured, metric="precision", k=2, bin="all")) == 1.0
    assert find(measured, value="Striped").bin == "medium"


def test_search_by_pair(context):
    measured = TextToImage(by="pair", metrics=("average_precision",)).measure(context)
    assert [cell.value for cell in measured.cells if cell.value] == ["Solid + Red"]
    assert find(measured, value="Solid + Red").attribute == "Pattern + baseColour"
    assert find(measured, attribute=None).n == 2
    assert text_of_pair(context, {"Pattern": "Solid", "baseColour": "Red"}) == "solid red"


def test_search_by_held_out_pair(context):
    task = TextToImage(by="held_out_pair")
    assert "no held-out pair" in task.measure(context).notes[0]
    held = EvalContext(**{**vars(context), "holdout_pairs": ({"Pattern": "Solid", "baseColour": "Red"},), "_sets": {}})
    measured = task.measure(held)
    assert {cell.task for cell in measured.cells} == {"text_to_image_held_out_pair"}


def test_search_by_category(context):
    measured = TextToImage(by="category", column="gender").measure(context)
    assert {cell.task for cell in measured.cells} == {"text_to_image_category"}
    assert [cell.value for cell in measured.cells if cell.value] == ["Men", "Women"]


def by_hand(context: EvalContext, names: list[str], right: dict[str, set[int]], gallery: list[int]) -> list[float]:
    """Reciprocal rank of the first right item, by full sorting."""
    texts = context.of_texts(names)["model"]
    found = []
    for name, text in zip(names, texts, strict=True):
        order = sorted(gallery, key=lambda row: -float(context.pictures["model"][row] @ text))
        found.append(1 / (1 + next(rank for rank, row in enumerate(order) if row in right[name])))
    return found


def test_search_by_name(context):
    measured = TextToImage(by="name", column="name", metrics=("reciprocal_rank",)).measure(context)
    cell = measured.cells[0]
    assert isinstance(cell.evidence, ClassMeans)
    right = {"one": {0, 1}, "two": {2}, "three": {3}, "four": {5}}
    names = [ROWS[row][3] for row in cell.evidence.rows]
    np.testing.assert_allclose(cell.evidence.scores["model"], by_hand(context, names, right, [0, 1, 2, 3, 5]))
    assert (cell.n, cell.products) == (4, 4)


def test_queries_are_thinned_by_a_key(context):
    cells = [TextToImage(by="name", column="name", queries=3).measure(context).cells[0].evidence for _ in range(2)]
    assert isinstance(cells[0], ClassMeans)
    assert isinstance(cells[1], ClassMeans)
    assert len(cells[0].rows) == 3
    np.testing.assert_array_equal(cells[0].rows, cells[1].rows)


def test_a_picture_asks_for_its_own_name(context):
    measured = ImageToText(column="name", k=(1, 4)).measure(context)
    assert mean(find(measured, metric="recall_at", k=4)) == 1.0
    first = find(measured, metric="recall_at", k=1)
    texts = context.of_texts(["four", "one", "three", "two"])["model"]
    wanted = {0: 1, 1: 1, 2: 3, 3: 2, 5: 0}
    scores = {row: texts @ context.pictures["model"][row] for row in wanted}
    slow = [float((np.delete(scores[row], place) < scores[row][place]).all()) for row, place in wanted.items()]
    assert mean(first) == pytest.approx(np.mean(slow))
    assert first.n == 5


def test_pictures_of_the_same_product_do_not_count_as_alike(context):
    measured = ImageToImage(attributes=("baseColour",), k=(1,), metrics=("precision",)).measure(context)
    cell = find(measured, bin="all")
    assert isinstance(cell.evidence, ClassMeans)
    vectors = context.pictures["model"]
    slow = []
    for row in cell.evidence.rows:
        others = [other for other in range(6) if ROWS[other][4] != ROWS[row][4]]
        best = max(others, key=lambda other: float(vectors[other] @ vectors[row]))
        slow.append(float(ROWS[best][2] == ROWS[row][2]))
    np.testing.assert_array_equal(cell.evidence.scores["model"], slow)
    assert cell.evidence.rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_pictures_ask_for_their_product(context):
    measured = ImageToImage(by="product", k=(1,), metrics=("precision", "reciprocal_rank")).measure(context)
    cell = find(measured, metric="precision")
    assert isinstance(cell.evidence, ClassMeans)
    assert cell.evidence.rows.tolist() == [0, 1, 3, 4]
    vectors = context.pictures["model"]
    slow = []
    for row in (0, 1, 3, 4):
        best = max(
            (other for other in range(6) if other != row), key=lambda other: float(vectors[other] @ vectors[row])
        )
        slow.append(float(ROWS[best][4] == ROWS[row][4]))
    np.testing.assert_array_equal(cell.evidence.scores["model"], slow)


def test_a_shallow_ranking_equals_a_deep_one_for_small_k(context):
    def precision(depth: int) -> list[float]:
        measured = ImageToImage(attributes=("baseColour",), k=(1, 2), depth=depth).measure(context)
        return [mean(cell) for cell in measured.cells if cell.metric == "precision" and cell.bin == "all"]

    assert len(precision(2)) == 2
    assert precision(2) == precision(10_000)


def test_blocks_change_nothing(context, monkeypatch):
    task = ImageToImage(attributes=("baseColour",), k=(1, 3))
    whole = [mean(cell) for cell in task.measure(context).cells]
    monkeypatch.setattr("clipadapt.evaluation.tasks.item_queries._ANSWERS", 7)
    assert [mean(cell) for cell in task.measure(context).cells] == whole


def test_what_has_nothing_to_measure_says_so(context):
    strict = dataclasses.replace(context, min_items=5, _sets={})
    assert "nothing to distinguish" in Recognition().measure(strict).notes[0]
    assert "text_to_image" in TextToImage().measure(strict).notes[0]
