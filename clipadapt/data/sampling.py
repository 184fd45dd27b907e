"""Which items an epoch draws, and in which order: the same on every process, and again after a restart.

Balancing draws rare values more often, over several attributes at once: an item counts as rare as its rarest known
value, and no item comes more often than a cap. With one attribute and no cap in the way, full balancing gives its
values equal shares exactly; with several it cannot, for they contradict each other. Fitting all marginals at once
(raking) was tried on real labels and starved four items in five to please the rest: the rarest value is the trade.
Draws are spread, not thrown: an item of weight 2.3 is drawn two or three times, evenly over the epoch, so that copies
rarely meet in one batch.
Source: the rarest value decides in Gupta et al., "LVIS", CVPR 2019, section 4.2; the square root is there and in
Mahajan et al., "Exploring the limits of weakly supervised pretraining", ECCV 2018, section 2.2.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from clipadapt import keyed
from clipadapt.data.catalogue import Attribute

Balance = Literal["none", "sqrt", "full"]


@runtime_checkable
class Labels(Protocol):
    """What of a catalogue is needed here."""

    @property
    def attributes(self) -> tuple[Attribute, ...]: ...

    def __len__(self) -> int: ...

    def value_sets(self, attribute: str) -> Sequence[frozenset[str]]: ...

    def counts(self, attribute: str) -> dict[str, int]: ...


def epoch_order(
    catalogue: Labels, epoch: int, seed: int, balance: Balance = "none", cap: float = 5.0
) -> Int[np.ndarray, " items"]:
    """Indices of exactly len(catalogue) draws.

    Unbalanced, a permutation. Balanced, item i comes floor(w) or ceil(w) times, w = balanced_weights(...)[i].
    """
    weights = None if balance == "none" else balanced_weights(catalogue, balance, cap)
    return order_by(weights, len(catalogue), epoch, seed)


def order_by(
    weights: Float[np.ndarray, " items"] | None, count: int, epoch: int, seed: int
) -> Int[np.ndarray, " items"]:
    """epoch_order by weights that are there already, for going through labels takes longer than many orders; None: a
    permutation.
    """
    random = keyed.generator(seed, "order", epoch)
    shift = random.random(count)
    if weights is None:
        return np.argsort(shift, kind="stable")
    draws = _systematic(weights, random)
    items = np.repeat(np.arange(count), draws)
    nth = np.arange(count) - np.repeat(np.cumsum(draws) - draws, draws)
    when = (nth + shift[items]) / draws[items]
    return items[np.argsort(when, kind="stable")]


def occurrences(order: Int[np.ndarray, " draws"]) -> Int[np.ndarray, " draws"]:
    """How often the item of each draw was drawn before, so that its copies can be augmented differently."""
    by_item = np.argsort(order, kind="stable")
    sorted_items = order[by_item]
    starts = np.flatnonzero(np.r_[True, sorted_items[1:] != sorted_items[:-1]])
    lengths = np.diff(np.r_[starts, len(order)])
    seen = np.empty(len(order), dtype=np.int64)
    seen[by_item] = np.arange(len(order)) - np.repeat(starts, lengths)
    return seen


def balanced_weights(catalogue: Labels, balance: Balance, cap: float = 5.0) -> Float[np.ndarray, " items"]:
    """Expected draws of each item per epoch; mean 1, none above `cap`.

    Before the cap, proportional to the largest of (mean count of the attribute's values / count of the item's value) **
    power over its known values; power 1 for full, 1/2 for sqrt. An unknown cell counts for nothing; an item without any
    known value stands where a value of mean count does.

    Raises:
        ValueError: a cap below 1, under which an epoch could not be filled.
    """
    if cap < 1.0:
        raise ValueError(f"a cap of {cap} cannot fill an epoch; it must be 1 or more")
    if balance == "none":
        return np.ones(len(catalogue))
    power = 0.5 if balance == "sqrt" else 1.0
    rarity = np.zeros(len(catalogue))
    for attribute in catalogue.attributes:
        sets = catalogue.value_sets(attribute.name)
        counts = catalogue.counts(attribute.name)
        mean = sum(counts.values()) / max(len(counts), 1)
        factor = {value: (mean / count) ** power for value, count in counts.items()}
        np.maximum(rarity, [max((factor[value] for value in values), default=0.0) for values in sets], out=rarity)
    rarity[rarity == 0.0] = 1.0
    return _capped(rarity, cap)


def _capped(weights: np.ndarray, cap: float) -> np.ndarray:
    """Scaled to mean 1 with none above `cap`; what the cap cuts off is spread over the others in proportion."""
    count = len(weights)
    ranked = np.sort(weights)[::-1]
    rest = np.r_[np.cumsum(ranked[::-1])[::-1], 0.0]
    # With the k largest at the cap the others share count - k * cap; the smallest k for which they stay below it is it.
    full = np.arange(count + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (count - full * cap) / rest
    fits = np.append(ranked, 0.0) * np.nan_to_num(scale, posinf=0.0) <= cap * (1 + 1e-12)
    k = int(np.argmax(fits))
    return np.minimum(weights * scale[k], cap) if k < count else np.full(count, cap)


def _systematic(weights: np.ndarray, random: np.random.Generator) -> Int[np.ndarray, " items"]:
    """Draws per item, floor or ceil of its weight, len(weights) in all: systematic sampling in a random order."""
    count = len(weights)
    order = random.permutation(count)
    ends = np.cumsum(weights[order])
    ends *= count / ends[-1]
    marks = np.floor(ends - random.random()).astype(np.int64)
    marks[-1] = count - 1
    draws = np.empty(count, dtype=np.int64)
    draws[order] = np.diff(np.r_[-1, marks])
    return draws
