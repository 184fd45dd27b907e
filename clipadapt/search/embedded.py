"""The engine that runs inside the process: FAISS files and an item table in versioned folders (backend.py).

    Embedded.build(vectors, "indexes/shop", texts=texts)        writes a version
    Embedded("indexes/shop").search(compiled, 10)

Every change is a new version on the store: it is there whole or not at all, and readers keep the one they opened.
How vectors are searched is engine.py's business, what a version holds is contents.py's.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clipadapt.config import Data
from clipadapt.errors import SpaceError, StoreError, UsageError
from clipadapt.search.backend import Change, Hit, KnownItem
from clipadapt.search.columns import Column
from clipadapt.search.contents import Contents, unit_vectors
from clipadapt.search.engine import FAISS, Engine
from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.factory import choose_factory
from clipadapt.search.faiss_version import check_faiss
from clipadapt.search.filters import Condition, unmatched
from clipadapt.search.items import Items, Value
from clipadapt.search.meta import Meta, Target
from clipadapt.search.models import model_of, remembered
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import Point
from clipadapt.search.searcher import Searcher
from clipadapt.search.shown import remembered_catalogue
from clipadapt.search.tune import Tuned, choose, choose_params, remeasure
from clipadapt.search.vectors import Vectors
from clipadapt.search.versions import Versions

log = logging.getLogger(__name__)

_REMEASURED = 0.05
"""Growth since recall was last measured, from which an addition measures it again."""


class Embedded:
    """One version of an index in a folder, open."""

    def __init__(self, path: str | Path, *, mapped: bool = True, verify: bool = True) -> None:
        """The current version.

        Args:
            mapped: pages come into memory as they are used; False reads everything now.
            verify: compares every file's sha256, which reads all of them; False compares sizes alone.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
        """
        self._versions = Versions(path)
        self._mapped = mapped
        self._load(verify=verify)

    @staticmethod
    def build(
        source: Vectors,
        out: str | Path,
        *,
        factory: str = "auto",
        target: Target | None = None,
        texts: Float[np.ndarray, "texts dim"] | None = None,
        shown: Data | None = None,
        seed: int = 0,
    ) -> None:
        """Trains, adds, measures, and writes a new version at `out`.

        Args:
            texts: vectors of queries that recall is measured with; None: of pictures alone.
            shown: the data section of the catalogue that shows the items (shown.py).

        Raises:
            UsageError: a vector without direction, or a factory that cannot be.
            StoreError: the disk refuses; an index that was there stays as it was.
        """
        vectors = unit_vectors(source.vectors, source.items)
        queries = np.empty((0, vectors.shape[1]), np.float32) if texts is None else texts
        chosen = choose_factory(*vectors.shape) if factory == "auto" else factory
        target = target or Target()
        tuned = choose_params(Engine.build(vectors, chosen, seed), chosen, target, queries, seed)
        versions = Versions(out)
        model = source.model and remembered(source.model, versions.store.root)
        catalogue = remembered_catalogue(shown, versions.store.root) if shown is not None else None
        meta = _meta(
            tuned, target, tuned.points,
            image_space=source.image_space, model=model, catalogue=catalogue, left_out=len(source.broken),
        )  # fmt: skip
        versions.write(Contents(tuned.engine, source.items, meta, queries))

    @property
    def name(self) -> str:
        """Its folder."""
        return str(self._versions)

    @property
    def meta(self) -> Meta:
        """index.json."""
        return self._searcher.meta

    def model(self) -> str:
        """See backend.py."""
        return model_of(self.meta.model, self._versions.store.root)

    @property
    def engine(self) -> Engine:
        """The vectors, by vector id; for measurements of this engine alone."""
        return self._searcher.engine

    @property
    def items(self) -> Items:
        """See backend.py; by vector id."""
        return self._searcher.items

    @property
    def columns(self) -> Mapping[str, str]:
        """See backend.py."""
        return {name: Column.of(self.items.table, name).kind for name in self.items.columns}

    def __len__(self) -> int:
        return len(self.items)

    def search(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """See backend.py.

        Raises:
            UsageError: a condition at fault.
            StoreError: an older faiss finds less in this index than was measured.
        """
        if not self._checked:  # here and not on opening, so that `tune` can mend an index
            check_faiss(self._searcher.contents, self.name)
            self._checked = True
        return self._searcher.search(queries, k, conditions, collapse)

    def exact(
        self, queries: Sequence[CompiledQuery], k: int, conditions: tuple[Condition, ...] = (), collapse: bool = True
    ) -> list[list[Hit]]:
        """See backend.py."""
        return self._searcher.search(queries, k, conditions, collapse, exact=True)

    def count(self, conditions: tuple[Condition, ...]) -> int:
        """See backend.py."""
        selection = self._searcher.selection(conditions)
        return len(self) if selection is None else selection.count

    def unmatched(self, conditions: Sequence[Condition]) -> list[str]:
        """See backend.py."""
        return [line for condition in conditions if (line := unmatched(self.items, condition))]

    def facets(self, conditions: Sequence[Condition], most: int = 20) -> list[Values | Range]:
        """See backend.py."""
        return facets(self.items, conditions, most)

    def ids(self) -> list[str]:
        """See backend.py; in the order of vector ids."""
        return self.items.ids()

    def holds(self, item: str) -> bool:
        """See backend.py."""
        return self.items.holds(item)

    def item(self, item: str) -> KnownItem:
        """See backend.py."""
        row = int(self.items.live_rows([item])[0])
        return KnownItem(self.items.product(row), self.items.attributes(np.array([row]))[0])

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """See backend.py."""
        return self._searcher.vector(item)

    def values(self, column: str) -> list[Value | None]:
        """See backend.py."""
        return self.items.cells(column)

    def sample(self, size: int, seed: int = 0) -> Float[np.ndarray, "some dim"]:
        """See backend.py; removed items' vectors may be among them."""
        return self._searcher.sample(size, seed)

    def upsert(self, more: Vectors, *, replace: bool) -> Change:
        """See backend.py."""
        vectors = unit_vectors(more.vectors, more.items)
        if vectors.shape[1] != self.meta.dim:
            raise SpaceError(f"vectors of {vectors.shape[1]} dimensions for an index of {self.meta.dim}")
        ids = more.items.ids()
        replaced = 0

        def edit(now: Contents) -> Contents:
            nonlocal replaced
            there = [item for item in ids if now.items.holds(item)] if replace else []
            replaced = len(there)
            items = (now.items.without(now.items.live_rows(there)) if there else now.items).extended(more.items)
            now.engine.add(vectors)
            return now._replace(items=items, meta=_remeasured(now, items))

        self._versions.change(edit)
        self._load(verify=False)
        return self._changed(len(ids), replaced)

    def remove(self, ids: Sequence[str]) -> Change:
        """See backend.py; their vectors stay until the index is rebuilt."""
        if len(set(ids)) < len(ids):
            raise UsageError("an id is named twice; name each item to remove once")

        def edit(now: Contents) -> Contents:
            return now._replace(items=now.items.without(now.items.live_rows(ids)))

        self._versions.change(edit, same_vectors=True)
        self._load(verify=False)
        return self._changed(0, len(ids))

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """Rebuilds from the index's own vectors, removed items left out, with the quickest factory for the target.

        Raises:
            UsageError: no factory reaches the target; the index stays as it was.
            StoreError: the disk refuses, or another process is writing.
        """

        def edit(now: Contents) -> Contents:
            live = np.flatnonzero(~now.items.removed)
            whole = len(live) == now.engine.count
            vectors = now.engine.all_vectors() if whole else now.engine.vectors(live)
            tuned, points = choose(vectors, target, now.texts, factories, seed)
            kept = now.meta.model_dump(include={"image_space", "model", "catalogue", "left_out"})
            meta = _meta(tuned, target, points, **kept)
            return Contents(tuned.engine, now.items.compacted(), meta, now.texts)

        self._versions.change(edit)
        self._load(verify=False)

    def due(self) -> list[str]:
        """See backend.py."""
        return self.meta.rebuild_due(self.items.rows, int(self.items.removed.sum()))

    def versions(self) -> list[str]:
        """See backend.py."""
        return self._versions.store.versions()

    def publish(self, version: str) -> None:
        """See backend.py; every file of it is read before."""
        self._versions.store.point_to(version)
        self._load(verify=False)

    def rollback(self) -> str:
        """See backend.py."""
        store = self._versions.store
        before = [version for version in store.versions() if int(version) < int(store.version())]
        if not before:
            raise StoreError(f"{self.name}: no version before {store.version()} is kept; nothing was changed")
        self.publish(before[-1])
        return before[-1]

    def _changed(self, added: int, removed: int) -> Change:
        due = tuple(self.due())
        for reason in due:
            log.warning("%s: a rebuild is due, for %s; run clipadapt index tune", self._versions, reason)
        return Change(added, removed, len(self), due)

    def _load(self, *, verify: bool) -> None:
        self._searcher = Searcher(self._versions.read(mapped=self._mapped, verify=verify))
        self._checked = False


def _meta(tuned: Tuned, target: Target, points: Sequence[Point], **about: Any) -> Meta:
    return Meta(
        factory=tuned.factory, faiss=FAISS, dim=tuned.engine.dim,
        trained_on=tuned.engine.count, target=target, search_params=tuned.search_params, measured=tuned.measured,
        curve=list(points), memory_bytes=tuned.memory, **about,
    )  # fmt: skip


def _remeasured(now: Contents, items: Items) -> Meta:
    """The new index.json of a grown index; recall is measured again when it has grown enough for it to have moved."""
    last = now.meta.measured.get("picture")
    measured, version = now.meta.measured, {}
    if last is None or now.engine.count > (1 + _REMEASURED) * last.vectors:
        live = np.flatnonzero(~items.removed)
        measured = remeasure(now.engine, now.meta.factory, now.meta.search_params, now.texts, live)
        version = {"faiss": FAISS}
    return now.meta.model_copy(update={"measured": measured, "memory_bytes": now.engine.memory(), **version})
