"""The engine that runs inside the process: FAISS files and an item table in versioned folders (backend.py).

    Embedded.build(vectors, "indexes/shop", texts=texts)        writes a version
    Embedded("indexes/shop").search(compiled, 10)

Every change is a new version on the store: it is there whole or not at all, and readers keep the one they opened.
How vectors are searched is engine.py's business, what a version holds is contents.py's.
"""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from clipadapt.config import Data
from clipadapt.errors import SpaceError, StoreError, UsageError
from clipadapt.search import compaction
from clipadapt.search.backend import Change, Changed, Hit, KnownItem
from clipadapt.search.columns import Column
from clipadapt.search.contents import Contents, Segment, base_segment, goes_on, unit_vectors, write_segment
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
from clipadapt.search.segments import Segments
from clipadapt.search.shown import remembered_catalogue
from clipadapt.search.tune import Tuned, choose, choose_params
from clipadapt.search.vectors import Vectors
from clipadapt.search.versions import Versions

log = logging.getLogger(__name__)


class Embedded:
    """One version of an index in a folder, open."""

    def __init__(self, path: str | Path, *, mapped: bool = True, verify: bool = True, twin: bool = False) -> None:
        """The current version.

        Args:
            path: its folder, or a folder of releases, which stands for the index of the one that is current.
            mapped: pages come into memory as they are used; False reads everything now.
            verify: compares every file's sha256, which reads all of them; False compares sizes alone.
            twin: this is the second index of a pair, and may be changed even while changes go to the first (twins.py).

        Raises:
            StoreError: nothing there, or a file is missing or changed.
        """
        self._versions = Versions(path, twin=twin)
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
            whole=source.whole,
        )  # fmt: skip
        versions.write(Contents((base_segment(tuned.engine, source.items, meta),), source.items, meta, queries))

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
    def engine(self) -> Segments:
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

    @property
    def separators(self) -> Mapping[str, str]:
        """See backend.py."""
        return self.items.separators

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

    def vectors(self, ids: Sequence[str]) -> Float[np.ndarray, "ids dim"]:
        """See backend.py; a factory that keeps no exact vectors gives what it decodes."""
        return self.engine.vectors(self.items.live_rows(ids))

    def values(self, column: str) -> list[Value | None]:
        """See backend.py."""
        return self.items.cells(column)

    def sample(self, size: int, seed: int = 0) -> Float[np.ndarray, "some dim"]:
        """See backend.py; removed items' vectors may be among them."""
        return self._searcher.sample(size, seed)

    def upsert(self, more: Vectors, *, replace: bool) -> Change:
        """See backend.py."""
        vectors = np.asarray(unit_vectors(self.meta.fitting(more).vectors, more.items))
        if vectors.shape[1] != self.meta.dim:
            raise SpaceError(f"vectors of {vectors.shape[1]} dimensions for an index of {self.meta.dim}")
        ids = more.items.ids()
        replaced = 0

        def edit(now: Contents) -> Contents:
            nonlocal replaced
            there = now.items.present(ids) if replace else []
            replaced = len(there)
            items = now.items.without(now.items.live_rows(there)) if there else now.items
            return compaction.grown(now, items.extended(more.items), vectors) if ids else now

        self._change(edit)
        return self._changed(len(ids), replaced)

    def remove(self, ids: Sequence[str]) -> Change:
        """See backend.py; their vectors stay until the index is rebuilt."""
        if len(set(ids)) < len(ids):
            raise UsageError("an id is named twice; name each item to remove once")

        def edit(now: Contents) -> Contents:
            items = now.items.without(now.items.live_rows(ids))
            return Contents(now.segments, items, now.meta, now.texts)

        self._change(edit)
        return self._changed(0, len(ids))

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """Rebuilds from the index's own vectors, removed items left out, with the quickest factory for the target.

        Raises:
            UsageError: no factory reaches the target; the index stays as it was.
            StoreError: the disk refuses, or another process is writing.
        """
        now = self._versions.read(mapped=self._mapped, verify=True)  # what it is made of gets new checksums
        tuned, points = choose(_live_vectors(now), target, now.texts, factories, seed)
        self._install(compaction.rebuilt(now, tuned.engine, _meta(tuned, target, points, **_kept(now.meta))))

    def compact(self, seed: int = 0) -> compaction.Plan | None:
        """Puts what was added into cells, or rebuilds everything when it is time; says what was done.

        Others search and change meanwhile; what they change is carried over.

        Raises:
            StoreError: the disk refuses, or the index was rebuilt or taken back meanwhile; it stays as it was.
        """
        self.refresh()
        planned = compaction.plan(self._searcher.contents)
        if planned is None:
            return None
        now = self._versions.read(mapped=self._mapped, verify=True)  # what it is made of gets new checksums
        if planned == "rebuild":
            vectors = _live_vectors(now)
            factory = compaction.factory_of(now.meta, len(vectors))
            engine = Engine.build(vectors, factory, seed)
            tuned = choose_params(engine, factory, now.meta.target, now.texts, seed)
            meta = _meta(tuned, now.meta.target, tuned.points, **_kept(now.meta))
            self._install(compaction.rebuilt(now, tuned.engine, meta))
        else:
            folder = self._versions.store.current()

            def fresh_copy(segment: Segment) -> Engine:
                return Engine.read(folder / segment.files[0], mapped=False)

            self._install(compaction.sealed(now, fresh_copy, seed))
        return planned

    def compaction_due(self) -> bool:
        """See backend.py."""
        return compaction.plan(self._searcher.contents) is not None

    def due(self) -> list[str]:
        """See backend.py."""
        return self.meta.rebuild_due(self.items.rows, int(self.items.removed.sum()))

    def refresh(self) -> bool:
        """Opens what another process has published since; whether there was anything. What is unchanged stays open."""
        contents = self._versions.read(mapped=self._mapped, verify=False)
        if contents is self._searcher.contents:
            return False
        self._use(contents)
        return True

    def newer(self) -> Self | None:
        """See backend.py; what is unchanged is shared."""
        contents = self._versions.read(mapped=self._mapped, verify=False)
        if contents is self._searcher.contents:
            return None
        other = copy.copy(self)
        other._use(contents)
        return other

    def changed_since(self, before: Self) -> Changed | None:
        """See backend.py; known by vector ids, for as long as no rebuild has given them anew."""
        then, now = before._searcher.contents, self._searcher.contents
        rows = then.items.rows
        if now.meta.generation != then.meta.generation or now.items.rows < rows:
            return None
        if now.base is not then.base and not goes_on(then, now):
            return None
        new = np.arange(rows, now.items.rows)
        there = now.items.names(new[~now.items.removed[rows:]])
        gone = now.items.names(np.flatnonzero(now.items.removed[:rows] & ~then.items.removed))
        return Changed(there, sorted(set(gone).difference(there)))

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """See backend.py; changes wait for half a minute."""
        with self._versions.store.hold():
            yield

    def versions(self) -> list[str]:
        """See backend.py."""
        return self._versions.store.versions()

    def publish(self, version: str) -> None:
        """See backend.py; every file of it is read before."""
        self._versions.store.point_to(version)
        self._load(verify=False)

    def rollback(self) -> str:
        """See backend.py."""
        before = self._versions.before()
        if before is None:
            raise StoreError(
                f"{self.name}: no version before {self._versions.store.version()} is kept; nothing was changed"
            )
        self.publish(before)
        return before

    def _changed(self, added: int, removed: int) -> Change:
        due = tuple(self.due())
        for reason in due:
            log.warning("%s: a rebuild is due, for %s; run clipadapt index tune", self._versions, reason)
        return Change(added, removed, len(self), due)

    def _install(self, work: compaction.Work) -> None:
        with self._versions.store.prepare(lambda folder: write_segment(folder, work.segment)) as prepared:
            self._change(compaction.install(work), prepared=prepared)
        self._load(verify=False)  # the new segments as files, instead of in memory

    def _change(self, edit: Callable[[Contents], Contents], prepared: Path | None = None) -> None:
        self._use(self._versions.change(edit, prepared=prepared, mapped=self._mapped))

    def _load(self, *, verify: bool) -> None:
        self._use(self._versions.read(mapped=self._mapped, verify=verify))

    def _use(self, contents: Contents) -> None:
        self._searcher = Searcher(contents, getattr(self, "_searcher", None))
        self._checked = False


def _live_vectors(now: Contents) -> Float[np.ndarray, "live dim"]:
    if not now.items.removed.any():
        return now.engine.all_vectors()
    return now.engine.vectors(np.flatnonzero(~now.items.removed))


def _kept(meta: Meta) -> dict[str, Any]:
    """What a rebuild does not change."""
    return meta.model_dump(include={"image_space", "model", "catalogue", "left_out", "whole"})


def _meta(tuned: Tuned, target: Target, points: Sequence[Point], **about: Any) -> Meta:
    return Meta(
        factory=tuned.factory, faiss=FAISS, dim=tuned.engine.dim,
        trained_on=tuned.engine.count, target=target, search_params=tuned.search_params, measured=tuned.measured,
        curve=list(points), memory_bytes=tuned.memory, **about,
    )  # fmt: skip
