"""A visual search index: pictures found by words, by a picture, by both, among items that meet conditions.

    index = Index.build(catalogue, "indexes/shop", encoder=encoder)
    index = Index.open("indexes/shop")                            or "milvus:http://10.0.0.7:19530/shop"
    index.search("striped skirt", 10, where="price<50")           [[Hit(id, score, product, attributes), ...]]
    index.search(Query((Item("1163"), "long sleeves")), 10)
    index.add(vectors); index.update(vectors); index.remove(["1163"]); index.compact()

An index is bound to the image_space of its vectors and refuses a model of another. It turns queries into vectors and
hands them to its backend, which keeps the vectors (backend.py): what is searched, changed and kept is decided there.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import SpaceError, UsageError
from clipadapt.search.backend import Backend, Change, Hit, KnownItem
from clipadapt.search.facets import Range, Values
from clipadapt.search.filters import Where, parse_all
from clipadapt.search.items import Items, Value
from clipadapt.search.meta import Meta, Target
from clipadapt.search.opening import build_backend, open_backend, refuse_target
from clipadapt.search.query import Compiler, Item, Query, QueryPart
from clipadapt.search.tune import text_queries
from clipadapt.search.vectors import Vectors, first, refuse_dims
from clipadapt.search.wishes import Signals
from clipadapt.towers.protocol import Encoder, TextEncoder
from clipadapt.towers.text_only import text_tower

_SPREAD_SAMPLE = 4096
"""Vectors that the spread of similarities is estimated from."""


class Index:
    """One version of an index, open. Made by `build` or `open`."""

    def __init__(
        self,
        backend: Backend,
        *,
        encoder: Encoder | None = None,
        model: str | None = None,
        expand: Callable[[str], Sequence[str]] | None = None,
        signals: Signals | None = None,
    ) -> None:
        self.backend = backend
        self._encoder = encoder
        self._words: TextEncoder | None = None
        self._model = model
        self._expand = expand
        self.signals = signals if signals is None else signals.first(backend.meta.dim, backend.meta.whole)
        """What pictures say of values that queries wish for; None: labels alone."""
        self._loading = threading.RLock()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | None = None,
        model: str | None = None,
        expand: Callable[[str], Sequence[str]] | None = None,
        signals: Signals | None = None,
        mapped: bool = True,
        verify: bool = True,
    ) -> Self:
        """The current version.

        Args:
            path: a folder, or milvus:URI/COLLECTION.
            encoder: encodes texts and pictures; when not given, the MODEL the index remembers is loaded when needed.
            model: a MODEL string in place of the one remembered.
            expand: text -> the texts whose mean is searched for, such as a prompts file's templates and synonyms.
            signals: what pictures say of values that queries wish for (wishes.py); None: labels alone.
            mapped: pages come into memory as they are used; False reads everything now.
            verify: compares every file's sha256, which reads all of them; False compares sizes alone.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
            SpaceError: the encoder is of another image_space.
        """
        backend = open_backend(path, mapped=mapped, verify=verify)
        index = cls(backend, encoder=encoder, model=model, expand=expand, signals=signals)
        index._check_parts()
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
        dims: int | None = None,
        shards: int | None = None,
    ) -> Self:
        """Embeds if need be, trains, adds, measures, and writes a new version at `out`.

        Args:
            source: vectors from `embed`, or a catalogue whose pictures `encoder` encodes.
            texts: queries that recall is measured with, or their vectors; None makes some up from the items' values.
            shown: the data section of the catalogue that shows the items, remembered for `clipadapt serve`.
            dims: how many of the first dimensions to keep, which does little harm where training was for it
                (`loss.dims`); None: all. Queries are cut alike.
            shards: folders that items are divided among; None: as many as the index that is there has, else one.

        Raises:
            UsageError: a vector without direction, a factory that cannot be, a catalogue without an encoder.
            SpaceError: the encoder is not the one that made the vectors.
            StoreError: the disk refuses; an index that was there stays as it was.
        """
        refuse_target(out, shards)
        if isinstance(source, Catalogue):
            if encoder is None:
                raise UsageError("an index of a catalogue needs an encoder; load one, or give vectors")
            if dims is not None:
                refuse_dims(dims, encoder.dim)
            from clipadapt.search.embed import embed_pictures  # torch, which nothing else here needs

            source = embed_pictures(encoder, source)
        if encoder is not None and encoder.image_space != source.image_space:
            raise SpaceError(_space_mismatch(encoder.name, encoder.image_space, "these vectors", source.image_space))
        source = source if dims is None else source.shortened(dims)
        queries = text_queries(texts, source, encoder, seed)
        backend = build_backend(
            source, out, factory=factory, target=target, texts=queries, shown=shown, seed=seed, shards=shards
        )
        return cls(backend, encoder=encoder)

    def __len__(self) -> int:
        """Items that can be found."""
        return len(self.backend)

    @property
    def meta(self) -> Meta:
        """What the index is bound to, how it was made, and what was measured."""
        return self.backend.meta

    @property
    def model(self) -> str:
        """The MODEL string that encodes queries: the one named on opening, else the one that made the vectors.

        Raises:
            UsageError: none is known, or its folder is not there.
        """
        return self._model or self.backend.model()

    @property
    def columns(self) -> Mapping[str, str]:
        """What a filter can ask about, and the kind of each: whole, number, date, list or text."""
        return self.backend.columns

    @property
    def items(self) -> Items:
        """The item table: for reading all of it, such as a vocabulary, and not in the course of a search."""
        return self.backend.items

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
        compiled = self._compiler(encoder).compile([Query.of(part) for part in _several(queries)])
        return self.backend.search(compiled, k, parse_all(where), collapse)

    def count(self, where: Where) -> int:
        """How many items meet the conditions.

        Raises:
            UsageError: a condition at fault.
        """
        return self.backend.count(parse_all(where))

    def unmatched_filters(self, where: Where) -> list[str]:
        """Conditions that ask for a value no item has, each with the nearest that some have."""
        return self.backend.unmatched(parse_all(where))

    def facets(self, where: Where = None, most: int = 20) -> list[Values | Range]:
        """For every column what the items under some conditions hold, `most` values of each (facets.py).

        Raises:
            UsageError: a condition at fault.
        """
        return self.backend.facets(parse_all(where), most)

    def ids(self) -> list[str]:
        """Ids of all items that can be found."""
        return self.backend.ids()

    def values(self, column: str) -> list[Value | None]:
        """A column's cells, one per item in the order of `ids`; None where unknown.

        Raises:
            KeyError: no such column.
        """
        return self.backend.values(column)

    def holds(self, item: str) -> bool:
        """Whether an item can be found."""
        return self.backend.holds(item)

    def item(self, item: str) -> KnownItem:
        """Product and attributes of an item.

        Raises:
            UsageError: it was never added, or removed.
        """
        return self.backend.item(item)

    def vector(self, item: str) -> Float[np.ndarray, " dim"]:
        """An item's vector.

        Raises:
            UsageError: it was never added, or removed.
        """
        return self.backend.vector(item)

    def cut(self, vector: Float[np.ndarray, " whole"]) -> Float[np.ndarray, " dim"]:
        """A picture's vector by the index's model, in as many dimensions as the index keeps."""
        return first(vector, self.meta.dim) if len(vector) == self.meta.whole else vector

    def encoded(self, query: QueryPart | Query) -> Float[np.ndarray, " dim"]:
        """The vector that a query is searched with.

        Raises:
            UsageError, SpaceError: as `search`.
        """
        return self._compiler(None).compile([Query.of(query)])[0].vector

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
        return self.backend.remove(ids)

    def tune(self, target: Target, factories: Sequence[str] | None = None, seed: int = 0) -> None:
        """Rebuilds from the index's own vectors, removed items left out, with the quickest factory for the target.

        Raises:
            UsageError: no factory reaches the target; the index stays as it was.
            StoreError: as `add`.
        """
        self.backend.tune(target, factories, seed)

    def compact(self, seed: int = 0) -> str | None:
        """Puts what was added into the quick form, or rebuilds: "seal", "rebuild", or None where nothing is due.

        Searches and changes may go on meanwhile, in this process or others.

        Raises:
            StoreError: as `add`, or the index was rebuilt or a change taken back meanwhile; it stays as it was.
        """
        return self.backend.compact(seed)

    def refresh(self) -> bool:
        """Opens what others have changed since; whether there was anything."""
        return self.backend.refresh()

    def newer(self) -> Self | None:
        """What others have changed since, opened as another Index; this one stays at its version. None: nothing.

        What threads that share an index need: one that is refreshed under a search may answer from two versions.

        Raises:
            StoreError: it cannot be read.
            SpaceError: it was built anew with another model.
        """
        backend = self.backend.newer()
        if backend is None:
            return None
        other = type(self)(backend, encoder=self._encoder, model=self._model, expand=self._expand, signals=self.signals)
        other._words = self._words
        other._check_parts()
        return other

    def rollback(self) -> str:
        """Takes back the last change: the version before becomes the current one; gives its name.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        return self.backend.rollback()

    def rebuild_due(self) -> list[str]:
        """Why `tune` should be run; empty when it need not be."""
        return self.backend.due()

    def _extend(self, more: Vectors, *, replace: bool) -> Change:
        self._check_space(more.image_space, more.model or "these vectors")
        return self.backend.upsert(more, replace=replace)

    def _spread(self, vector: Float[np.ndarray, " dim"]) -> float:
        """Standard deviation of a vector's similarities to the catalogue, over a sample of it."""
        sample = self.backend.sample(_SPREAD_SAMPLE)
        return float((sample @ vector).std()) if len(sample) > 1 else 1.0

    def _compiler(self, encoder: Encoder | None) -> Compiler:
        def chosen() -> Encoder:
            if encoder is not None:
                self._check_space(encoder.image_space, encoder.name)
            return encoder or self._default_encoder()

        def words() -> TextEncoder:
            return self._text_encoder() if encoder is None else chosen()

        return Compiler(
            self.meta.dim, words, chosen, self.vector, self._spread, self._expand, self.signals, self.meta.whole
        )

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

    def _check_parts(self) -> None:
        """Whether what queries are encoded and read with is of the index's space."""
        if self.signals is not None:
            self.signals.require(self.meta.image_space, self.backend.name)
        if self._encoder is not None:
            self._check_space(self._encoder.image_space, self._encoder.name)

    def _check_space(self, space: str, owner: str) -> None:
        if space != self.meta.image_space:
            raise SpaceError(_space_mismatch(owner, space, f"index {self.backend.name}", self.meta.image_space))


def _several(queries: QueryPart | Query | Sequence[QueryPart | Query]) -> Sequence[QueryPart | Query]:
    if isinstance(queries, str | Image.Image | Item | Query):
        return [queries]
    if isinstance(queries, np.ndarray):
        return [queries] if queries.ndim == 1 else list(queries)
    return queries


def _space_mismatch(first: str, first_space: str, second: str, second_space: str) -> str:
    return (
        f"{first}: {first_space}, but {second}: {second_space}; vectors of two image spaces cannot be compared; "
        "use the model that the index was built with, or build the index again"
    )
