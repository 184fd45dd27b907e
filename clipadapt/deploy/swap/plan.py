"""What a swap would cost, and how far the new space is from the old one: measured on a sample before anything is done.

    images_per_second, score = measure(index, pictures)
    score.neighbours, score.low, score.high

The score is the share of an item's ten nearest items of other products that stay its nearest ones, among the sample's,
with an interval over products. It needs no labels and compares spaces of any two sizes. 1: results will be the same;
the low figure of a random pair is ten over the sample's size. Speed is that of this machine, as it is busy now.
"""

import time
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from clipadapt.deploy.swap.pictures import PicturesById
from clipadapt.errors import CatalogueError
from clipadapt.search.backend import Backend
from clipadapt.search.mirror import Encoded
from clipadapt.statistics.sampling import Sampler

_NEAREST = 10
_FEWEST = 3 * _NEAREST
"""Items of a sample below which the score says nothing."""
_WARM = 16
_COVERAGE = 0.95
_DRAWS = 2_000
SAMPLE = 256


class Score(NamedTuple):
    """Of the ten nearest items, the share that stays."""

    neighbours: float
    low: float
    high: float
    items: int
    products: int


class Plan(NamedTuple):
    """What is to be done, and what it takes."""

    old: str
    run: str
    items: int
    """In the index that is live."""
    encode: int
    """Pictures that have to be encoded; 0: the vectors stay valid, and are copied."""
    absent: int
    """Items that the source does not have."""
    images_per_second: float | None
    hours: float
    rate: float | None
    money: float | None
    needed_bytes: int
    """On a disk of this machine, for a while."""
    free_bytes: int
    milvus_bytes: int
    """On a Milvus server, for a while."""
    score: Score | None
    """None: the vectors stay, or the sample was too small."""
    made: bool = False
    """The new release is there already; what changed since then is all that is left to do."""

    def lines(self) -> list[str]:
        """For people."""
        size = f"disk: {_size(self.needed_bytes)} needed for a while, {_size(self.free_bytes)} free"
        if self.milvus_bytes:
            size += f"; {_size(self.milvus_bytes)} on the Milvus server for a while"
        if self.made:
            return [f"the release that replaces {self.old} is made already; what changed since then is left to do"]
        if self.images_per_second is None:
            return [
                f"{self.items:,} items of release {self.old}; the new model is of the same image_space, so their "
                "vectors stay valid: nothing is encoded",
                size,
            ]
        money = f", {self.money:,.2f} at {self.rate:g} an hour" if self.money is not None else ""
        lines = [
            f"{self.items:,} items of release {self.old}, {self.encode:,} pictures to encode",
            f"{self.images_per_second:,.1f} pictures/s here: {_hours(self.hours)}{money}",
            size,
        ]
        if self.absent:
            lines.append(f"{self.absent:,} items have no picture in the source")
        score = self.score
        if score is None:
            return [*lines, f"compatibility: not measured, for it takes {_FEWEST} items"]
        return [
            *lines,
            f"compatibility: {score.neighbours:.2f} [{score.low:.2f}, {score.high:.2f}] of an item's {_NEAREST} "
            f"nearest stay its nearest ({score.items} items, {score.products} products)",
        ]


def sampled(source: Backend, size: int, seed: int = 0) -> list[str]:
    """Ids of some items, the same ones for the same index."""
    ids = sorted(source.ids())
    return [ids[row] for row in sorted(np.random.default_rng(seed).permutation(len(ids))[:size])]


def measure(source: Backend, pictures: PicturesById, size: int = SAMPLE) -> tuple[float, Score | None]:
    """Pictures per second on this machine, and the score.

    Raises:
        CatalogueError: none of the sample's items has a picture in the source.
    """
    ids = sampled(source, size)
    pictures.vectors(ids[:_WARM], _Quiet())
    begin = time.perf_counter()
    made = pictures.vectors(ids, _Quiet())
    seconds = time.perf_counter() - begin
    if not made.ids:
        raise CatalogueError(
            f"{pictures.data.source}: not one of {len(ids)} sampled items of {source.name} has a picture there "
            f"({next(iter(made.missing.values()))}); name the catalogue that the index was built from with --source, "
            "and its --id column if it has one"
        )
    return len(made.ids) / max(seconds, 1e-9), score(source, made)


def score(source: Backend, made: Encoded, seed: int = 0) -> Score | None:
    """Of items that both models encoded; None: too few."""
    if len(made.ids) < _FEWEST:
        return None
    products = np.array([source.item(item).product for item in made.ids])
    kept = neighbours_kept(source.vectors(made.ids), made.vectors, products)
    sampler = Sampler(products, draws=_DRAWS, swaps=1, seed=seed)
    weights = sampler.weights(np.arange(len(kept)))
    draws = (weights * kept[:, None]).sum(axis=0) / weights.sum(axis=0)
    low, high = np.quantile(draws, [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2])
    return Score(float(kept.mean()), float(low), float(high), len(kept), len(sampler.names))


def neighbours_kept(
    old: Float[np.ndarray, "items old_dim"],
    new: Float[np.ndarray, "items new_dim"],
    products: Shaped[np.ndarray, " items"],
    k: int = _NEAREST,
) -> Float[np.ndarray, " items"]:
    """Share of each item's k nearest of other products that is the same in both spaces."""
    same = products[:, None] == products[None, :]
    nearest = []
    for vectors in (old, new):
        scores = np.where(same, -np.inf, vectors @ vectors.T)
        first = np.zeros(scores.shape, bool)
        np.put_along_axis(first, np.argsort(-scores, axis=1, kind="stable")[:, :k], True, axis=1)
        nearest.append(first & ~same)
    shared = (nearest[0] & nearest[1]).sum(axis=1)
    return shared / np.maximum(nearest[0].sum(axis=1), 1)


class _Quiet:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Nothing is shown."""


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{hours * 60:,.0f} minutes" if hours * 60 >= 1 else "less than a minute"
