"""Vectors shaped like CLIP's, for benchmarks of search: many small clusters in a narrow, anisotropic cone.

Pictures share a mean direction (cosine of two about 0.55) and concentrate in a few dozen of 512 dimensions (a
participation ratio near 50). Texts have another mean, cosine 0.2 to pictures, follow several clusters at once and carry
noise of their own, so that their nearest pictures lie scattered over many cells of an index: they are off the cloud.
Geometry after Liang et al., "Mind the Gap" (2022), and Levi & Gilboa, "The Double-Ellipsoid Geometry of CLIP" (2025).
"""

from typing import NamedTuple

import numpy as np

BETWEEN, WITHIN = 1.0, 0.9
"""Powers with which variance falls over dimensions, between clusters and inside them."""


class Cloud(NamedTuple):
    """Unit vectors; queries are drawn apart and are not among the items."""

    items: np.ndarray
    """float32 [items, dim]"""
    clusters: np.ndarray
    """Cluster of each item; clusters of one parent are alike."""
    pictures: np.ndarray
    texts: np.ndarray
    tuning_texts: np.ndarray
    """Texts that an index may be tuned with; others than those it is judged by."""


def draw(count: int, dim: int = 512, queries: int = 1000, seed: int = 0, into: np.ndarray | None = None) -> Cloud:
    """A cloud of about 200 items to a cluster, few of them many times larger than most.

    Args:
        into: where the items are put, [count, dim], such as a mapped file of halves; None: float32 in memory.
    """
    rng = np.random.default_rng(seed)
    clusters = max(50, count // 200)
    between, within = _spectrum(dim, BETWEEN), _spectrum(dim, WITHIN)
    turns = [np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32) for _ in range(3)]
    near = within[:, None] * (0.7 * turns[0] + 0.7 * turns[1])
    private = within[:, None] * turns[2]
    parents = rng.standard_normal((max(8, clusters // 50), dim), dtype=np.float32) * between
    owner = np.sort(rng.integers(len(parents), size=clusters))
    own = rng.standard_normal((clusters, dim), dtype=np.float32) * between
    centres = (0.6 * parents[owner] + 0.8 * own) @ turns[0]
    popularity = rng.permutation(1 / np.arange(1, clusters + 1) ** 0.6)
    popularity /= popularity.sum()
    picture_mean = _unit(rng.standard_normal(dim))
    aside = _unit(rng.standard_normal(dim))
    text_mean = 0.3 * picture_mean + np.sqrt(1 - 0.09) * _unit(aside - (aside @ picture_mean) * picture_mean)

    def pictures(size: int, made: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        made = np.empty((size, dim), np.float32) if made is None else made
        of = rng.choice(clusters, size=size, p=popularity)
        for start in range(0, size, 1 << 16):
            some = of[start : start + (1 << 16)]
            noise = rng.standard_normal((len(some), dim), dtype=np.float32)
            made[start : start + len(some)] = _rows(picture_mean + 0.55 * centres[some] + 0.75 * noise @ near)
        return made, of

    def texts(size: int) -> np.ndarray:
        of = rng.choice(clusters, size=size, p=popularity)
        said = sum(centres[(of + step) % clusters] for step in (0, 1, 3))  # neighbours share a parent, mostly
        noise = rng.standard_normal((2, size, dim), dtype=np.float32)
        return _rows(text_mean + 0.2 * said + 0.15 * noise[0] @ near + 0.4 * noise[1] @ private)

    items, of = pictures(count, into)
    return Cloud(items, of, pictures(queries)[0], texts(queries), texts(300))


def _spectrum(dim: int, power: float) -> np.ndarray:
    scale = np.arange(1, dim + 1) ** (-power / 2)
    return (scale / np.sqrt((scale**2).sum())).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _rows(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
