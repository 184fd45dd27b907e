"""What an index asks of the engine that keeps its vectors: one protocol, and nothing above it knows more of an engine.

    backend.search(compiled, 10, conditions)       hits; `exact` the same by scoring everything
    backend.count(conditions), backend.vector("1163"), backend.values("Pattern"), backend.sample(4096)
    backend.upsert(vectors, replace=True); backend.remove(["1163"])
    backend.versions(); backend.publish("000004"); backend.rollback()

Conditions mean the same whatever keeps the vectors: an unknown cell matches neither != nor `not in`, dates are compared
as days, a list matches by any of its values (filters.py). Every change is there whole or not at all before the call
returns, and is searchable at once. How vectors are kept is the engine's business; encoders are the index's.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float

from clipadapt.search.facets import Range, Values
from clipadapt.search.filters import Condition
from clipadapt.search.items import Items, Value
from clipadapt.search.meta import Meta, Target
from clipadapt.search.query import CompiledQuery
from clipadapt.search.vectors import Vectors


class Hit(NamedTuple):
    """One result."""

    id: str
    score: float
    """Cosine similarity to the query; of one that wishes for values, less what they take off (weighed.py)."""
    product: str
    attributes: dict[str, Value]
    """Every other column that is known."""


class KnownItem(NamedTuple):
    """What an index knows of one item beside its id and vector."""

    product: str
    attributes: dict[str, Value]


class Change(NamedTuple):
    """What a change did, and how many items can be found after it."""

    added: int
    removed: int
    items: int
    due: tuple[str, ...]
    """Why the index should be rebuilt; empty when it need not be."""


class Changed(NamedTuple):
    """Items that differ between two versions of an index."""

    there: list[str]
    """Added, or replaced."""
    gone: list[str]
    """Removed."""


@runtime_checkable
class Backend(Protocol):
    """Vectors and items of one index, open at one version until it changes them or publishes another."""

    @property
    def name(self) -> str:
        """What a person calls it by: its folder or address."""
        ...

    @property
    def meta(self) -> Meta:
        """What the index is bound to, how it was made, and what was measured."""
        ...

    def model(self) -> str:
        """The MODEL string that made the vectors.

        Raises:
            UsageError: none is known, or its folder is not there.
        """
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """What conditions can ask about, and the kind of each: whole, number, date, list or text."""
        ...

    @property
    def separators(self) -> Mapping[str, str]:
        """Columns of several values, and by what their cells were split."""
        ...

    def __len__(self) -> int:
        """Items that can be found."""
        ...

    def search(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """The k best items of each query, as the chosen search parameters find them."""
        ...

    def exact(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """The same with every allowed vector scored: the reference that recall is measured against."""
        ...

    def count(self, conditions: tuple[Condition, ...]) -> int:
        """How many items meet the conditions."""
        ...

    def unmatched(self, conditions: Sequence[Condition]) -> list[str]:
        """Conditions that ask for a value no item has, each with the nearest that some have."""
        ...

    def facets(self, conditions: Sequence[Condition], most: int = 20) -> list[Values | Range]:
        """For every column what the items under some conditions hold (facets.py)."""
        ...

    @property
    def items(self) -> Items:
        """The item table: for reading all of it, such as a vocabulary, and not in the course of a search."""
        ...

    def ids(self) -> list[str]:
        """Ids of all items that can be found."""
        ...

    def holds(self, item: str) -> bool:
        """Whether an item can be found."""
        ...

    def item(self, item: str) -> KnownItem:
        """What is known of an item.

        Raises:
            UsageError: it was never added, or removed.
        """
        ...

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """An item's vector.

        Raises:
            UsageError: it was never added, or removed.
        """
        ...

    def vectors(self, ids: Sequence[str]) -> Float[np.ndarray, "ids dim"]:
        """Vectors of items, in the order of `ids`, as exactly as they are kept.

        Raises:
            UsageError: one was never added, or removed.
        """
        ...

    def values(self, column: str) -> list[Value | None]:
        """A column's cells, one per item in the order of `ids`; None where unknown.

        Raises:
            KeyError: no such column.
        """
        ...

    def sample(self, size: int, seed: int = 0) -> Float[np.ndarray, "some dim"]:
        """Vectors of some items, the same ones for as long as nothing changes."""
        ...

    def upsert(self, more: Vectors, *, replace: bool) -> Change:
        """New items; with `replace`, those that are there already get the new vectors and cells.

        Raises:
            UsageError, CatalogueError, SpaceError: vectors or cells that do not fit, an id that is there already.
            StoreError: the change cannot be kept; nothing of it stays.
        """
        ...

    def remove(self, ids: Sequence[str]) -> Change:
        """Items that are not to be found any more.

        Raises:
            UsageError: an id that is not in the index, or named twice.
            StoreError: as upsert.
        """
        ...

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """Rebuilds with what reaches the target quickest, removed items left out.

        Raises:
            UsageError: nothing reaches the target; the index stays as it was.
            StoreError: as upsert.
        """
        ...

    def compact(self, seed: int = 0) -> str | None:
        """Puts what was added into the form that is searched quickly, if it is time; what was done, None: nothing.

        Others search and change meanwhile.

        Raises:
            StoreError: as upsert.
        """
        ...

    def compaction_due(self) -> bool:
        """Whether `compact` would do anything."""
        ...

    def refresh(self) -> bool:
        """Opens what others have published since; whether there was anything."""
        ...

    def newer(self) -> Self | None:
        """What others have published since, opened beside this, which stays as it is; None: nothing.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def changed_since(self, before: Self) -> Changed | None:
        """What differs from a version of the same index that was opened before; None: not known, compare everything."""
        ...

    def frozen(self) -> AbstractContextManager[None]:
        """A block in which nobody changes the index; changes wait, or are refused.

        Raises:
            StoreError: another process has been writing for too long.
        """
        ...

    def due(self) -> list[str]:
        """Why the index should be rebuilt; empty when it need not be."""
        ...

    def versions(self) -> list[str]:
        """Names of the versions that can be published, oldest first."""
        ...

    def publish(self, version: str) -> None:
        """Makes a version the one that is searched from now on.

        Raises:
            StoreError: no such version, or it is damaged.
        """
        ...

    def rollback(self) -> str:
        """Publishes the version before the current one; gives its name.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        ...
