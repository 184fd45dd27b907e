import numpy as np
import pytest

from clipadapt.metrics.gallery import Query
from clipadapt.metrics.intervals import balanced_interval, paired_balanced
from clipadapt.statistics.cells import Cell, corrected, to_rows
from clipadapt.statistics.evidence import ClassMeans, Rankings, Resampled
from clipadapt.statistics.sampling import Sampler
from clipadapt.statistics.settings import Statistics

PAIR = ("adapted", "base")
QUICK = Statistics(draws=200, permutations=500)


def sampler(products: int, each: int = 2) -> Sampler:
    return Sampler([f"p{number // each}" for number in range(products * each)], draws=200, swaps=200, seed=0)


def class_means(seed: int = 0, size: int = 80) -> ClassMeans:
    rng = np.random.default_rng(seed)
    scores = {"adapted": (rng.random(size) < 0.8) * 1.0, "base": (rng.random(size) < 0.5) * 1.0}
    return ClassMeans(scores, np.arange(size) % 3, np.arange(size), np.full(3, 1 / 3))


def searched(size: int) -> Rankings:
    relevant = np.arange(size) < size // 2
    best, worst = np.arange(size), np.arange(size)[::-1].copy()
    return Rankings({"adapted": (Query(relevant, best),), "base": (Query(relevant, worst),)})


def drawn(products: float) -> Resampled:
    rng = np.random.default_rng(0)
    draws = {"adapted": rng.normal(0.6, 0.05, 200), "base": rng.normal(0.4, 0.05, 200)}
    return Resampled({"adapted": 0.6, "base": 0.4}, draws, rng.normal(0, 0.05, 200), products)


def cell(evidence, products: int = 40, **about) -> Cell:
    known = {"task": "recognition", "attribute": "Pattern", "value": None, "bin": "all", "metric": "m", "k": None}
    return Cell(**(known | about), n=80, products=products, evidence=evidence)


@pytest.mark.parametrize("evidence", [class_means(), searched(80), drawn(40)], ids=["classes", "searched", "drawn"])
def test_no_comparison_lacks_anything(evidence):
    own, base = to_rows([cell(evidence)], PAIR, "validation", sampler(40), QUICK)
    assert (own.system, own.against, base.system, base.against) == ("adapted", "base", "base", None)
    for one in (own, base):
        assert one.mean is not None
        assert one.low is not None
        assert one.high is not None
        assert 0 <= one.low <= one.mean <= one.high <= 1
    assert own.delta == pytest.approx(own.mean - base.mean)
    assert own.delta is not None
    assert own.delta_low is not None
    assert own.delta_high is not None
    assert own.delta_low <= own.delta <= own.delta_high
    assert own.p is not None
    assert 0 < own.p <= 1
    assert own.minimum_detectable is not None
    assert own.minimum_detectable > 0
    assert own.verdict() == "better"


def test_class_means_have_the_intervals_of_the_metrics():
    evidence = class_means()
    own, base = to_rows([cell(evidence)], PAIR, "validation", sampler(40), QUICK)
    products = np.arange(80) // 2
    expected = balanced_interval(evidence.scores["base"], evidence.classes, products, evidence.weights)
    assert (base.mean, base.low, base.high) == pytest.approx(expected)
    own_scores, base_scores = evidence.scores.values()
    found = paired_balanced(own_scores, base_scores, evidence.classes, products, evidence.weights, draws=500, seed=0)
    assert (own.delta, own.delta_low, own.delta_high, own.p, own.minimum_detectable) == pytest.approx(found)


def test_a_lone_system_is_compared_with_nothing():
    rows = to_rows([cell(class_means())], ("adapted", None), "tune", sampler(40), QUICK)
    assert [(row.system, row.paired, row.split) for row in rows] == [("adapted", False, "tune")]


@pytest.mark.parametrize("evidence", [class_means(size=4), searched(8), drawn(1)], ids=["classes", "searched", "drawn"])
def test_one_product_gives_no_spread(evidence):
    own, base = to_rows([cell(evidence, products=1)], PAIR, "validation", sampler(1, 8), QUICK)
    assert (base.low, base.high, own.delta_low, own.minimum_detectable) == (None,) * 4
    assert own.delta == pytest.approx(own.mean - base.mean)
    assert own.verdict() == "unclear"


def test_equal_systems_cannot_be_told_apart_and_say_what_could():
    scores = {"adapted": np.ones(80), "base": np.ones(80)}
    evidence = ClassMeans(scores, np.zeros(80, np.int64), np.arange(80), np.ones(1))
    own, _ = to_rows([cell(evidence)], PAIR, "validation", sampler(40), QUICK)
    assert own.p == 1
    assert own.minimum_detectable is not None
    assert own.minimum_detectable > 0
    assert own.verdict() == "unclear"


def test_p_is_corrected_among_attributes_and_apart_from_headlines(compared):
    rows = [
        *compared(0.1, 0.0, 0.2, 0.01, attribute="Pattern"),
        *compared(0.1, 0.0, 0.2, 0.04, attribute="Neck"),
        *compared(0.1, 0.0, 0.2, 0.03, attribute="Fit", metric="top1"),
        *compared(0.1, 0.0, 0.2, 0.02, attribute="Neck", value="Round", metric="recall"),
        *compared(0.1, 0.0, 0.2, 0.02, task="headline", attribute=None),
        *compared(0.1, 0.0, 0.2, 0.02, task="headline", attribute=None, metric="top1"),
    ]
    assert [row.p for row in corrected(rows) if row.paired] == pytest.approx([0.02, 0.04, 0.03, 0.02, 0.02, 0.02])
