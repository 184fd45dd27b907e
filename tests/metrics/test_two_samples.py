"""MMD over products, several samples against one reference."""

import numpy as np
import pytest

from clipadapt.metrics.two_samples import Compared, Grouped, clusters, compare, jointly, witness


def unit(rng: np.random.Generator, items: int, dim: int = 8, shift: float = 0.0) -> np.ndarray:
    vectors = rng.normal(0, 1, (items, dim))
    vectors[:, 0] += shift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def normed(points: np.ndarray) -> np.ndarray:
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)


def clustered(rng: np.random.Generator, products: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(vectors, product names, groups): products[g] products in group g, of 1 to 6 items that are much alike."""
    vectors, names, groups = [], [], []
    for group, count in enumerate(products):
        for number in range(count):
            items = int(rng.integers(1, 7))
            centre = unit(rng, 1)
            own = centre + rng.normal(0, 0.05, (items, centre.shape[1]))
            vectors.append(own / np.linalg.norm(own, axis=1, keepdims=True))
            names += [f"{group}-{number}"] * items
            groups += [group] * items
    return np.concatenate(vectors).astype(np.float32), np.array(names), np.array(groups)


def test_the_kernel_is_the_mean_over_items_and_the_effect_that_of_slow_sums():
    rng = np.random.default_rng(0)
    vectors, names, groups = clustered(rng, [7, 5, 4])
    grouped = Grouped.of(vectors, names, groups)
    products = sorted(set(names.tolist()))
    own = vectors[[names.tolist().index(name) for name in products]]
    width = np.median([1 - own[a] @ own[b] for a in range(len(own)) for b in range(a + 1, len(own))])
    slow = np.zeros((16, 16))
    for a, one in enumerate(products):
        for b, other in enumerate(products):
            pairs = [np.exp((x @ y - 1) / width) for x in vectors[names == one] for y in vectors[names == other]]
            slow[a, b] = np.mean(pairs) if a != b else 0
    assert grouped.kernel == pytest.approx(slow, abs=1e-5)
    result = compare(grouped, permutations=19, rng=rng)
    rows = [np.flatnonzero(grouped.group == group) for group in range(3)]

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        total = sum(slow[i, j] for i in a for j in b if i != j)
        return float(total) / (len(a) * (len(b) - (a is b)))

    for new in (1, 2):
        squared = mean(rows[new], rows[new]) + mean(rows[0], rows[0]) - 2 * mean(rows[0], rows[new])
        assert result.effect[new - 1] == pytest.approx(squared / (1 - mean(rows[0], rows[0])), abs=1e-5)


def test_p_is_a_rank_among_permutations_and_never_zero():
    rng = np.random.default_rng(1)
    vectors = np.concatenate([unit(rng, 30), unit(rng, 30, shift=8)])
    grouped = Grouped.of(vectors, np.arange(60), np.repeat([0, 1], 30))
    result = compare(grouped, permutations=99, rng=rng)
    assert result.p.tolist() == [0.01] and result.effect[0] > 0.3
    assert result.permuted.shape == (99, 1) and result.score[0] > result.permuted.max()


def test_permutations_that_give_the_same_two_samples_are_ties_in_a_narrow_cone_too():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((12, 256)) + 3
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        grouped = Grouped.of(vectors.astype(np.float32), np.arange(12), np.repeat([0, 1], 6))
        found = compare(grouped, permutations=999, rng=np.random.default_rng(seed))
        drawn = np.random.default_rng(seed).permuted(np.repeat(grouped.group[:, None], 999, axis=1), axis=0)
        kept = drawn == grouped.group[:, None]
        same = int((kept.all(axis=0) | ~kept.any(axis=0)).sum())
        assert found.p[0] >= (1 + same) / 1000 - 1e-9


def test_no_drift_alarms_as_often_as_the_level_with_products_and_far_more_with_items():
    """Two windows, clustered products: any corrected p at 10% or below; the full benchmark has 1,000 reports."""
    alarms = {"products": 0, "items": 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        vectors, names, groups = clustered(rng, [16, 8, 8])
        for unit_name, units in (("products", names), ("items", np.arange(len(names)).astype(str))):
            found = [compare(Grouped.of(vectors, units, groups), permutations=79, rng=rng)]
            alarms[unit_name] += jointly(found)[0].min() <= 0.1
    assert 4 <= alarms["products"] <= 22
    assert alarms["items"] >= 50


def test_new_products_of_fewer_items_than_the_reference_has_are_no_drift():
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        counts = np.concatenate([rng.integers(4, 7, 200), rng.integers(1, 3, 60)])
        vectors = np.repeat(unit(rng, 260, dim=16), counts, axis=0) + rng.normal(0, 0.2, (counts.sum(), 16))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        groups = np.repeat(np.arange(260) >= 200, counts).astype(np.int64)
        grouped = Grouped.of(vectors.astype(np.float32), np.repeat(np.arange(260), counts), groups)
        alarms += compare(grouped, permutations=99, rng=rng).p[0] <= 0.05
    assert alarms <= 8


def test_a_small_shift_is_found_along_a_direction_in_which_products_differ_little():
    """The kernel sees two directions of a hundred times the variance of the others, and hardly the third."""
    rng = np.random.default_rng(3)
    hits, plain = 0, 0
    spread = np.array([1.0, 1.0, *[0.1] * 14])
    for _ in range(10):
        points = rng.standard_normal((600, 16)) * spread + np.eye(16)[15]
        points[480:, 2] += 0.1 * 0.7
        grouped = Grouped.of(normed(points), np.arange(600), np.repeat([0, 1], [480, 120]))
        hits += compare(grouped, permutations=99, rng=rng).p[0] <= 0.05
        plain += compare(grouped._replace(whitened=np.zeros((600, 1))), permutations=99, rng=rng).p[0] <= 0.05
    assert hits >= 9 and plain <= 4


def test_whitened_vectors_have_the_variance_of_noise_in_no_direction_more_than_one():
    points = np.random.default_rng(0).standard_normal((400, 5)) * [1, 0.3, 0.1, 0.01, 1e-6] + [3, 0, 0, 0, 0]
    whitened = Grouped.of(normed(points), np.arange(400), np.repeat([0, 1], 200)).whitened
    variance = np.linalg.eigvalsh(np.cov(whitened, rowvar=False))[::-1]
    vectors = normed(points)
    own = np.linalg.eigvalsh(np.cov(vectors, rowvar=False, bias=True))[::-1]
    assert variance == pytest.approx(own / (own + 0.03 * own.mean()), rel=0.01, abs=1e-6)


def test_a_tenth_of_new_products_in_one_place_is_found_where_the_mean_hardly_moves():
    rng = np.random.default_rng(3)
    hits, discrepancies = 0, 0
    for _ in range(10):
        place = unit(rng, 1, dim=16)
        cluster = place + rng.normal(0, 0.12, (12, 16))
        cluster /= np.linalg.norm(cluster, axis=1, keepdims=True)
        vectors = np.concatenate([unit(rng, 480, dim=16), unit(rng, 108, dim=16), cluster.astype(np.float32)])
        grouped = Grouped.of(vectors, np.arange(600), np.repeat([0, 1], [480, 120]))
        hits += compare(grouped, permutations=99, rng=rng).p[0] <= 0.05
        alone = grouped._replace(near=grouped.near[:, :0])
        discrepancies += compare(alone, permutations=99, rng=rng).p[0] <= 0.05
        assert 0.04 < clusters(grouped)[0] < 0.12 and clusters(alone).tolist() == [0.0]
    assert hits >= 9 and discrepancies <= hits - 4


def test_correction_over_segments_is_that_of_the_largest_score():
    permuted = np.array([[0.5, 0.9], [2.0, 0.4], [0.3, 1.7], [-0.8, 0.6]])
    one = Compared(np.zeros(2), np.ones(2), np.array([2.0, 0.7]), permuted)
    other = Compared(np.zeros(1), np.ones(1), np.array([1.8]), np.array([[2.5], [0.1], [0.1], [0.1]]))
    first, second = jointly([one, other])
    assert first == pytest.approx([3 / 5, 4 / 5])  # largest of each permutation: 2.5, 2.0, 1.7, 0.6
    assert second == pytest.approx([3 / 5])
    assert jointly([]) == []


def test_the_strangest_product_is_the_one_unlike_the_reference():
    rng = np.random.default_rng(2)
    vectors = np.concatenate([unit(rng, 30, shift=8), unit(rng, 10, shift=8), unit(rng, 10, shift=-8)])
    grouped = Grouped.of(vectors, np.arange(50), np.repeat([0, 1], [30, 20]))
    strange = witness(grouped, 1)
    assert np.isnan(strange[:30]).all() and (np.argsort(-strange[30:])[:10] >= 10).all()


def test_what_cannot_be_compared():
    rng = np.random.default_rng(0)
    vectors = unit(rng, 4)
    with pytest.raises(ValueError, match="two groups"):
        Grouped.of(vectors, np.array(["a", "a", "b", "c"]), np.array([0, 1, 0, 1]))
    with pytest.raises(ValueError, match="each needs two"):
        compare(Grouped.of(vectors, np.arange(4), np.array([0, 0, 0, 1])), permutations=19, rng=rng)
