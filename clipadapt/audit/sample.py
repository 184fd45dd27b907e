"""Which labels a person looks at: a random sample within every value, rare values over-sampled, weights known.

    chosen = draw(labels, share=0.05, seed=0)
    chosen.labels          # places in `labels`, value by value

A value's part grows with the square root of its number of labels, so that a value of 20 labels gets about a tenth, not
a hundredth, of what one of 2,000 gets, and every value gets LEAST where the share allows. Each label stands for
(labels of its value) / (those looked at), which estimate.py puts right. Which labels of a value are taken depends on
the seed and their names, not on the order of rows.
Source: Kish, "Survey Sampling" (1965), for square-root allocation where both totals and small strata matter.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from clipadapt import keyed
from clipadapt.audit.labels import Labels
from clipadapt.errors import ConfigError

LEAST = 5
"""Labels of each value, where it has so many and the share allows."""


class Sample(NamedTuple):
    """What is looked at."""

    share: float
    seed: int
    labels: Int[np.ndarray, " looked_at"]
    """Places in the labels, by value, in random order within one."""
    sizes: Int[np.ndarray, " strata"]
    """Labels of each value that are looked at."""

    def digest(self, labels: Labels, fingerprint: str) -> str:
        """Names this sample of this catalogue; marks of another one do not fit."""
        hasher = hashlib.sha256(f"{fingerprint} {self.share!r} {self.seed}".encode())
        for place in self.labels.tolist():
            name = labels.strata[labels.stratum[place]]
            hasher.update("\0".join([str(labels.ids[labels.row[place]]), *name]).encode() + b"\n")
        return hasher.hexdigest()[:16]


def draw(labels: Labels, share: float, seed: int) -> Sample:
    """A sample of `share` of the labels; more where there are more values than that.

    Raises:
        ConfigError: a share that is no fraction.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"--share {share}: the share of labels to look at, above 0 and at most 1, such as 0.05")
    sizes = allocate(labels.sizes(), max(round(share * len(labels)), 1))
    names = labels.ids[labels.row]
    chosen = []
    order = np.argsort(labels.stratum, kind="stable")
    bounds = np.cumsum(labels.sizes())[:-1]
    for (attribute, value), places, size in zip(labels.strata, np.split(order, bounds), sizes.tolist(), strict=True):
        ranked = sorted(places.tolist(), key=lambda at: keyed.integer(seed, "audit", attribute, value, str(names[at])))
        chosen += ranked[:size]
    return Sample(share, seed, np.array(chosen, np.int64), sizes)


def allocate(labels: Int[np.ndarray, " strata"], total: int) -> Int[np.ndarray, " strata"]:
    """How many of each value: in proportion to the square root of its labels, LEAST at least, no more than it has.

    Where that least would take more than half of the total, it is lowered, to one at least.
    """
    total = min(total, int(labels.sum()))
    least = next((n for n in range(LEAST, 1, -1) if 2 * np.minimum(labels, n).sum() <= total), 1)
    floor, roots = np.minimum(labels, least), np.sqrt(labels)
    low, high = 0.0, float(np.sqrt(labels.max()))
    for _ in range(60):
        scale = (low + high) / 2
        low, high = (scale, high) if np.clip(scale * roots, floor, labels).sum() < total else (low, scale)
    exact = np.clip(high * roots, floor, labels)
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    for at in np.argsort(sizes - exact, kind="stable")[: max(total - int(sizes.sum()), 0)]:
        sizes[at] += sizes[at] < labels[at]
    return sizes
