"""Places where new products crowd: a scan over the nearest neighbours of every product.

    near = neighbourhoods(vectors)                          # nearest first, of all samples together
    crowding(near, labels, sizes)                           # for each number of neighbours, labelling and new sample
    apart(near, group, sizes)                               # share of each new sample that stands apart, beyond chance

A category that a reference lacks is a small cluster of new products. A mean over all pairs of products hardly moves
for it; the neighbourhoods inside the cluster are another thing altogether, for nearly all that is in them is new. So
the statistic is of the fullest hundredth of all neighbourhoods: the mean of their log-likelihood ratios, of new
products among new and reference products there, against as many as everywhere; fewer than everywhere counts as none.
Neighbourhoods are of several sizes, for a cluster can be of any. They do not depend on which sample a product is of,
so that permuting the labels gives exact p-values. A product has one vector here, that of one item: a mean over several
items lies nearer to everything than one item does, so that products of few items would crowd by their number alone.
Source: Kulldorff, "A spatial scan statistic", Communications in Statistics 26 (1997) 1481-1496, which takes the one
fullest place; the mean of a hundredth finds more (eval/LOG.md). Henze & Penrose, "On the multivariate runs test",
Ann. Statist. 27 (1999) 290-298, for what shares among neighbours estimate.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.sparse import csr_matrix

_SIZES = (16, 32, 64)
"""Products of a neighbourhood."""
_PART = 8
"""A neighbourhood is at most this part of all products: larger ones are not local."""
_FULLEST = 100
"""One neighbourhood of so many, or one."""
_BLOCK = 512
"""Products whose likeness to all others is held at once."""


def neighbourhoods(vectors: Float[np.ndarray, "products dim"]) -> Int[np.ndarray, "products size"]:
    """Each product, then those nearest to it, as many as the largest neighbourhood needs; none where products are few.

    Args:
        vectors: one a product, of unit length; the larger the product of two, the nearer they are.
    """
    products = len(vectors)
    size = max((size for size in _SIZES if size * _PART <= products), default=0)
    near = np.empty((products, size), np.int32)
    for start in range(0, products if size else 0, _BLOCK):
        own = np.arange(start, min(start + _BLOCK, products))
        likeness = vectors[own] @ vectors.T
        likeness[own - start, own] = np.inf
        first = np.argpartition(-likeness, size - 1, axis=1)[:, :size]
        order = np.argsort(-np.take_along_axis(likeness, first, axis=1), axis=1, kind="stable")
        near[own] = np.take_along_axis(first, order, axis=1)
    return near


def crowding(
    near: Int[np.ndarray, "products size"],
    labels: Int[np.ndarray, "products draws"],
    sizes: Shaped[np.ndarray, " groups"],
) -> Float[np.ndarray, "draws samples scales"]:
    """How full of each new sample its fullest neighbourhoods are, for each labelling; larger is fuller.

    Args:
        labels: 0: the reference; 1 and up: new samples.
        sizes: products of each.
    """
    counted = _counts(near, labels, len(sizes))
    draws, few = labels.shape[1], len(near) - max(len(near) // _FULLEST, 1)
    found = np.empty((draws, len(sizes) - 1, len(counted)))
    for scale, (size, counts) in enumerate(counted):
        for new in range(1, len(sizes)):
            ratios = _ratios(size, sizes[new] / (sizes[0] + sizes[new]))
            own = ratios[counts[:, :, new], counts[:, :, 0]]
            found[:, new - 1, scale] = np.partition(own, few, axis=0)[few:].mean(axis=0)
    return found


def apart(
    near: Int[np.ndarray, "products size"], group: Int[np.ndarray, " products"], sizes: Shaped[np.ndarray, " groups"]
) -> Float[np.ndarray, " samples"]:
    """How far each new sample stands apart from the reference: 0 on average where it does not, 1 where no new product
    has one of the reference near it; 0 where there are no neighbourhoods.

    The share of new products among the nearest new and reference ones, its mean over new products, minus what chance
    gives and as a part of what chance leaves. Of the smallest neighbourhoods, which the fewest new products fill. It
    grows with the number of products only until they fill these: a tenth in a place of their own has a tenth at most.
    """
    found = np.zeros(len(sizes) - 1)
    for _, counts in _counts(near[:, : _SIZES[0]], group[:, None], len(sizes)):
        for new in range(1, len(sizes)):
            mine = counts[group == new, 0]
            both = mine[:, new] + mine[:, 0] - 1  # without the product itself
            chance = (sizes[new] - 1) / (sizes[0] + sizes[new] - 1)
            shares = (mine[both > 0, new] - 1) / both[both > 0]
            found[new - 1] = (shares.mean() - chance) / (1 - chance) if len(shares) else 0.0
    return found


def fullness(
    near: Int[np.ndarray, "products size"],
    group: Int[np.ndarray, " products"],
    sizes: Shaped[np.ndarray, " groups"],
    sample: int,
) -> Float[np.ndarray, "products scales"]:
    """The ratio of each product's neighbourhoods, of which `crowding` takes the fullest."""
    found = np.empty((len(near), 0))
    for size, counts in _counts(near, group[:, None], len(sizes)):
        ratios = _ratios(size, sizes[sample] / (sizes[0] + sizes[sample]))
        found = np.column_stack([found, ratios[counts[:, 0, sample], counts[:, 0, 0]]])
    return found


def _counts(
    near: Int[np.ndarray, "products size"], labels: Int[np.ndarray, "products draws"], groups: int
) -> list[tuple[int, Int[np.ndarray, "products draws groups"]]]:
    """Products of each group in the neighbourhoods of each size."""
    products, most = near.shape
    member = (labels[:, :, None] == np.arange(groups)).astype(np.float32).reshape(len(labels), -1)
    counted, before, total = [], 0, np.zeros_like(member)
    for size in (size for size in _SIZES if size <= most):
        part = near[:, before:size]
        starts = np.arange(0, part.size + 1, size - before)
        total = total + csr_matrix((np.ones(part.size, np.float32), part.ravel(), starts), (products,) * 2) @ member
        counted.append((size, total.astype(np.int16).reshape(*labels.shape, groups)))
        before = size
    return counted


def _ratios(size: int, share: float) -> Float[np.ndarray, "new reference"]:
    """Log-likelihood ratio of so many new and reference products where `share` is expected to be new; 0 if fewer are.

    Neither counts products of other samples, so that both together may be fewer than the neighbourhood has.
    """
    new, old = np.meshgrid(np.arange(size + 1.0), np.arange(size + 1.0), indexing="ij")
    both = np.maximum(new + old, 1)
    ratio = new * np.log(np.maximum(new, 1) / (both * share)) + old * np.log(np.maximum(old, 1) / (both * (1 - share)))
    return np.where(new > both * share, ratio, 0.0)
