"""A visual search index: pictures found by words, by a picture, by both, among items that meet conditions.

    index = Index.build(catalogue, "indexes/shop", encoder=encoder)
    index = Index.open("indexes/shop")
    index.search("striped skirt", 10, where="price<50")           [[Hit(id, score, product, attributes), ...]]
    index.search(Query((Item("1163"), "long sleeves")), 10)
    index.add(vectors); index.update(vectors); index.remove(["1163"]); index.tune(Target(memory_mb=200))

Every change is a new version on the store: it is there whole or not at all, and readers keep the one they opened.
An index is bound to the image_space of its vectors and refuses a model of another. The trade: a change writes all
files again (a removal one small file), so changes are for batches. How vectors are searched is the engine's business.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipadapt.atomic import refuse_unwritable
from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import SpaceError, UsageError
from clipadapt.search.contents import Contents, unit_vectors
from clipadapt.search.engine import FAISS, Engine
from clipadapt.search.factory import choose_factory
from clipadapt.search.faiss_version import check_faiss
from clipadapt.search.filters import Where, parse_all, unmatched
from clipadapt.search.items import Items
from clipadapt.search.meta import Meta, Target
from clipadapt.search.models import model_of, remembered
from clipadapt.search.query import Compiler, Item, Query, QueryPart
from clipadapt.search.recall import Point
from clipadapt.search.searcher import Hit, Searcher
from clipadapt.search.shown import remembered_catalogue
from clipadapt.search.tune import QUERIES, Tuned, choose, choose_params, remeasure, sample_texts
from clipadapt.search.vectors import Vectors
from clipadapt.search.versions import Versions
from clipadapt.towers.protocol import Encoder, TextEncoder
from clipadapt.towers.text_only import text_tower

log = logging.getLogger(__name__)

_REMEASURED = 0.05
"""Growth since recall was last measured, from which an addition measures it again."""


class Change(NamedTuple):
    """What a change did, and how many items can be found after it."""

    added: int
    removed: int
    items: int
    due: tuple[str, ...]
    """Why the index should be rebuilt; empty when it need not be."""


class Index:
    """One version of an index, open. Made by `build` or `open`."""

    def __init__(
        self,
        versions: Versions,
        *,
        encoder: Encoder | None = None,
        model: str | None = None,
        expand: Callable[[str], Sequence[str]] | None = None,
        mapped: bool = True,
        verify: bool = True,
    ) -> None:
        self._versions = versions
        self._encoder = encoder
        self._words: TextEncoder | None = None
        self._model = model
        self._expand = expand
        self._mapped = mapped
        self._loading = threading.RLock()
        self._load(verify=verify)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | None = None,
        model: str | None = None,
        expand: Callable[[str], Sequence[str]] | None = None,
        mapped: bool = True,
        verify: bool = True,
    ) -> Self:
        """The current version.

        Args:
            encoder: encodes texts and pictures; when not given, the MODEL the index remembers is loaded when needed.
            model: a MODEL string in place of the one remembered.
            expand: text -> the texts whose mean is searched for, such as a prompts file's templates and synonyms.
            mapped: pages come into memory as they are used; False reads everything now.
            verify: compares every file's sha256, which reads all of them; False compares sizes alone.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
            SpaceError: the encoder is of another image_space.
        """
        index = cls(Versions(path), encoder=encoder, model=model, expand=expand, mapped=mapped, verify=verify)
        if encoder is not None:
            index._check_space(encoder.image_space, encoder.name)
        return index

    @classmethod
    def build(
        cls,
        source: Vectors | Catalogue,
        out: str | Path,
        *,
        encoder: Encoder | None = None,
        factory: str = "auto",
        target: Target | None = None,
        texts: Sequence[str] | Float[np.ndarray, "texts dim"] | None = None,
        shown: Data | None = None,
        seed: int = 0,
    ) -> Self:
        """Embeds if need be, trains, adds, measures, and writes a new version at `out`.

        Args:
            source: vectors from `embed`, or a catalogue whose pictures `encoder` encodes.
            texts: queries that recall is measured with, or their vectors; None makes some up from the items' values.
            shown: the data section of the catalogue that shows the items, remembered for `clipadapt serve`.

        Raises:
            UsageError: a vector without direction, a factory that cannot be, a catalogue without an encoder.
            SpaceError: the encoder is not the one that made the vectors.
            StoreError: the disk refuses; an index that was there stays as it was.
        """
        refuse_unwritable(out)
        if isinstance(source, Catalogue):
            if encoder is None:
                raise UsageError("an index of a catalogue needs an encoder; load one, or give vectors")
            from clipadapt.search.embed import embed_pictures  # torch, which nothing else here needs

            source = embed_pictures(encoder, source)
        if encoder is not None and encoder.image_space != source.image_space:
            raise SpaceError(_space_mismatch(encoder.name, encoder.image_space, "these vectors", source.image_space))
        vectors = unit_vectors(source.vectors, source.items)
        text_queries = _text_vectors(texts, source.items, encoder, vectors.shape[1], seed)
        chosen = choose_factory(*vectors.shape) if factory == "auto" else factory
        target = target or Target()
        tuned = choose_params(Engine.build(vectors, chosen, seed), chosen, target, text_queries, seed)
        versions = Versions(out)
        model = source.model and remembered(source.model, versions.store.root)
        catalogue = remembered_catalogue(shown, versions.store.root) if shown is not None else None
        meta = _meta(
            tuned, target, tuned.points,
            image_space=source.image_space, model=model, catalogue=catalogue, left_out=len(source.broken),
        )  # fmt: skip
        versions.write(Contents(tuned.engine, source.items, meta, text_queries))
        return cls(versions, encoder=encoder, verify=False)

    def __len__(self) -> int:
        """Items that can be found."""
        return len(self.items)

    @property
    def meta(self) -> Meta:
        """What the index is bound to, how it was made, and what was measured."""
        return self._searcher.meta

    @property
    def model(self) -> str:
        """The MODEL string that encodes queries: the one named on opening, else the one that made the vectors.

        Raises:
            UsageError: none is known, or its folder is not there.
        """
        return self._model or model_of(self.meta.model, self._versions.store.root)

    @property
    def engine(self) -> Engine:
        """The vectors, by vector id."""
        return self._searcher.engine

    @property
    def items(self) -> Items:
        """The item table, by vector id."""
        return self._searcher.items

    def search(
        self,
        queries: QueryPart | Query | Sequence[QueryPart | Query],
        k: int = 10,
        *,
        where: Where = None,
        collapse: bool = True,
        encoder: Encoder | None = None,
    ) -> list[list[Hit]]:
        """The k best items of each query, best first; fewer when fewer match.

        Args:
            queries: one or several of: words, a picture, an Item, a Query, a vector [dim], vectors [queries, dim].
            where: conditions that results meet, see filters.py.
            collapse: one result per product, its best item; near-duplicates are the rule among a product's pictures.
            encoder: in place of the index's own.

        Raises:
            UsageError: k below 1, a query or condition at fault, an item that is not there.
            SpaceError: an encoder or vectors of another space.
            StoreError: an older faiss finds less in this index than was measured.
        """
        if k < 1:
            raise UsageError(f"k is {k}; ask for 1 result or more")
        if not self._checked:  # here and not on opening, so that `tune` can mend an index
            check_faiss(self._searcher.contents, str(self._versions))
            self._checked = True
        compiled = self._compiler(encoder).compile([Query.of(part) for part in _several(queries)])
        return self._searcher.search(compiled, k, parse_all(where), collapse)

    def count(self, where: Where) -> int:
        """How many items meet the conditions.

        Raises:
            UsageError: a condition at fault.
        """
        selection = self._searcher.selection(parse_all(where))
        return len(self) if selection is None else selection.count

    def unmatched_filters(self, where: Where) -> list[str]:
        """Conditions that ask for a value no item has, each with the nearest that some have."""
        found = (unmatched(self.items, condition) for condition in parse_all(where))
        return [line for line in found if line]

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """An item's vector.

        Raises:
            UsageError: it was never added, or removed.
        """
        return self._searcher.vector(item)

    def add(self, more: Vectors) -> Change:
        """New items.

        Raises:
            SpaceError: vectors of another space.
            UsageError, CatalogueError: an id that is there already, a vector without direction, cells that do not fit.
            StoreError: the disk refuses, or another process is writing; the index stays as it was.
        """
        return self._extend(more, replace=False)

    def update(self, more: Vectors) -> Change:
        """As `add`, but items that are there already are replaced."""
        return self._extend(more, replace=True)

    def remove(self, ids: Sequence[str]) -> Change:
        """Items that are not to be found any more; their vectors stay until the index is rebuilt.

        Raises:
            UsageError: an id that is not in the index, or named twice.
            StoreError: as `add`.
        """
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
            StoreError: as `add`.
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

    def rebuild_due(self) -> list[str]:
        """Why `tune` should be run; empty when it need not be."""
        return self.meta.rebuild_due(self.items.rows, int(self.items.removed.sum()))

    def _extend(self, more: Vectors, *, replace: bool) -> Change:
        self._check_space(more.image_space, more.model or "these vectors")
        vectors = unit_vectors(more.vectors, more.items)
        if vectors.shape[1] != self.meta.dim:
            raise SpaceError(f"vectors of {vectors.shape[1]} dimensions for an index of {self.meta.dim}")
        ids = more.items.table.column("id").to_pylist()
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

    def _changed(self, added: int, removed: int) -> Change:
        due = tuple(self.rebuild_due())
        for reason in due:
            log.warning("%s: a rebuild is due, for %s; run clipadapt index tune", self._versions, reason)
        return Change(added, removed, len(self), due)

    def _load(self, *, verify: bool) -> None:
        self._searcher = Searcher(self._versions.read(mapped=self._mapped, verify=verify))
        self._checked = False

    def _compiler(self, encoder: Encoder | None) -> Compiler:
        def chosen() -> Encoder:
            if encoder is not None:
                self._check_space(encoder.image_space, encoder.name)
            return encoder or self._default_encoder()

        def words() -> TextEncoder:
            return self._text_encoder() if encoder is None else chosen()

        return Compiler(self.meta.dim, words, chosen, self._searcher.vector, self._searcher.spread, self._expand)

    def _text_encoder(self) -> TextEncoder:
        """The whole encoder where it is loaded already, else the text tower alone where that can be had."""
        with self._loading:
            if self._encoder is None and self._words is None:
                self._words = text_tower(self.model, self.meta.image_space)
            return self._words if self._encoder is None and self._words is not None else self._default_encoder()

    def _default_encoder(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                from clipadapt.towers.load import load  # torch, which a search by items or vectors does not need

                encoder = load(self.model)
                self._check_space(encoder.image_space, self.model)
                self._encoder = encoder
            return self._encoder

    def _check_space(self, space: str, owner: str) -> None:
        if space != self.meta.image_space:
            raise SpaceError(_space_mismatch(owner, space, f"index {self._versions}", self.meta.image_space))


def _several(queries: QueryPart | Query | Sequence[QueryPart | Query]) -> Sequence[QueryPart | Query]:
    if isinstance(queries, str | Image.Image | Item | Query):
        return [queries]
    if isinstance(queries, np.ndarray):
        return [queries] if queries.ndim == 1 else list(queries)
    return queries


def _text_vectors(
    texts: Sequence[str] | np.ndarray | None, items: Items, encoder: Encoder | None, dim: int, seed: int
) -> Float[np.ndarray, "texts dim"]:
    if isinstance(texts, np.ndarray):
        return np.ascontiguousarray(texts, np.float32)
    queries = list(texts) if texts is not None else sample_texts(items, QUERIES, seed)
    if encoder is None or encoder.context_length is None or not queries:
        return np.empty((0, dim), np.float32)
    return encoder.encode_texts(queries).cpu().numpy()


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


def _space_mismatch(first: str, first_space: str, second: str, second_space: str) -> str:
    return (
        f"{first}: {first_space}, but {second}: {second_space}; vectors of two image spaces cannot be compared; "
        "use the model that the index was built with, or build the index again"
    )
