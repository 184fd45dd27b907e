"""Do new vectors come from where the old ones came from? Several new samples against one reference.

    found = compare(Grouped.of(vectors, products, groups), permutations=999, rng=generator)
    found.effect[w], found.p[w]        # of sample w + 1 against sample 0

Items of one product are alike, so products are the units: a kernel between products is the mean of the kernel between
their items, and products, not items, change places in the permutations; permuting items finds drift where there is
none. Under the null, products are exchangeable over the reference and all new samples, and the p-values are exact.
(They are nearly so where new products have fewer items than the reference's: their means spread a little more.)
One test looks at three things. The squared discrepancy (MMD) sees what moves all items a little, such as another
camera. The distance of the means, in units of how much products differ in each direction (Hotelling's statistic), sees
what is small beside the spread of the whole, such as new coats among garments of all colours. `neighbourhoods` sees
what moves a few items far, such as a new category. Each is counted in standard deviations of its permutations, and the
largest, permuted alike, is the score: one p, at the level that is asked for.
Two effects say how large a drift is, and do not grow with the number of items as p-values fall, so that an alarm can
ask for more than a small p: the unbiased discrepancy in units of the reference's own spread, and `clusters`, how far
the neighbours of new products are new themselves. Both are about 0 without drift.
`jointly` corrects for all comparisons made at once by the largest score of every permutation, which uses that they
share a reference instead of assuming the worst, as Holm does. (The smallest p would do the same, but a few hundred
permutations give it too few different values to alarm at 5% in a dozen windows.) The trade: memory of products x
products; callers limit them. Measured alarms without drift and power: eval/benchmarks/drift.py.
Source: Gretton et al., "A kernel two-sample test", J. Mach. Learn. Res. 13 (2012) 723-773; Chen et al., "A regularized
Hotelling's T2 test", J. Am. Stat. Assoc. 106 (2011) 1345-1360; Westfall & Young, "Resampling-based multiple testing"
(1993), for the largest statistic.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int, Shaped

from clipadapt.metrics.neighbourhoods import apart, crowding, fullness, neighbourhoods

_RIDGE = 0.03
"""What is added to the variance in every direction before means are compared, as a part of the mean variance: those in
which hardly anything varies would be noise else (eval/LOG.md)."""
_BLOCK = 512
"""Items whose kernel with all others is held at once."""
ROUNDING = 1e-4
"""What the order of single-precision sums can move a score by, in standard deviations: such are ties. Among a dozen
vectors in a narrow cone it moves them by up to 5e-6, and there permutations often give the very samples again."""
_COLUMNS = 256
"""Permuted columns multiplied at once."""


class Grouped(NamedTuple):
    """Products with the kernel between them, and which sample each is of."""

    kernel: Float[np.ndarray, "products products"]
    """Zero on the diagonal: a product is not compared with itself."""
    whitened: Float[np.ndarray, "products dim"]
    """Each product's first item, in units of how much products differ in each direction."""
    near: Int[np.ndarray, "products size"]
    """The neighbourhood of each product's first item among those of all, nearest first."""
    group: Int[np.ndarray, " products"]
    """0: the reference; 1 and up: new samples."""
    names: Shaped[np.ndarray, " products"]

    @classmethod
    def of(
        cls,
        vectors: Float[np.ndarray, "items dim"],
        products: Shaped[np.ndarray, " items"],
        groups: Int[np.ndarray, " items"],
    ) -> Self:
        """A Gaussian kernel as wide as the median distance of two products of all samples.

        Raises:
            ValueError: a product in two groups, which would be its own evidence.
        """
        names, place = np.unique(products, return_inverse=True)
        group = np.zeros(len(names), np.int64)
        group[place] = groups
        if (group[place] != groups).any():
            raise ValueError("a product is in two groups; keep it in one")
        order = np.argsort(place, kind="stable")
        sorted_vectors = vectors[order].astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(place))[:-1]])
        first = sorted_vectors[starts]
        width = _median_distance(first)
        sizes = np.bincount(place).astype(np.float32)
        rows = []
        for start in range(0, len(names), _BLOCK):
            stop = min(start + _BLOCK, len(names))
            last = starts[stop] if stop < len(names) else len(order)
            own = sorted_vectors[starts[start] : last]
            kernel = np.exp((own @ sorted_vectors.T - 1) / width)  # squared distance of unit vectors: 2 - 2 cosine
            summed = np.add.reduceat(
                np.add.reduceat(kernel, starts, axis=1), starts[start:stop] - starts[start], axis=0
            )
            rows.append(summed / (sizes[start:stop, None] * sizes))
        matrix = np.concatenate(rows)
        np.fill_diagonal(matrix, 0)
        return cls(matrix, _whitened(first), neighbourhoods(first), group, names)


class Compared(NamedTuple):
    """Each new sample against the reference."""

    effect: Float[np.ndarray, " samples"]
    """Unbiased, so that it may fall below zero where there is no drift."""
    p: Float[np.ndarray, " samples"]
    """Each by itself."""
    score: Float[np.ndarray, " samples"]
    """What p ranks, in standard deviations of all permutations, for `jointly`."""
    permuted: Float[np.ndarray, "permutations samples"]
    """The same of every permutation."""


