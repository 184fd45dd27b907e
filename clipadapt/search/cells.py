"""Where the cells of inverted lists lie: k-means in two levels, whose time grows with the root of the number of cells.

Plain k-means compares every vector of the sample with every centre: 90 teraflops for 16,384 cells of 256 dimensions,
where 128 groups of about 128 cells each take two. Groups get cells by how many vectors of the sample they have.
Source: two_level_clustering of faiss.contrib, which cannot leave a group without cells nor be told how often to move
its centres.
"""

from typing import Any

import faiss as swig
import numpy as np
from jaxtyping import Float

faiss: Any = swig
_STEPS = 10
_PER_CENTRE = 256
"""Most vectors per centre that are looked at."""


def centres(sample: Float[np.ndarray, "some dim"], cells: int, seed: int = 0) -> Float[np.ndarray, "cells dim"]:
    """Centres of unit length for vectors that are compared by inner product; at most as many as there are vectors."""
    groups = round(np.sqrt(cells))
    group_of = _kmeans(sample, groups, seed).assign(sample)[1]
    order, sizes = np.argsort(group_of, kind="stable"), np.bincount(group_of, minlength=groups)
    ends = np.cumsum(sizes)
    shares = np.diff(ends * cells // len(sample), prepend=0)  # never more than a group has vectors
    found = [
        _kmeans(sample[order[end - size : end]], int(share), seed).centroids
        for end, size, share in zip(ends, sizes, shares, strict=True)
        if share
    ]
    return np.concatenate(found)


def _kmeans(sample: np.ndarray, count: int, seed: int) -> Any:
    means = faiss.Kmeans(
        sample.shape[1], count, niter=_STEPS, seed=seed, spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=_PER_CENTRE,
    )  # fmt: skip
    means.train(sample)
    return means
