"""Ties count against the system: rankings against the obvious computation, and collapsed models in every task."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ranking as oracle

from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.item_queries import ImageToImage, ImageToText
from clipadapt.evaluation.tasks.ranking import ranking
from clipadapt.evaluation.tasks.recognition import Recognition
from clipadapt.evaluation.tasks.text_to_image import TextToImage
from clipadapt.recognition.vectors import VectorCache
from clipadapt.statistics.evidence import Resampled
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 10_000))
def test_any_depth_equals_sorting_everything(items, levels, seed):
    generator = np.random.default_rng(seed)
    cosines = generator.integers(0, levels, items) / 8
    gallery = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    queries = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    relevant = generator.random((2, items)) < 0.5
    depth = int(generator.integers(1, items + 1))
    found = ranking(queries, gallery, depth, lambda numbers, answers: relevant[numbers, answers])
    expected = oracle.ranked(np.stack([cosines, cosines]), relevant)[:, :depth]
    np.testing.assert_array_equal(np.take_along_axis(relevant, found, axis=1), expected)
    assert all(len(set(row)) == depth for row in found.tolist())


class Collapsed:
    """Every picture is one vector and every text another, but for `noise`."""

    def __init__(self, context: EvalContext, noise: float) -> None:
        size, generator = len(context.catalogue), np.random.default_rng(0)
        pictures = np.tile([1.0, 0.1, 0.2, 0.3, 0.4, 0.5], (size, 1)) + noise * generator.random((size, 6))
        pictures[: size // 2] += noise  # as where the second half came in a batch of another size
        self.pictures = (pictures / np.linalg.norm(pictures, axis=1, keepdims=True)).astype(np.float32)
        self.text = np.array([0.6, 0.8, 0.0, 0.0, 0.0, 0.0], np.float32)

    def texts(self, texts: list[str]) -> dict[str, np.ndarray]:
        return {"model": np.tile(self.text, (len(texts), 1))}

    def values(self, attribute: str, values: list[str], *, plain: bool = False) -> dict[str, np.ndarray]:
        return self.texts(values)


@pytest.fixture(params=[0.0, 2e-8])
def collapsed(request, tmp_path, words, good, monkeypatch) -> EvalContext:
    """Nine pictures of each of three values, in a table sorted by value; products of three."""
    import data_factory

    from clipadapt.data.catalogue import Catalogue

    rows = [
        {"file_name": f"{number}.png", "Pattern": value, "baseColour": "Red", "name": f"n{number // 3:02}",
         "product": f"p{number // 3:02}"}
        for number, value in enumerate(np.repeat(["Solid", "Striped", "Checked"], 9))
    ]  # fmt: skip
    data_factory.write_table(tmp_path / "validation", rows)
    catalogue = Catalogue.load(tmp_path, "validation", attributes=["Pattern"], product="product")
    sampler = Sampler(catalogue.products, draws=100, swaps=100, seed=0)
    context = EvalContext(catalogue, {"model": good}, {}, VectorCache(), words, sampler, "validation", 2, Statistics())
    model = Collapsed(context, request.param)
    monkeypatch.setattr(EvalContext, "of_texts", lambda _, texts: model.texts(texts))
    monkeypatch.setattr(EvalContext, "of_values", lambda _, *about, **options: model.values(*about, **options))
    return EvalContext(**{**vars(context), "pictures": {"model": model.pictures}, "_sets": {}})


def first(measured: Measured, metric: str) -> float:
    evidence = next(cell.evidence for cell in measured.cells if cell.metric == metric and cell.bin == "all")
    return evidence.points["model"] if isinstance(evidence, Resampled) else evidence.mean("model")


CHANCE = 1 / 3


@pytest.mark.parametrize("depth", [10_000, 3])
def test_a_collapsed_model_finds_nothing_by_text(collapsed, depth):
    """Nine equal pictures at the top of a table sorted by class once gave P@1 of 100."""
    measured = TextToImage(attributes=("Pattern",), k=(1, 5), depth=depth).measure(collapsed)
    assert first(measured, "precision") == 0
    assert first(measured, "r_precision") == 0
    assert first(measured, "average_precision") < CHANCE
    named = TextToImage(by="name", column="name", k=(1,), depth=depth).measure(collapsed)
    assert first(named, "precision") == 0


@pytest.mark.parametrize("depth", [10_000, 3])
def test_a_collapsed_model_finds_nothing_by_picture(collapsed, depth):
    alike = ImageToImage(attributes=("Pattern",), k=(1,), depth=depth).measure(collapsed)
    assert first(alike, "precision") == 0
    product = ImageToImage(by="product", k=(1,), depth=depth).measure(collapsed)
    assert first(product, "precision") == 0
    text = ImageToText(column="name", k=(1,), depth=depth).measure(collapsed)
    assert first(text, "recall_at") == 0


def test_a_collapsed_model_recognises_as_chance_does(collapsed):
    """One value is chosen for all pictures, whichever: a third of the values is right."""
    measured = Recognition(attributes=("Pattern",)).measure(collapsed)
    assert first(measured, "balanced_accuracy") == pytest.approx(CHANCE)


def test_collapsed_texts_recognise_as_chance_does(collapsed, monkeypatch):
    monkeypatch.setattr(VectorCache, "values", lambda *about, **_: np.tile(np.eye(6)[0], (len(about[4]), 1)))
    pictures = np.random.default_rng(0).random((27, 6)).astype(np.float32)
    context = EvalContext(**{**vars(collapsed), "pictures": {"model": pictures}, "_sets": {}})
    measured = Recognition(attributes=("Pattern",)).measure(context)
    assert first(measured, "balanced_accuracy") == pytest.approx(CHANCE)


def test_two_values_of_one_text_share_what_they_find(collapsed, monkeypatch):
    """Pictures are told apart, but two values have the same text: what is found for both counts for neither's P@1."""
    pictures = np.repeat(np.eye(6, dtype=np.float32)[:2], [18, 9], axis=0)
    texts = np.eye(6, dtype=np.float32)[[0, 0, 1]]
    order = {"Solid": 0, "Striped": 1, "Checked": 2}
    monkeypatch.setattr(
        EvalContext, "of_values", lambda _, __, values, **___: {"model": texts[[order[one] for one in values]]}
    )
    context = EvalContext(**{**vars(collapsed), "pictures": {"model": pictures}, "_sets": {}})
    measured = TextToImage(attributes=("Pattern",), k=(1,)).measure(context)
    precision = [cell for cell in measured.cells if cell.metric == "average_precision" and cell.value]
    by_value = {cell.value: cell.evidence.mean("model") for cell in precision}  # pyright: ignore[reportAttributeAccessIssue]
    assert by_value["Checked"] == 1.0
    assert by_value["Solid"] == by_value["Striped"] < 0.5