def compare(grouped: Grouped, *, permutations: int, rng: np.random.Generator) -> Compared:
    """Samples 1 and up against sample 0.

    Raises:
        ValueError: a sample of fewer than two products.
    """
    sizes = np.bincount(grouped.group).astype(np.float64)
    if len(sizes) < 2 or sizes.min() < 2:
        raise ValueError(f"samples of {sizes.astype(int).tolist()} products; each needs two")
    labels = rng.permuted(np.repeat(grouped.group[:, None], permutations, axis=1), axis=0)
    each = _COLUMNS // len(sizes) + 1
    parts = [grouped.group[:, None], *(labels[:, at : at + each] for at in range(0, permutations, each))]
    discrepancies = np.concatenate([_discrepancies(grouped.kernel, part, sizes) for part in parts])
    shifts = np.concatenate([_shifts(grouped.whitened, part, sizes) for part in parts])
    crowded = np.concatenate([crowding(grouped.near, part, sizes) for part in parts])
    every = _standardised(np.concatenate([discrepancies[:, :, None], shifts[:, :, None], crowded], axis=2))
    scores = _standardised(every.max(axis=2))
    p = (scores >= scores[:1] - ROUNDING).mean(axis=0)
    own = grouped.group == 0
    among = grouped.kernel[np.ix_(own, own)].sum(dtype=np.float64) / (sizes[0] * (sizes[0] - 1))
    return Compared(discrepancies[0] / max(1 - among, 1e-9), p, scores[0], scores[1:])


def jointly(found: Sequence[Compared]) -> list[Float[np.ndarray, " samples"]]:
    """p of each comparison, raised so that an alarm below a level errs at most at that level over all of them.

    All have the same number of permutations; those of different `found` are independent.
    """
    if not found:
        return []
    most = np.max([one.permuted.max(axis=1) for one in found], axis=0)
    return [(1 + (most[:, None] >= one.score - ROUNDING).sum(axis=0)) / (1 + len(most)) for one in found]


def clusters(grouped: Grouped) -> Float[np.ndarray, " samples"]:
    """How far the neighbours of each new sample's products are its own (`neighbourhoods.apart`); 0 without drift."""
    return apart(grouped.near, grouped.group, np.bincount(grouped.group))


def witness(grouped: Grouped, sample: int) -> Float[np.ndarray, " products"]:
    """How much each product of a sample is of its own kind, in standard deviations of those; NaN for other products.

    The sum of how much more alike it is to its sample than to the reference, and of how full its neighbourhoods are.
    """
    own, reference = grouped.group == sample, grouped.group == 0
    alike = grouped.kernel[np.ix_(own, own)].sum(axis=1) / max(own.sum() - 1, 1) - grouped.kernel[
        np.ix_(own, reference)
    ].mean(axis=1)
    full = fullness(grouped.near, grouped.group, np.bincount(grouped.group), sample)[own]
    found = np.full(len(grouped.group), np.nan)
    found[own] = _standardised(np.column_stack([alike, full])).sum(axis=1)
    return found


def _discrepancies(
    kernel: Float[np.ndarray, "n n"], labels: Int[np.ndarray, "n draws"], sizes: Float[np.ndarray, " groups"]
) -> Float[np.ndarray, "draws samples"]:
    """Unbiased squared MMD of each sample against sample 0, for each labelling."""
    groups = len(sizes)
    member = (labels[:, :, None] == np.arange(groups)).astype(np.float32)  # [n, draws, groups]
    sums = (kernel.astype(np.float32) @ member.reshape(len(labels), -1)).reshape(member.shape)
    within = np.einsum("ndg,ndg->dg", member, sums, dtype=np.float64) / (sizes * (sizes - 1))
    across = np.einsum("nd,ndg->dg", member[:, :, 0], sums, dtype=np.float64) / (sizes[0] * sizes)
    return within[:, 1:] + within[:, :1] - 2 * across[:, 1:]


def _shifts(
    whitened: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, "n draws"], sizes: Float[np.ndarray, " groups"]
) -> Float[np.ndarray, "draws samples"]:
    """Squared distance of the mean of each sample to that of sample 0, for each labelling."""
    groups = len(sizes)
    member = (labels[:, :, None] == np.arange(groups)).astype(np.float32).reshape(len(labels), -1)
    means = (whitened.T @ member).reshape(whitened.shape[1], -1, groups) / sizes
    return ((means[:, :, 1:] - means[:, :, :1]) ** 2).sum(axis=0)


def _whitened(vectors: Float[np.ndarray, "products dim"]) -> Float[np.ndarray, "products dim"]:
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    covariance = centred.T @ centred / len(centred)
    ridge = _RIDGE * float(np.trace(covariance)) / len(covariance)
    factor = np.linalg.cholesky(covariance + max(ridge, 1e-12) * np.eye(len(covariance)))
    return scipy.linalg.solve_triangular(factor, centred.T, lower=True).T.astype(np.float32)


def _standardised(statistics: Float[np.ndarray, "draws ..."]) -> Float[np.ndarray, "draws ..."]:
    """Each in standard deviations of all labellings, the real one among them."""
    return (statistics - statistics.mean(axis=0)) / np.maximum(statistics.std(axis=0), 1e-12)


def _median_distance(vectors: Float[np.ndarray, "n dim"]) -> float:
    """Median of 1 - cosine over pairs; every so many vectors where there are many."""
    some = vectors[:: max(len(vectors) // 500, 1)]
    away = 1 - (some @ some.T)[np.triu_indices(len(some), 1)]
    return max(float(np.median(away)) if len(away) else 1.0, 1e-6)
