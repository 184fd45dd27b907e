"""The draws of one epoch: which item comes at which place, for any stretch of places without walking to it.

    ListedDraws(order)                          an order that lies in memory
    WindowedDraws(shards, 8, epoch=2, seed=0)   items that lie in shards: mixed within eight shards at a time
    draws.between(5_120, 5_632)                 the items of one step, and how often each was drawn before

The windowed order is for catalogues whose pictures cannot all be within quick reach. Shards come in an order of their
own in each epoch, `window` of them make a block, and the items of a block are permuted. So an epoch reads each shard
during one block alone, and what lies at a place depends on (seed, epoch, place): a run resumes by asking for a place,
and processes ask for theirs. Besides the shard of each item, memory holds the items of the blocks that were asked for
last. The trade: items of shards that are no neighbours in an epoch never meet in a batch, so shards should be written
from rows in a random order. Nothing here knows of pictures or labels.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from clipadapt import keyed
from clipadapt.data.sampling import occurrences

_BLOCKS = 2
"""Blocks that are kept: a step that begins in one ends in the next."""


class Stretch(NamedTuple):
    """Some consecutive draws."""

    items: Int[np.ndarray, " draws"]
    repeats: Int[np.ndarray, " draws"]
    """How often each was drawn before in the epoch."""


@runtime_checkable
class Draws(Protocol):
    """An epoch's draws."""

    def between(self, start: int, stop: int) -> Stretch:
        """Those at the places start, start + 1, ..., stop - 1."""
        ...


class ListedDraws:
    """Draws that lie in memory: 16 bytes each."""

    def __init__(self, order: Int[np.ndarray, " draws"]) -> None:
        self._order = order
        self._repeats = occurrences(order)

    def between(self, start: int, stop: int) -> Stretch:
        return Stretch(self._order[start:stop], self._repeats[start:stop])


class WindowedDraws:
    """A permutation of all items, then the same one again, as often as it is asked for: that fills the last batch."""

    def __init__(self, shards: Int[np.ndarray, " items"], window: int, *, epoch: int, seed: int) -> None:
        """`shards`: the number of the shard that each item lies in; `window`: shards of a block."""
        self._key = (seed, epoch)
        # Items by shard: as they are where shards follow one another, as they do unless a subset was put in disorder.
        rising = bool(np.all(shards[1:] >= shards[:-1]))
        self._by_shard = None if rising else np.argsort(shards, kind="stable")
        counts = np.bincount(shards)
        starts = np.cumsum(counts) - counts
        used = np.flatnonzero(counts)
        order = used[keyed.generator(seed, "shards", epoch).permutation(len(used))]
        self._blocks = [order[first : first + window] for first in range(0, len(order), window)]
        self._starts, self._counts = starts, counts
        self._ends = np.cumsum([int(counts[block].sum()) for block in self._blocks])
        self._block = self._remembering()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict[str, object]:
        """Without the blocks, which are made again where they are asked for."""
        return {name: value for name, value in self.__dict__.items() if name != "_block"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._block = self._remembering()

    def between(self, start: int, stop: int) -> Stretch:
        items: list[np.ndarray] = []
        place = start
        while place < stop:
            within = place % len(self)
            block = int(np.searchsorted(self._ends, within, side="right"))
            first = int(self._ends[block - 1]) if block else 0
            items.append(self._block(block)[within - first : within - first + stop - place])
            place += len(items[-1])
        found = np.concatenate(items) if items else np.empty(0, np.int64)
        return Stretch(found, np.arange(start, stop) // len(self))

    def shards_from(self, place: int) -> list[int]:
        """The shards of the block that a place lies in, and of the one after it unless that was the last."""
        block = int(np.searchsorted(self._ends, place % len(self), side="right"))
        return np.concatenate(self._blocks[block : block + 2]).tolist()

    def _remembering(self) -> Callable[[int], np.ndarray]:
        return lru_cache(_BLOCKS)(self._permuted)

    def _permuted(self, block: int) -> Int[np.ndarray, " items"]:
        """The items of a block, in the order of the epoch."""
        spans = [(int(self._starts[shard]), int(self._counts[shard])) for shard in self._blocks[block]]
        items = np.concatenate([np.arange(start, start + count) for start, count in spans])
        items = items[keyed.generator(self._key[0], "window", self._key[1], block).permutation(len(items))]
        return items if self._by_shard is None else self._by_shard[items]
