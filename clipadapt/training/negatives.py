"""Batches of items that are hard to tell apart: who meets whom in an epoch, by the model as it is.

A contrastive loss learns from the other items of the batch, and most of a random batch is told apart long since. Here
part of each batch is filled with the items whose pictures lie closest to the rest of it and whose labels differ. Only
the order of an epoch changes: each draw stays in it once, so balancing is as it was. Items that share every known label
are never drawn together on purpose, for they are no negatives.
The trade: neighbours are looked for among the draws of WINDOW, not among all, so the cost grows with the items and not
with their square, and vectors are as old as the epoch. Nothing here knows of losses, processes or files.
Source: mini-batches of close items with yet other labels as in Dahiya et al., "NGAME: Negative Mining-aware
Mini-batching for Extreme Classification", WSDM 2023, arXiv:2207.04452, by neighbours instead of clusters.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipadapt.data.catalogue import Catalogue

WINDOW = 8192
"""Draws among which neighbours are looked for; whole batches, one at least."""
NEIGHBOURS = 64
"""Candidates per draw: enough that most are still free when their turn comes."""
_ROWS = 1024
"""Rows of the similarity matrix held at once."""


def label_codes(catalogue: Catalogue) -> Int[np.ndarray, "items attributes"]:
    """A number for what each cell holds, equal for equal values; -1 where nothing is known."""
    columns = []
    for attribute in catalogue.attributes:
        sets = catalogue.value_sets(attribute.name)
        number: Mapping[frozenset[str], int] = {held: at for at, held in enumerate(dict.fromkeys(sets)) if held}
        columns.append([number.get(held, -1) for held in sets])
    return np.array(columns, dtype=np.int64).reshape(len(columns), len(catalogue)).T


def hard_order(
    order: Int[np.ndarray, " draws"],
    vectors: Float[Tensor, "items dim"],
    codes: Int[np.ndarray, "items attributes"],
    *,
    batch_size: int,
    share: float,
) -> Int[np.ndarray, " draws"]:
    """The same draws, batch by batch: (1 - share) of each in the order given, the rest their closest unlike items.

    Args:
        order: draws of an epoch, whole batches of items.
        vectors: unit vectors of all items by the model as it is.
        codes: as label_codes gives them.
        share: of each batch that is drawn next to the rest of it; at least one item of a batch is not.
    """
    reach = max(1, WINDOW // batch_size) * batch_size
    kept = max(1, round((1.0 - share) * batch_size))
    found = []
    for start in range(0, len(order), reach):
        draws = order[start : start + reach]
        places = _grouped(_unlike_neighbours(draws, vectors, codes), batch_size, kept)
        found.append(draws[np.fromiter(places, dtype=np.int64, count=len(draws))])
    return np.concatenate(found)


def _unlike_neighbours(draws: np.ndarray, vectors: Tensor, codes: np.ndarray) -> Int[np.ndarray, "draws k"]:
    """Places of the closest draws that differ in a label both have, closest first; -1 where there are no more."""
    held = torch.from_numpy(draws).to(vectors.device)
    own, labels = vectors[held], torch.from_numpy(codes).to(vectors.device)[held]
    count = min(NEIGHBOURS, len(draws))
    found = []
    for start in range(0, len(draws), _ROWS):
        rows = slice(start, start + _ROWS)
        unlike = torch.zeros(len(own[rows]), len(draws), dtype=torch.bool, device=vectors.device)
        for column in labels.unbind(1):
            here = column[rows, None]
            unlike |= (here >= 0) & (column >= 0) & (here != column)
        close, places = (own[rows] @ own.T).masked_fill_(~unlike, -math.inf).topk(count)
        found.append(places.masked_fill_(close == -math.inf, -1).cpu().numpy())
    return np.concatenate(found)


def _grouped(neighbours: np.ndarray, batch_size: int, kept: int) -> Iterator[int]:
    """Every place once: for each batch the next `kept` free ones, then their free neighbours in turn, closest first."""
    count = len(neighbours)
    free = np.ones(count, dtype=bool)
    following = 0

    def take(place: int) -> int:
        free[place] = False
        return place

    def next_free() -> int:
        nonlocal following
        while not free[following]:
            following += 1
        return take(following)

    for start in range(0, count, batch_size):
        size = min(batch_size, count - start)
        seeds = [next_free() for _ in range(min(kept, size))]
        yield from seeds
        left = size - len(seeds)
        candidates = [iter(neighbours[seed].tolist()) for seed in seeds]
        while left and candidates:
            still = []
            for own in candidates:
                place = next((one for one in own if one >= 0 and free[one]), None)
                if place is not None and left:
                    yield take(place)
                    left -= 1
                    still.append(own)
            candidates = still
        for _ in range(left):
            yield next_free()
