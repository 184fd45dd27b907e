"""Keeps the items of one index in another, whose vectors may be of another model.

    mirror = Mirror(source, target, encode, ledger, side="old")
    mirror.run(mirror.look())       what differs, in batches; killed, it goes on where it was

What differs is found by comparing, not from a journal of changes: whoever writes to the source need not know of the
target, nothing can be forgotten or written down twice, and what a killed process had done counts. An item is compared
by its cells, and by its vector: the same one where both indexes are of one space, else the one that its counterpart was
made for (ledger.py). The trade: all items are read once at the start, and again when the source was rebuilt; between,
an index says what changed, unless Milvus keeps it: then all items are read after every change. There a vector is read
as it is now and not as it was looked up, so that an item may be gone, or replaced, while it is copied: then the source
has changed, and the next look finds what is left. Knows nothing of models, pictures or releases.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from clipadapt.errors import UsageError
from clipadapt.progress import Bar
from clipadapt.search.backend import Backend
from clipadapt.search.ledger import Ledger, Side, digests
from clipadapt.search.vectors import Vectors

BATCH = 1024
"""Items that are encoded again at most when a job is killed."""
_COMPARED = 16_384


class Encoded(NamedTuple):
    """Vectors of some items for the target."""

    ids: list[str]
    vectors: Float[np.ndarray, "ids dim"]
    missing: Mapping[str, str]
    """Items that have none -> why."""


class Encode(NamedTuple):
    """How items of the source become vectors of the target's space."""

    vectors: Callable[[Sequence[str], Bar | None], Encoded]
    afresh: Callable[[], None]
    """Called when the source changed: pictures that were looked up before may be others now."""


class Lag(NamedTuple):
    """What the target lacks."""

    encode: list[str]
    """New, or with another vector."""
    cells: list[str]
    """The vector stays."""
    gone: list[str]

    @property
    def total(self) -> int:
        return sum(map(len, self))


