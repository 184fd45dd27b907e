import numpy as np
import pytest
from scipy.sparse import csr_matrix

from clipadapt.metrics.gallery import Query
from clipadapt.statistics import evidence
from clipadapt.statistics.evidence import ClassMeans, Rankings, Resampled, gallery_evidence, totals_evidence
from clipadapt.statistics.galleries import figures
from clipadapt.statistics.sampling import Sampler

PRODUCTS = [f"p{number // 2}" for number in range(12)]
WANTED = figures(["precision", "r_precision"], [2])


@pytest.fixture
def sampler() -> Sampler:
    return Sampler(PRODUCTS, draws=40, swaps=30, seed=0)


def slow_precision(order: np.ndarray, relevant: np.ndarray, weights: np.ndarray, k: float) -> float:
    """The share of the first `k` of a gallery of len(order) in which every item lies out its weight."""
    weights = weights * len(order) / weights.sum()
    room, found = k, 0.0
    for item in order:
        taken = min(room, weights[item])
        found, room = found + taken * relevant[item], room - taken
    return float(found / k)


def test_draws_are_those_of_a_slow_walk_down_the_gallery(sampler):
    rng = np.random.default_rng(0)
    orders = {"adapted": rng.permutation(12), "base": rng.permutation(12)}
    relevant = np.isin(np.arange(12), [1, 4, 5, 9])
    gallery = np.arange(12)
    found = gallery_evidence(orders, relevant, gallery, sampler, WANTED)
    weights = sampler.weights(gallery).astype(np.float64)
    for system, order in orders.items():
        for draw in range(40):
            own = weights[:, draw]
            slow = slow_precision(order, relevant, own, 2)
            assert found["precision", 2].draws[system][draw] == pytest.approx(slow, abs=1e-5)
            level = own[relevant].sum() * 12 / own.sum()
            slow = slow_precision(order, relevant, own, level)
            assert found["r_precision", None].draws[system][draw] == pytest.approx(slow, abs=1e-5)
        assert found["precision", 2].points[system] == relevant[order[:2]].mean()


def test_swaps_exchange_the_ranks_of_whole_products(sampler):
    orders = {"adapted": np.arange(12), "base": np.arange(12)[::-1]}
    relevant = np.isin(np.arange(12), [0, 1])
    found = gallery_evidence(orders, relevant, np.arange(12), sampler, [("precision", 2)])["precision", 2]
    swaps = sampler.swaps(np.arange(12))
    for number in range(30):
        ranks = np.where(swaps[:, number], 11 - np.arange(12), np.arange(12))
        other = 11 - ranks
        expected = []
        for one in (ranks, other):  # of equal ranks the relevant come first
            order = np.lexsort((~relevant, one))
            expected.append(relevant[order[:2]].mean())
        assert found.null is not None
        assert found.null[number] == pytest.approx(expected[0] - expected[1])


def test_rankings_that_are_cut_rest_on_what_they_reach(sampler):
    orders = {"adapted": np.array([3, 1]), "base": np.array([1, 7])}
    relevant = np.isin(np.arange(12), [1, 2])
    found = gallery_evidence(orders, relevant, np.arange(12), sampler, [("recall_at", 2)])["recall_at", 2]
    assert found.points == {"adapted": 0.5, "base": 0.5}
    assert found.products == 2


def test_sums_over_items_equal_weighting_each_item(sampler):
    rows = np.array([0, 1, 5, 8])
    own = {
        "adapted": np.array([[1.0, 1], [0, 1], [1, 1], [1, 1]]),
        "base": np.array([[0.0, 1], [0, 1], [1, 1], [0, 1]]),
    }
    found = totals_evidence(
        {name: csr_matrix(sums) for name, sums in own.items()}, rows, sampler, lambda sums: sums[:, 0] / sums[:, 1]
    )
    assert found.points == {"adapted": 0.75, "base": 0.25}
    weights = sampler.weights(rows)
    slow = (weights * own["adapted"][:, :1]).sum(axis=0) / weights.sum(axis=0)
    np.testing.assert_allclose(found.draws["adapted"], slow, rtol=1e-5)
    swaps = sampler.swaps(rows)
    mixed = [
        np.where(swaps, other[:, :1], one[:, :1]).sum(axis=0) / 4
        for one, other in ((own["adapted"], own["base"]), (own["base"], own["adapted"]))
    ]
    assert found.null is not None
    np.testing.assert_allclose(found.null, mixed[0] - mixed[1], atol=1e-6)


def test_a_mean_of_figures_counts_each_alike():
    one = Resampled({"a": 0.2}, {"a": np.array([0.1, 0.3])}, None, 3.0)
    two = Resampled({"a": 0.6}, {"a": np.array([0.5, 0.7])}, None, 4.0)
    mean = Resampled.mean_of([one, two])
    assert mean.points["a"] == pytest.approx(0.4)
    np.testing.assert_allclose(mean.draws["a"], [0.3, 0.5])
    assert mean.products == 7


def test_means_by_hand():
    cases = ClassMeans({"a": np.array([1.0, 0, 1, 1])}, np.array([0, 0, 1, 2]), np.arange(4), np.array([0.5, 0.5, 0]))
    assert cases.mean("a") == 0.75
    query = Query(np.array([True, False, True]), np.array([0, 1, 2]))
    assert Rankings({"a": (query,)}).mean("a") == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("metrics", "relevant_items"),
    [
        *((("precision", "r_precision", "ndcg", "recall_at"), items) for items in (1, 3, 40)),
        *((("precision", "ndcg", "recall_at"), items) for items in (1, 40, 500)),
    ],
)
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_the_top_of_a_ranking_gives_what_the_whole_gives(metrics, relevant_items, alike, monkeypatch):
    rng = np.random.default_rng(0)
    items = 700
    sampler = Sampler([f"p{number // 3}" for number in range(items)], draws=60, swaps=60, seed=0)
    base = rng.standard_normal(items)
    orders = {name: np.argsort(alike * base + rng.standard_normal(items)) for name in ("adapted", "base")}
    relevant = np.zeros(items, bool)
    relevant[rng.choice(items, relevant_items, replace=False)] = True
    relevant[orders["adapted"][0]] = True
    wanted = figures(metrics, [1, 5, 10])
    short = gallery_evidence(orders, relevant, np.arange(items), sampler, wanted)
    assert evidence._top(wanted, int(relevant.sum())) < items
    monkeypatch.setattr(evidence, "_top", lambda *_: items)
    whole = gallery_evidence(orders, relevant, np.arange(items), sampler, wanted)
    for figure in wanted:
        assert short[figure].points == whole[figure].points
        null, expected = (short[figure].null, whole[figure].null)
        assert null is not None
        assert expected is not None
        np.testing.assert_allclose(null, expected, atol=1e-9)
        for name in orders:
            np.testing.assert_allclose(short[figure].draws[name], whole[figure].draws[name], atol=1e-6)
