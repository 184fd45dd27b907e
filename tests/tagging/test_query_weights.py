"""Weights of probabilities in queries: fitted where tune can tell, zero where it cannot."""

import numpy as np
import pytest
from squares import SquareEncoder

from clipadapt.prompts import Prompts
from clipadapt.recognition.vectors import VectorCache
from clipadapt.search.wishes import Signals
from clipadapt.tagging.query_weights import (
    WEIGHTS,
    _chosen,
    average_precision,
    described,
    first_answers,
    fit_weights,
    signals_of,
)  # fmt: skip
from clipadapt.tagging.thresholds import fit

WORDS = """
language: en
captions: ["{a for Pattern} {Pattern} shirt"]
attributes:
  Pattern: {templates: ["{value} shirt"]}
  baseColour: {templates: ["{value} shirt"]}
"""


def fitted(encoder, tune, prompts: Prompts) -> Signals:
    cache = VectorCache()
    attributes = [one for one in tune.attributes if one.name in ("Pattern", "baseColour")]
    thresholds = fit(encoder, tune, prompts, attributes, cache, progress=False)
    return fit_weights(signals_of(thresholds, encoder, prompts, cache), tune, encoder, prompts, cache, progress=False)


def test_a_model_that_sees_values_gets_weights_and_one_that_is_blind_gets_none(train, tmp_path) -> None:
    prompts = Prompts.parse(WORDS)
    good = fitted(SquareEncoder("good"), train, prompts)
    assert any(one.unwanted > 0 for one in good.attributes.values())
    values = tuple(value.lower() for one in good.attributes.values() for value in one.values)
    blind = fitted(SquareEncoder("blind", blind=values), train, prompts)
    assert all(one.wanted == one.unwanted == 0 for one in blind.attributes.values())
    assert len(described(good)) == 3
    assert good.refusal > 1.0
    assert blind.refusal > 1.0  # half of the labels are known, and they are enough
    good.save(tmp_path / "queries.safetensors")
    again = Signals.load(tmp_path / "queries.safetensors")
    assert [one.wanted for one in again.attributes.values()] == [one.wanted for one in good.attributes.values()]
    assert again.refusal == good.refusal
    for one in good.attributes.values():
        assert sum(one.shares) == pytest.approx(1.0)


def test_average_precision_by_hand() -> None:
    relevant = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), relevant) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 2.0, 3.0, 4.0]), relevant) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(np.ones(4), np.zeros(4, bool)) == 0.0


def test_what_is_refused_counts_against_the_first_ten_answers_as_much_as_what_is_right_for_them() -> None:
    value = np.array([*([1.0] * 6), *([-1.0] * 3), *([0.0] * 5), 1.0])
    assert first_answers(-np.arange(15.0), value) == pytest.approx((6 - 3) / 10)
    assert first_answers(np.zeros(15), value) == pytest.approx((6 - 3) / 10)
    assert first_answers(np.arange(15.0), value) == pytest.approx((1 - 3 + 1) / 10)
    assert first_answers(np.array([1.0, 2.0]), np.array([1.0, -1.0])) == 0.0


def test_a_weight_needs_a_gain_that_is_shown() -> None:
    steady = np.array([[0.5, 0.6, *([0.5] * (len(WEIGHTS) - 2))]] * 4) + np.arange(4)[:, None] / 100
    assert _chosen(steady, WEIGHTS) == WEIGHTS[1]
    lucky = np.full((4, len(WEIGHTS)), 0.5)
    lucky[0, 2] = 0.9
    assert _chosen(lucky, WEIGHTS) == 0.0
    assert _chosen(steady[:1], WEIGHTS) == 0.0
