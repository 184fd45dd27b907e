"""Likely label errors, by models that never saw the product."""

import numpy as np
import pytest

from clipadapt.audit.labels import Labels
from clipadapt.audit.suspects import FOLDS, crossfit, pooled, suspects
from clipadapt.data.values import Attribute


def clouds(products: int, values: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(unit vectors of three items a product, their values, their products): each value a direction of its own."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(values, size=products), 3)
    vectors = np.eye(values, 16)[truth] + rng.normal(0, 0.25, (3 * products, 16))
    names = np.array([f"p{n:03d}" for n in np.repeat(np.arange(products), 3)])
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth, names


def test_planted_errors_come_first_with_the_value_that_is_right():
    vectors, truth, products = clouds(120, 4)
    shown = truth.copy()
    wrong = np.isin(products, [f"p{n:03d}" for n in range(0, 120, 12)])
    shown[wrong] = (shown[wrong] + 1) % 4
    ids = np.array([f"i{n}" for n in range(len(truth))])
    labels = Labels.of_cells({"Pattern": [(f"v{value}",) for value in shown]}, ids, products)
    found = suspects([Attribute("Pattern")], vectors, labels)
    first = [labels.row[one.label] for one in found.suspects[: wrong.sum()]]
    assert wrong[first].all()
    assert all(one.instead == f"v{truth[labels.row[one.label]]}" for one in found.suspects[: wrong.sum()])
    assert found.judged == len(labels) == len(found.order) and found.unjudged == 0
    assert sorted(found.order.tolist()) == list(range(len(labels)))


def test_labels_of_a_product_are_not_learned_by_the_model_that_judges_it():
    """Vectors that name the product and say nothing of the value: a model that saw the product would be sure."""
    rng = np.random.default_rng(0)
    features = np.repeat(4 * np.eye(40), 4, axis=0)
    classes = np.repeat(rng.integers(2, size=40), 4)
    folds = np.repeat(np.arange(40) % FOLDS, 4)
    chances, known = crossfit(features, classes, folds, 2)
    assert known.all() and abs(chances[np.arange(160), classes].mean() - 0.5) < 0.1
    leaked, _ = crossfit(features, classes, np.arange(160) % FOLDS, 2)
    assert leaked[np.arange(160), classes].mean() > 0.6


def test_what_the_pictures_of_a_product_say_is_put_together():
    chances = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]])
    made = pooled(chances, np.array([0, 0, 0]), np.array(["a", "a", "b"]))
    assert made[0] == pytest.approx(made[1]) and made[0, 0] == pytest.approx(0.6 / (0.6 + 0.06**0.5))
    assert made[2] == pytest.approx([0.3, 0.7])
    apart = pooled(chances, np.array([0, 1, 1]), np.array(["a", "a", "b"]))  # other labels of the product are not mixed
    assert apart == pytest.approx(chances)


def test_values_of_one_product_and_broken_pictures_are_not_judged():
    vectors, truth, products = clouds(40, 2)
    shown = [(f"v{value}",) for value in truth]
    shown[:3] = [("only here",)] * 3
    vectors[5] = np.nan
    ids = np.array([f"i{n}" for n in range(len(truth))])
    labels = Labels.of_cells({"Pattern": shown}, ids, products)
    found = suspects([Attribute("Pattern")], vectors, labels)
    assert found.unjudged == 4
    assert not {0, 1, 2, 5} & {int(labels.row[at]) for at in found.order}


def test_a_multi_valued_attribute_is_judged_value_by_value():
    vectors, truth, products = clouds(120, 3)
    cells: list[tuple[str, ...]] = [(f"v{value}", f"v{(value + 1) % 3}") for value in truth]
    cells[:3] = [(f"v{truth[0]}", f"v{(truth[0] + 1) % 3}", f"v{(truth[0] + 2) % 3}")] * 3
    ids = np.array([f"i{n}" for n in range(len(truth))])
    labels = Labels.of_cells({"Tags": cells}, ids, products)
    found = suspects([Attribute("Tags", "multi")], vectors, labels)
    assert {int(labels.row[one.label]) for one in found.suspects[:3]} == {0, 1, 2}
    assert {one.instead for one in found.suspects[:3]} == {f"not v{(truth[0] + 2) % 3}"}


def test_one_value_alone_is_not_judged():
    vectors, _, products = clouds(10, 2)
    labels = Labels.of_cells({"Pattern": [("v",)] * 30}, np.array([f"i{n}" for n in range(30)]), products)
    found = suspects([Attribute("Pattern")], vectors, labels)
    assert found.suspects == () and found.judged == 0 and found.unjudged == 30
