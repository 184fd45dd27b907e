import numpy as np

from clipadapt.statistics.sampling import Sampler


def test_a_product_has_its_own_randomness_whatever_stands_beside_it():
    one = Sampler(["b", "a", "b", "c"], draws=50, swaps=40, seed=3)
    two = Sampler(["c", "b"], draws=50, swaps=40, seed=3)
    np.testing.assert_array_equal(one.weights(np.array([2, 3])), two.weights(np.array([1, 0])))
    np.testing.assert_array_equal(one.swaps(np.array([0, 2])), np.repeat(two.swaps(np.array([1])), 2, axis=0))
    assert not np.array_equal(one.weights(np.array([0])), one.weights(np.array([1])))
    assert not np.array_equal(
        one.weights(np.array([0])), Sampler(["b"], draws=50, swaps=40, seed=4).weights(np.array([0]))
    )


def test_rows_that_no_longer_fit_are_made_again_the_same():
    names = [f"p{number}" for number in range(40)]
    large = Sampler(names, draws=64, swaps=64, seed=0)
    small = Sampler(names, draws=64, swaps=64, seed=0, memory_mb=10 * 64 * 4 / 2**20)
    for start in range(0, 40, 7):
        rows = np.arange(start, min(start + 7, 40))
        np.testing.assert_array_equal(small.weights(rows), large.weights(rows))
    np.testing.assert_array_equal(small.weights(np.arange(40)), large.weights(np.arange(40)))


def test_weights_are_exponential_and_coins_fair():
    sampler = Sampler([f"p{number}" for number in range(300)], draws=500, swaps=500, seed=0)
    weights, swaps = sampler.weights(np.arange(300)), sampler.swaps(np.arange(300))
    assert abs(weights.mean() - 1) < 0.01
    assert abs(weights.std() - 1) < 0.02
    assert abs(swaps.mean() - 0.5) < 0.005
    assert sampler.products(np.array([1, 1, 2])) == 2
