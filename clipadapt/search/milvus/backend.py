"""The engine that runs elsewhere: collections of a Milvus server, or of a file of milvus-lite (search/backend.py).

    Milvus.build(vectors, "milvus:indexes/shop.db/shop", texts=texts)      a version: a collection behind an alias
    Milvus("milvus:indexes/shop.db/shop").search(compiled, 10)

What differs from the embedded engine is in docs/milvus.md. Additions and removals are made in the current collection,
and every reader finds them at once; a build, `tune`, and an addition that brings a column or a wider type make a new
collection, which `rollback` goes back from. The item table is read from Milvus when facets, vocabularies or wishes
need it, and kept until something changes.
"""

import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from clipadapt.config import Data
from clipadapt.errors import CatalogueError, SpaceError, StoreError, UsageError
from clipadapt.search.backend import Change, Changed, Hit, KnownItem
from clipadapt.search.contents import unit_vectors
from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.filters import Condition
from clipadapt.search.items import ID, PRODUCT, VECTOR, Items, Value, first_faults
from clipadapt.search.meta import Meta, Target
from clipadapt.search.milvus import building, text_queries, writing
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.kinds import Kind
from clipadapt.search.milvus.reading import Reader
from clipadapt.search.milvus.server import AbsentError, Server
from clipadapt.search.milvus.versions import Version, Versions
from clipadapt.search.models import model_of, release_model
from clipadapt.search.query import CompiledQuery
from clipadapt.search.vectors import Vectors

log = logging.getLogger(__name__)


