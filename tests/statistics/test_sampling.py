from concurrent.futures import ThreadPoolExecutor

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


def test_threads_that_share_a_sampler_get_what_one_gets():
    names = [f"p{number}" for number in range(60)]
    alone = Sampler(names, draws=64, swaps=64, seed=0)
    draw = np.random.default_rng(0)
    asked = [draw.choice(60, size=8, replace=False) for _ in range(200)]
    galleries = [np.arange(start, start + 20) for start in (0, 20, 40)]
    shared = Sampler(names, draws=64, swaps=64, seed=0, memory_mb=10 * 64 * 4 / 2**20)

    def right(number: int) -> bool:
        rows, gallery = asked[number], galleries[number % 3]
        return all(
            np.array_equal(getattr(shared, what)(some), getattr(alone, what)(some))
            for what, some in (("weights", rows), ("swaps", rows), ("summed", gallery))
        )

    for gallery in galleries:
        alone.summed(gallery)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(len(asked))))


def test_weights_are_exponential_and_coins_fair():
    sampler = Sampler([f"p{number}" for number in range(300)], draws=500, swaps=500, seed=0)
    weights, swaps = sampler.weights(np.arange(300)), sampler.swaps(np.arange(300))
    assert abs(weights.mean() - 1) < 0.01
    assert abs(weights.std() - 1) < 0.02
    assert abs(swaps.mean() - 0.5) < 0.005
    assert sampler.products(np.array([1, 1, 2])) == 2
