"""Could chance alone have made this difference: p-values by swapping two systems, product by product.

If neither system is better, exchanging their scores on a product is as likely as what was seen. Swapping whole
products keeps what their items share. With few products every swap is tried, so p is exact; otherwise a keyed random
sample of swaps is taken and what was seen counts as one of them, which keeps p valid at any number of draws.
A p-value says nothing of size: intervals.py does. Nothing here knows what was measured.
Source: Fisher, "The Design of Experiments" (1935), section 21; Phipson & Smyth, "Permutation P-values should never be
zero" (2010); Holm, "A simple sequentially rejective multiple test procedure" (1979).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Shaped

from clipadapt import keyed

EXACT = 14
"""Up to this many products with any difference all 2**14 swaps are tried; more are sampled."""
_HELD = 4_000_000
"""Signs held at once while sampling: 32 MB."""


def swap_p(
    differences: Float[np.ndarray, " items"],
    products: Shaped[np.ndarray, " items"],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p of the sum of `differences` under swaps of whole products.

    Args:
        differences: what each item adds to the difference of two systems: its score difference times its weight.
        products: whose items are swapped together.
        draws: random swaps beyond EXACT products.
        seed: of those.
    """
    _, place = np.unique(products, return_inverse=True)
    sums = np.bincount(place, differences)
    sums = sums[sums != 0]  # a product without difference is the same swapped
    seen = abs(sums.sum())
    if not len(sums):
        return 1.0
    # Rounding must not make an equal sum look smaller, nor the all-kept swap miss itself.
    level = seen - 1e-9 * np.abs(sums).sum()
    if len(sums) <= EXACT:
        totals = np.zeros(1)
        for part in sums:
            totals = np.concatenate([totals + part, totals - part])
        return float((np.abs(totals) >= level).mean())
    generator = keyed.generator(seed, "swaps", len(sums))
    reached, rows = 0, max(1, _HELD // len(sums))
    for start in range(0, draws, rows):
        signs = 1.0 - 2.0 * generator.integers(0, 2, (min(rows, draws - start), len(sums)), dtype=np.int8)
        reached += int((np.abs(signs @ sums) >= level).sum())
    return (1 + reached) / (1 + draws)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p raised so that calling all those below a level significant errs at most at that level, jointly."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised, largest = [0.0] * len(ps), 0.0
    for step, number in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - step) * ps[number]))
        raised[number] = largest
    return raised