class Milvus:
    """One index in Milvus, open."""

    def __init__(self, address: str, *, folder: Path | None = None, twin: bool = False) -> None:
        """What the alias points to now.

        Args:
            folder: that stands for it, as a release's does, whose model is the release's.
            twin: this is the second index of a pair, and may be changed even while changes go to the first.

        Raises:
            UsageError: no such address; pymilvus is not installed.
            AbsentError: nothing there.
            StoreError: no answer, or a collection that others made.
        """
        self._server = Server.connect(Address.parse(address))
        self._folder = folder
        self._versions = Versions(self._server, twin=twin)
        self._use(self._versions.current())

    @staticmethod
    def build(
        source: Vectors,
        out: str,
        *,
        factory: str = "auto",
        target: Target | None = None,
        texts: Float[np.ndarray, "texts dim"] | None = None,
        shown: Data | None = None,
        seed: int = 0,
    ) -> None:
        """Inserts, indexes, measures, and points the alias to the new collection.

        Args:
            texts: vectors of queries that recall is measured with; None: of pictures alone.
            shown: the data section of the catalogue that shows the items.

        Raises:
            UsageError: a vector without direction, or an index that Milvus does not have.
            StoreError: the server refuses; an index that was there stays as it was.
        """
        address = Address.parse(out)
        server = Server.connect(address, create=True)
        versions = Versions(server)
        vectors = unit_vectors(source.vectors, source.items)
        kind = Kind.named(factory, len(vectors), lite=address.lite)
        about = building.about(source, address.folder, shown)
        queries = np.empty((0, vectors.shape[1]), np.float32) if texts is None else texts
        made = building.write(versions, vectors, source.items, kind, target or Target(), queries, about, seed)
        try:
            versions.publish(made)
        except StoreError:
            with contextlib.suppress(StoreError):  # it is what is searched, for the answer alone was lost
                versions.drop(made)
            raise

    @property
    def name(self) -> str:
        """Its address."""
        return str(self._server.address)

    @property
    def meta(self) -> Meta:
        """See backend.py; kept in the collection's properties."""
        return self._reader.now.meta

    def model(self) -> str:
        """See backend.py."""
        merged = release_model(self._folder) if self._folder is not None else None
        return merged or model_of(self.meta.model, self._server.address.folder, self.name)

    @property
    def columns(self) -> Mapping[str, str]:
        """See backend.py."""
        return self._reader.now.fields.columns

    @property
    def separators(self) -> Mapping[str, str]:
        """See backend.py."""
        return {one.name: one.separator for one in self._reader.now.fields.all if one.separator is not None}

    def __len__(self) -> int:
        return self.count(())

    def search(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """See backend.py.

        Raises:
            UsageError: a condition at fault, or more results than Milvus gives.
            StoreError: no answer in time.
        """
        return self._answered(queries, k, conditions, collapse, exact=False)

    def exact(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """See backend.py; where the index is not FLAT, every vector that may be found is read and scored here."""
        return self._answered(queries, k, conditions, collapse, exact=True)

    def count(self, conditions: tuple[Condition, ...]) -> int:
        """See backend.py."""
        return self._reader.count(conditions)

    def unmatched(self, conditions: Sequence[Condition]) -> list[str]:
        """See backend.py."""
        return self._reader.unmatched(conditions)

    def facets(self, conditions: Sequence[Condition], most: int = 20) -> list[Values | Range]:
        """See backend.py; of the item table."""
        return facets(self.items, conditions, most)

    @property
    def items(self) -> Items:
        """See backend.py; read from Milvus when first asked for, in the order of ids."""
        return self._reader.items

    def ids(self) -> list[str]:
        """See backend.py."""
        return self.items.ids()

    def holds(self, item: str) -> bool:
        """See backend.py."""
        return bool(writing.present(self._server, self._reader.now.collection, [item]))

    def item(self, item: str) -> KnownItem:
        """See backend.py."""
        row = self._reader.rows([item], self._reader.now.fields.outputs)[item]
        return KnownItem(row[PRODUCT], self._reader.now.fields.attributes(row))

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """See backend.py."""
        return np.asarray(self._reader.rows([item], [ID, VECTOR])[item][VECTOR], np.float32)

    def vectors(self, ids: Sequence[str]) -> Float[np.ndarray, "ids dim"]:
        """See backend.py."""
        rows = self._reader.rows(ids, [ID, VECTOR])
        return np.array([rows[item][VECTOR] for item in ids], np.float32).reshape(-1, self.meta.dim)

    def values(self, column: str) -> list[Value | None]:
        """See backend.py."""
        return self.items.cells(column)

    def sample(self, size: int, seed: int = 0) -> Float[np.ndarray, "some dim"]:
        """See backend.py: a range of the ids' hashes, so that it is read without reading anything else."""
        return self._reader.sample(size, seed)

    def upsert(self, more: Vectors, *, replace: bool) -> Change:
        """See backend.py; of several requests that fail in the middle, what was written is taken back."""
        now = self._fresh()
        vectors = np.asarray(unit_vectors(now.meta.fitting(more).vectors, more.items), np.float32)
        if vectors.shape[1] != now.meta.dim:
            raise SpaceError(f"vectors of {vectors.shape[1]} dimensions for an index of {now.meta.dim}")
        ids = more.items.ids()
        there = writing.present(self._server, now.collection, ids)
        if there and not replace:
            raise CatalogueError(
                f"{len(there)} item(s) are in the index already:{first_faults([repr(one) for one in there])}\n"
                "update (index add --replace) replaces them"
            )
        table = writing.fitted(now.fields, more.items.table)
        if table is None:
            self._widened(now, more._replace(vectors=vectors))
        elif ids:
            rows = now.fields.rows(table, vectors)
            writing.upsert(self._versions, now, rows, there)
            self._settle(now)
        return self._changed(len(ids), len(there))

    def remove(self, ids: Sequence[str]) -> Change:
        """See backend.py."""
        if len(set(ids)) < len(ids):
            raise UsageError("an id is named twice; name each item to remove once")
        now = self._fresh()
        self._reader.rows(ids, [ID])
        if ids:
            writing.remove(self._versions, now, ids)
            self._settle(now)
        return self._changed(0, len(ids))

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """See backend.py; reads all vectors, and makes a collection of each candidate.

        Raises:
            UsageError: nothing reaches the target; the index stays as it was.
            StoreError: the server refuses, or others changed the index meanwhile; it stays as it was.
        """
        now = self._fresh()
        vectors, items = building.everything(self._server, now)
        texts = text_queries.read(self._server, now.collection, now.meta.dim)
        made = building.tuned(self._versions, now, vectors, items, target, texts, factories, seed)
        self._install(now, made)

    def compact(self, seed: int = 0) -> str | None:
        """See backend.py: Milvus does so by itself."""
        return None

    def compaction_due(self) -> bool:
        """See backend.py."""
        return False

    def drop_others(self) -> None:
        """Drops every version but the current one, so that nothing can be rolled back to."""
        self._versions.drop_others()

    def due(self) -> list[str]:
        """See backend.py."""
        return self.meta.rebuild_due(len(self), 0)

    def refresh(self) -> bool:
        """See backend.py; what was read of the item table is read again in any case."""
        other = self._since()
        self._use(other or self._reader.now)
        return other is not None

    def newer(self) -> Self | None:
        """See backend.py."""
        found = self._since()
        if found is None:
            return None
        other = copy.copy(self)
        other._use(found)
        return other

    def changed_since(self, before: Self) -> Changed | None:
        """See backend.py; Milvus keeps no record of what was changed."""
        return None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """See backend.py; changes by clipadapt are refused, those of other programs are not."""
        with self._versions.frozen():
            yield

    def versions(self) -> list[str]:
        """See backend.py: of the collections that are whole."""
        return self._versions.names()

    def publish(self, version: str) -> None:
        """See backend.py."""
        if version not in self.versions():
            raise StoreError(f"{self.name}: no version {version}; there are: {', '.join(self.versions())}")
        found = self._versions.read(self._versions.collection(version))
        self._versions.publish(found.collection)
        self._use(self._versions.current())

    def rollback(self) -> str:
        """See backend.py: to the collection before. Additions and removals are in a collection, and stay."""
        now = self._fresh()
        before = now.meta.follows
        if before is None or before not in self.versions():
            number = self._versions.number(now.collection)
            raise StoreError(f"{self.name}: no version before {number} is kept; nothing was changed")
        self.publish(before)
        return before

    def _answered(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...], collapse: bool, *,
        exact: bool,
    ) -> list[list[Hit]]:  # fmt: skip
        try:
            return self._reader.search(queries, k, conditions, collapse, exact=exact)
        except AbsentError:  # the collection was dropped after newer ones
            if not self.refresh():
                raise
            return self._reader.search(queries, k, conditions, collapse, exact=exact)

    def _widened(self, now: Version, more: Vectors) -> None:
        """A column that is new, or holds what its type cannot: all of it in a new collection."""
        vectors, items = building.everything(self._server, now)
        gone = items.live_rows(items.present(more.items.ids()))
        left = np.ones(len(vectors), bool)
        left[gone] = False
        whole = items.without(gone).compacted().extended(more.items)
        log.info("%s: its columns change, so that all %d items are written anew", self.name, whole.rows)
        texts = text_queries.read(self._server, now.collection, now.meta.dim)
        made = building.write(
            self._versions, np.concatenate([vectors[left], more.vectors]), whole, now.kind, now.meta.target, texts,
            building.kept(now.meta, self._versions.number(now.collection)), 0,
        )  # fmt: skip
        self._install(now, made)

    def _install(self, now: Version, made: str) -> None:
        """Publishes what was made of a version, unless others changed it meanwhile."""
        try:
            self._versions.publish(made, made_of=now)
        except StoreError:
            with contextlib.suppress(StoreError):  # as in `build`
                self._versions.drop(made)
            raise
        self._use(self._versions.read(made))

    def _changed(self, added: int, removed: int) -> Change:
        due = tuple(self.due())
        for reason in due:
            log.warning("%s: a rebuild is due, for %s; run clipadapt index tune", self.name, reason)
        return Change(added, removed, len(self), due)

    def _since(self) -> Version | None:
        """What is there now, where it is not what is open."""
        now, pointed = self._reader.now, self._versions.pointed()
        if pointed == now.collection and self._versions.change(now.collection) == now.change:
            return None
        return self._versions.current()

    def _fresh(self) -> Version:
        """What is there now: what a change begins with."""
        found = self._versions.current()
        self._versions.require_open(found)
        self._use(found)
        return found

    def _settle(self, before: Version) -> None:
        """After a change, which counts as done if nobody held the index still or replaced it meanwhile."""
        found = self._versions.current()
        self._versions.require_undisturbed(before, found)
        self._use(found)

    def _use(self, version: Version) -> None:
        self._reader = Reader(self._server, version)
