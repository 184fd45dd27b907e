"""Item ids -> rows, from a file that is mapped: a few pages of it are read for a lookup, and none are kept in memory.

    table = IdTable.of(["a", "b"]);  table.find(hashes(["b", "z"]))      places and rows that may be meant

A 64-bit hash of each id, sorted, beside the row it is of (.npy, uint64 [2, rows]). A hash finds candidates; whoever
asks compares the ids themselves, so that two ids of one hash cannot be taken for each other. An id may be there several
times, as one that was replaced. Knows nothing of what was removed.
"""

import hashlib
import itertools
from collections.abc import Iterable
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Int, UInt64

_BLOCK = 65_536


class Candidates(NamedTuple):
    """Pairs of an id that was asked for and a row that has its hash."""

    places: Int[np.ndarray, " pairs"]
    """Which of the ids asked for."""
    rows: Int[np.ndarray, " pairs"]


class IdTable:
    """Hashes of ids, sorted, and their rows."""

    def __init__(self, content: UInt64[np.ndarray, "2 rows"]) -> None:
        self.content = np.asarray(content)  # a mapped array's own class takes 10 us for a row

    @classmethod
    def of(cls, ids: Iterable[str]) -> Self:
        """From the ids of rows 0, 1, 2, ..."""
        unsorted = hashes(ids)
        order = np.argsort(unsorted, kind="stable")
        return cls(np.stack([unsorted[order], order.astype(np.uint64)]))

    def find(self, wanted: UInt64[np.ndarray, " ids"]) -> Candidates:
        """Rows whose id has one of these hashes."""
        own = self.content[0]
        first, last = np.searchsorted(own, wanted, "left"), np.searchsorted(own, wanted, "right")
        counts = last - first
        places = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return Candidates(places, self.content[1][first[places] + within].astype(np.int64))


def hashes(ids: Iterable[str]) -> UInt64[np.ndarray, " ids"]:
    """64 bits of BLAKE2b of each id's UTF-8, the same on every machine."""
    found, rest = [], iter(ids)
    while block := b"".join(
        hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for item in itertools.islice(rest, _BLOCK)
    ):
        found.append(np.frombuffer(block, "<u8").astype(np.uint64))
    return np.concatenate(found) if found else np.empty(0, np.uint64)
