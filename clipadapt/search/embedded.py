"""The engine that runs inside the process: FAISS files and an item table in versioned folders (backend.py).

    Embedded.build(vectors, "indexes/shop", texts=texts)        writes a version
    Embedded("indexes/shop").search(compiled, 10)

Every change is a new version on the store: it is there whole or not at all, and readers keep the one they opened. Items
lie in one folder of it, or are divided among several (shards.py), which are searched at once and answer as one.
How vectors are searched is engine.py's business, what a version holds is contents.py's.
"""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from clipadapt.config import Data
from clipadapt.errors import SpaceError, StoreError, UsageError
from clipadapt.search import building, changes, compaction
from clipadapt.search.backend import Change, Changed, Hit, KnownItem
from clipadapt.search.columns import Column
from clipadapt.search.contents import Contents, Segment, unit_lengths, unit_vectors
from clipadapt.search.engine import Engine
from clipadapt.search.facets import Range, Values, facets
from clipadapt.search.faiss_version import check_faiss
from clipadapt.search.filters import Condition, unmatched
from clipadapt.search.items import Items, Value
from clipadapt.search.meta import Meta, Target
from clipadapt.search.models import model_of, remembered
from clipadapt.search.query import CompiledQuery
from clipadapt.search.searcher import Searcher
from clipadapt.search.segments import Segments
from clipadapt.search.shards import Sharded, Version
from clipadapt.search.shown import remembered_catalogue
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
        shards: int = 1,
    ) -> None:
        """Trains, adds, measures, and writes a new version at `out`.

        Args:
            shards: folders that the items are divided among (shards.py), of which one is in memory at a time.
            texts: vectors of queries that recall is measured with; None: of pictures alone.
            shown: the data section of the catalogue that shows the items (shown.py).

        Raises:
            UsageError: a vector without direction, or a factory that cannot be.
            StoreError: the disk refuses; an index that was there stays as it was.
        """
        dim = source.vectors.shape[-1]
        queries = np.empty((0, dim), np.float32) if texts is None else texts
        form = building.Form(factory, target or Target(), queries, seed)
        versions = Versions(out)
        store = versions.store
        about = {
            "image_space": source.image_space,
            "model": source.model and remembered(source.model, store.root),
            "catalogue": remembered_catalogue(shown, store.root) if shown is not None else None,
            "left_out": len(source.broken),
            "whole": source.whole,
        }
        source = source.kept()
        if shards == 1:
            with versions.refused():
                contents = building.built(source, form, about, store.root)
            versions.write(contents)
            return
        lengths = unit_lengths(source.vectors, source.items)  # before anything is written
        made: list[Sharded] = []

        def fill(folder: Path) -> None:
            with versions.refused():
                made.append(building.divided(source, lengths, shards, form, about, folder))

        with store.prepare(fill) as files:
            versions.write(made[0], prepared=files)

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
            for shard in self._searcher.contents.shards.values():
                check_faiss(shard, self.name)
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
        vectors = np.asarray(unit_vectors(self.meta.fitting(more.kept()).vectors, more.items))
        if vectors.shape[1] != self.meta.dim:
            raise SpaceError(f"vectors of {vectors.shape[1]} dimensions for an index of {self.meta.dim}")
        replaced = 0

        def edit(now: Version) -> Version:
            nonlocal replaced
            edited, replaced = changes.added(now, more.items, vectors, replace=replace)
            return edited

        self._change(edit)
        return self._changed(len(more.items), replaced)

    def remove(self, ids: Sequence[str]) -> Change:
        """See backend.py; their vectors stay until the index is rebuilt."""
        if len(set(ids)) < len(ids):
            raise UsageError("an id is named twice; name each item to remove once")
        self._change(lambda now: changes.removed(now, ids))
        return self._changed(0, len(ids))

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """Rebuilds from the index's own vectors, removed items left out, with the quickest factory for the target.

        Of several shards the largest chooses the factory, with its share of the memory, and each its search parameters.

        Raises:
            UsageError: no factory reaches the target; the index stays as it was.
            StoreError: the disk refuses, or another process is writing.
        """
        now = self._versions.read(mapped=self._mapped, verify=True)  # what it is made of gets new checksums
        self._install(lambda folder: building.tuned(now, target, factories, seed, folder))

    def compact(self, seed: int = 0) -> compaction.Plan | None:
        """Puts what was added into cells, or rebuilds everything when it is time; says what was done.

        Shards are compacted one after the other. Others search and change meanwhile; what they change is carried over.

        Raises:
            StoreError: the disk refuses, or the index was rebuilt or taken back meanwhile; it stays as it was.
        """
        self.refresh()
        if not self.compaction_due():
            return None
        whole = self._versions.read(mapped=self._mapped, verify=False)
        done: list[compaction.Plan] = []
        for inside in whole.shards:
            now = self._versions.read(mapped=self._mapped, verify=False)  # the shard before may have changed it
            shard = now.shards.get(inside)
            if shard is not None and (planned := compaction.plan(shard)) is not None:
                used = shard.segments if planned == "rebuild" else shard.segments[1:]
                self._versions.verify([inside + name for one in used for name in one.files])  # they get new checksums
                self._compact_shard(shard, inside, planned, seed)
                done.append(planned)
        return "rebuild" if "rebuild" in done else done[0] if done else None

    def _compact_shard(self, shard: Contents, inside: str, planned: compaction.Plan, seed: int) -> None:
        def fresh_copy(segment: Segment) -> Engine:
            return Engine.read(self._versions.store.current() / inside / segment.files[0], mapped=False)

        def make(folder: Path) -> dict[str, compaction.Work]:
            return {inside: building.compacted(shard, planned, fresh_copy, seed, folder / inside)}

        self._install(make)

    def compaction_due(self) -> bool:
        """See backend.py."""
        return any(compaction.plan(one) is not None for one in self._searcher.contents.shards.values())

    def due(self) -> list[str]:
        """See backend.py."""
        return [
            f"{inside.rstrip('/')}: {reason}" if inside else reason
            for inside, one in self._searcher.contents.shards.items()
            for reason in one.meta.rebuild_due(one.items.rows, int(one.items.removed.sum()))
        ]

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
        return changes.differing(before._searcher.contents, self._searcher.contents)

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

    def _install(self, make: Callable[[Path], dict[str, compaction.Work]]) -> None:
        """Puts what `make` builds of some shards, and writes into a folder, into the version that is current then."""
        works: dict[str, compaction.Work] = {}

        def fill(folder: Path) -> None:
            with self._versions.refused():
                works.update(make(folder))

        with self._versions.store.prepare(fill) as prepared:
            edits = {inside: compaction.install(work) for inside, work in works.items()}

            def edit(now: Version) -> Version:
                if not edits.keys() <= now.shards.keys():
                    raise StoreError(f"{self.name}: was built anew meanwhile; nothing was changed, do it again")
                return now.replaced({inside: edits[inside](now.shards[inside]) for inside in edits})

            self._change(edit, prepared=prepared)
        self._load(verify=False)  # with the new segments as files of the version

    def _change(self, edit: Callable[[Version], Version], prepared: Path | None = None) -> None:
        self._use(self._versions.change(edit, prepared=prepared, mapped=self._mapped))

    def _load(self, *, verify: bool) -> None:
        self._use(self._versions.read(mapped=self._mapped, verify=verify))

    def _use(self, contents: Version) -> None:
        self._searcher = Searcher(contents, getattr(self, "_searcher", None))
        self._checked = False