class Mirror:
    """Two open indexes.

    Args:
        source: which others change.
        target: which nobody else does.
        encode: None: the vectors are the source's own.
        ledger: what was encoded for what; None where nothing is encoded.
        side: of the ledger, that the source's vectors are on.
    """

    def __init__(
        self, source: Backend, target: Backend, encode: Encode | None, ledger: Ledger | None, side: Side = "old"
    ) -> None:
        if (encode is None) != (ledger is None) or (encode is None) != _same_space(source, target):
            raise ValueError("vectors are copied between indexes of one space, and encoded between others")
        self.source, self.target = source, target
        self._encode, self._ledger = encode, ledger
        self._side: Side = side
        self._reached: Backend | None = None
        """The version of the source that the target has all of."""
        self._disturbed = False
        """Whether the source was read again since it was looked at, for items of it were gone."""
        self.missing: dict[str, str] = {}
        """Items of the source that have no vector in the target -> why."""

    def look(self) -> Lag:
        """What differs now: from the last look where that is known, else of all items."""
        lag = self.look_quickly()
        if lag is not None:
            return lag
        self.target.refresh()
        return self._compared(self.source.ids(), None)

    def look_quickly(self) -> Lag | None:
        """What changed since the last run; None: all items must be compared, which takes longer."""
        newer = self.source.newer()
        self.source = newer or self.source
        if newer is not None and self._encode is not None:
            self._encode.afresh()
        self._disturbed = False
        if self._reached is None:
            return None
        if self.source is self._reached:
            return Lag([], [], [])
        changed = self.source.changed_since(self._reached)
        if changed is None:
            self._reached = None
            return None
        there = set(changed.there)
        again = [item for item in self.missing if item not in there and self.source.holds(item)]
        return self._compared([*changed.there, *again], changed.gone)

    def run(self, lag: Lag, shown: Bar | None = None) -> bool:
        """Brings the target to where the source was when the lag was looked up; False: items of it were gone by then.

        Raises:
            StoreError: the disk refuses; what was done stays done.
            ModelError: the model gives vectors that are not finite.
        """
        self._reached = None
        if lag.gone:
            self.target.remove(lag.gone)
        for part in _batches(lag.cells, _COMPARED):
            left = self.source.items.present(part)
            self._upsert(left, self.target.vectors(left))
        for part in _batches(lag.encode, BATCH):
            left, vectors = self._of_source(part)
            if left:
                self._take(left, vectors, shown)
        self.missing = {
            item: why for item, why in self.missing.items() if self.source.holds(item) and not self.target.holds(item)
        }
        self._reached = None if self._disturbed else self.source
        return not self._disturbed

    def _take(self, ids: list[str], vectors: Float[np.ndarray, "ids dim"], shown: Bar | None) -> None:
        """Items of the source, whose vectors were read before their pictures: what changes between is seen again."""
        made = Encoded(ids, vectors, {}) if self._encode is None else self._encode.vectors(ids, shown)
        if self._encode is None and shown is not None:
            shown.advance(len(ids))
        self.missing.update(made.missing)
        if made.ids:
            self._upsert(made.ids, made.vectors)
        if made.ids and self._ledger is not None:
            pair = digests(select(made.ids, ids, vectors)), digests(self.target.vectors(made.ids))
            self._ledger.add(made.ids, *(pair if self._side == "old" else pair[::-1]))

    def _of_source(self, ids: list[str]) -> tuple[list[str], Float[np.ndarray, "ids dim"]]:
        left, vectors = read_present(self.source, ids)
        self._disturbed |= len(left) < len(ids)
        return left, vectors

    def _upsert(self, ids: Sequence[str], vectors: Float[np.ndarray, "ids dim"]) -> None:
        if not ids:
            return
        rows = self.source.items.taken(self.source.items.live_rows(ids))
        self.target.upsert(Vectors(vectors, rows, self.target.meta.image_space, None), replace=True)

    def _compared(self, ids: Sequence[str], gone: Sequence[str] | None) -> Lag:
        """Of some items of the source; `gone` None: the target holds nothing that is not among them."""
        if gone is None:
            wanted = set(ids)
            gone = [item for item in self.target.ids() if item not in wanted]
        encode: list[str] = []
        cells: list[str] = []
        there = self.target.items
        for part in _batches(ids, _COMPARED):
            both = there.present(part)
            known = set(both)
            encode += [item for item in part if item not in known]
            if not both:
                continue
            both, stale = self._stale(both)
            encode += [item for item, other in zip(both, stale, strict=True) if other]
            kept = [item for item, other in zip(both, stale, strict=True) if not other]
            cells += [item for item, one, two in zip(kept, *self._cells(kept), strict=True) if not _alike(one, two)]
        return Lag(encode, cells, there.present(gone))

    def _stale(self, ids: list[str]) -> tuple[list[str], Bool[np.ndarray, " ids"]]:
        """Items of both, and whose vector in the target was not made for the one in the source."""
        ids, vectors = self._of_source(ids)
        if self._ledger is None:
            return ids, (vectors != self.target.vectors(ids)).any(axis=1)
        return ids, ~self._ledger.holds(ids, self._side, digests(vectors))

    def _cells(self, ids: Sequence[str]) -> Iterator[list[tuple[str, Mapping]]]:
        """Product and attributes of items in the source, then in the target."""
        for items in (self.source.items, self.target.items):
            rows = items.live_rows(ids)
            yield list(zip(items.products(rows), items.attributes(rows), strict=True))


def read_present(source: Backend, ids: list[str]) -> tuple[list[str], Float[np.ndarray, "ids dim"]]:
    """Those of some items that are in an index, and their vectors; where some are gone by now, it is read again.

    Raises:
        StoreError: it cannot be read.
    """
    while True:
        try:
            return ids, source.vectors(ids)
        except UsageError:
            source.refresh()
            left = source.items.present(ids)
            if left == ids:
                raise
            ids = left


def select(
    some: Sequence[str], ids: Sequence[str], vectors: Float[np.ndarray, "ids dim"]
) -> Float[np.ndarray, "some dim"]:
    """Vectors of some items among those of more."""
    rows = {item: row for row, item in enumerate(ids)}
    return vectors[[rows[item] for item in some]]


def _same_space(one: Backend, other: Backend) -> bool:
    return one.meta.image_space == other.meta.image_space


def _alike(one: tuple[str, Mapping], two: tuple[str, Mapping]) -> bool:
    """A number may be text in the index whose column took the wider type."""
    return one == two or (
        one[0] == two[0]
        and one[1].keys() == two[1].keys()
        and all(value == two[1][name] or str(value) == str(two[1][name]) for name, value in one[1].items())
    )


def _batches(ids: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(ids), size):
        yield list(ids[start : start + size])
