"""A catalogue: one split of a source, its rows in a fixed order, attribute cells as text, pictures on demand.

    catalogue = Catalogue.load("shop", "train", attributes=["Pattern", "Sleeve Length"])
    catalogue.values("Pattern")       # ["Striped", None, ...]; None: nobody knows, which is not "no pattern"
    catalogue.row(3)                  # {"name": "...", "Pattern": "Striped", ...} for captions
    catalogue.picture(3)              # upright RGB
    catalogue.subset(indices)         # shares everything with its parent

Every cell is text as it was written, a CSV's "007" and "None" included; cells that mean nobody knows become "", and
spellings that cannot be told apart by eye become one (see clipadapt.data.spelling). A column of lists is multi-valued
without being declared so. The trade: numbers are parsed by whoever compares them. Nothing here knows of models, prompts
or what a split is for.
"""

import functools
import hashlib
import logging
import operator
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self, SupportsIndex, runtime_checkable

import numpy as np
import pyarrow as pa
from PIL import Image

from clipadapt.data.cells import TextTable, text_table
from clipadapt.data.columns import Roles, choose_columns, near
from clipadapt.data.decode import PREPARED, Decoding, PixelPolicy, decode, require_policy
from clipadapt.data.deep import Limits
from clipadapt.data.folders import Rows
from clipadapt.data.items import item_ids
from clipadapt.data.pictures import Pictures, content_digest
from clipadapt.data.policy import Policy, Use
from clipadapt.data.sources import Source, open_source
from clipadapt.data.spelling import Normalise
from clipadapt.data.values import Attribute, Cells
from clipadapt.errors import CatalogueError

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where a person finds an item."""

    file: str
    row: int
    """As a text editor counts where the file is text (the header is row 1), else counted from 1."""
    picture: str
    """The picture's file name, "" when it has none."""

    def __str__(self) -> str:
        return f"{self.file}, row {self.row}" + (f" ({self.picture})" if self.picture else "")


@runtime_checkable
class Decoded(Protocol):
    """Decoded pictures by row, such as a prepared cache."""

    def picture(self, row: int) -> Image.Image: ...

    def require(self, preprocess: PixelPolicy) -> None:
        """Refuses a tower that wants other pixels."""
        ...


_DECODINGS: "weakref.WeakKeyDictionary[Source, dict[tuple, Decoding]]" = weakref.WeakKeyDictionary()


def decoding_of(source: Source, image: str, limits: Limits | None, bands: tuple[int, ...] | None) -> Decoding:
    """How a source's pictures become 8 bits: one for all its splits, so that training and measuring see the same.

    Without `limits` they are found from the pictures of its first split.
    """
    known = _DECODINGS.setdefault(source, {})
    key = (image, limits, bands)
    if key not in known:
        known[key] = Decoding(limits, bands, functools.partial(_first_pictures, source, image))
    return known[key]


def _first_pictures(source: Source, image: str) -> Pictures:
    return source.read(source.splits()[0], image).pictures


class Catalogue(Cells):
    """One split of a source. Made by `load`, `subset` or `splits.load_splits`."""

    def __init__(
        self,
        rows: Rows,
        texts: TextTable,
        roles: Roles,
        *,
        source: str,
        split: str,
        attributes: Sequence[Attribute],
        unknown: Sequence[str],
        decoding: Decoding | None = None,
        normalise: Normalise = "spaces",
    ) -> None:
        super().__init__(texts, rows.file, attributes=attributes, unknown=unknown, normalise=normalise)
        self.source = source
        self.split = split
        self.product_column = roles.product
        """Column of products; None when every item is a product of its own."""
        self.id_column = roles.id
        """Column of ids; None where file names or row numbers stand for them, which say nothing across splits."""
        self.grouped_by: str | None = None
        """What stands for products where no column names them, in words for a report."""
        self.ids = item_ids(rows, texts.table, roles.id, split)
        self.left_out: tuple[str, ...] = ()
        """What was left out when this catalogue was made, a line each: broken pictures that `data.broken` counts."""
        self.policy: Policy | None = None
        """Which licences allow which use; None: all do."""
        self.kept_out: tuple[str, ...] = ()
        """What a policy kept out when this catalogue was made, counted by licence, a line for each use."""
        self.prepared: Decoded | None = None
        """Cache that `picture` reads from; None decodes the original."""
        self._prepared_rows = np.arange(0)
        self.pictures = rows.pictures
        """Encoded pictures by index, whose errors do not name the item."""
        self.decoding = decoding or Decoding(sample=lambda: rows.pictures)
        """How pictures become 8 bits; one for all splits of a source."""
        self.resized_by = rows.policy
        """The policy that the source's pictures were resized by when it was written; None: they are originals."""
        self._lines = np.arange(1, len(self.ids) + 1) if rows.lines is None else rows.lines
        self.products = self._own_products()

    @classmethod
    def load(
        cls,
        source: str | Path,
        split: str = "train",
        *,
        attributes: Sequence[str | Attribute] | None = None,
        product: str | None = "product",
        id: str | None = None,  # noqa: A002 - the key's name in a config
        image: str = "image",
        unknown: Sequence[str] = ("", "NA"),
        normalise: Normalise = "spaces",
        revision: str | None = None,
        limits: Limits | None = None,
        bands: tuple[int, ...] | None = None,
    ) -> Self:
        """Loads one split of whatever `datasets.load_dataset` loads; no picture is read.

        `attributes` None declares none; `values` and its kin answer for any column all the same. `limits` and `bands`
        say how pictures of more than 8 bits or three bands are seen, as data.range and data.bands of a config do.

        Raises:
            CatalogueError: no such source, split or column, no rows, an id used twice, or no attribute known at all.
        """
        return cls.of(
            open_source(source, revision),
            split,
            attributes=attributes,
            product=product,
            id=id,
            image=image,
            unknown=unknown,
            limits=limits,
            bands=bands,
            normalise=normalise,
        )

    @classmethod
    def of(
        cls,
        source: Source,
        split: str = "train",
        *,
        attributes: Sequence[str | Attribute] | None = None,
        product: str | None = "product",
        id: str | None = None,  # noqa: A002 - the key's name in a config
        image: str = "image",
        unknown: Sequence[str] = ("", "NA"),
        limits: Limits | None = None,
        bands: tuple[int, ...] | None = None,
        normalise: Normalise = "spaces",
    ) -> Self:
        """As `load`, from a source that is already open."""
        declared = [Attribute(item) if isinstance(item, str) else item for item in attributes or ()]
        rows = source.read(split, image)
        if not len(rows.pictures):
            raise CatalogueError(f"{rows.file}: split {split!r} is empty; add rows or name another split")
        texts = text_table(rows.table, {item.name: item.separator for item in declared})
        roles = choose_columns(
            texts.table.column_names,
            rows.file,
            attributes=[item.name for item in declared],
            product=product,
            item_id=id,
            left_out=texts.left_out,
        )
        catalogue = cls(
            rows, texts, roles, source=source.name, split=split, attributes=declared, unknown=unknown,
            normalise=normalise, decoding=decoding_of(source, image, limits, bands),
        )  # fmt: skip
        if declared and not catalogue.labelled().any():
            raise CatalogueError(
                f"{rows.file}: not one item of split {split!r} has a known value of "
                f"{', '.join(item.name for item in declared)}; fill in cells, or check data.unknown"
            )
        return catalogue

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Catalogue({self.source!r}, {self.split!r}: {len(self)} items, {len(set(self.products))} products)"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of every cell, the order of the rows, and the size in bytes of every picture.

        Picture contents are not read: one replaced by another of exactly its size goes unnoticed here, not by a
        prepared cache, which knows digests. The same on every machine that holds the same files.
        """
        hasher = hashlib.sha256()
        for name in ("", *sorted(self.columns)):
            texts = self.ids if name == "" else self.texts(name)
            for text in (name, *texts):
                hasher.update(len(encoded := text.encode()).to_bytes(8, "little") + encoded)
        hasher.update("\0".join(self.products.tolist()).encode() + self.pictures.sizes().tobytes())
        return hasher.hexdigest()

    def labelled(self) -> np.ndarray:
        """Which items have a known value of at least one declared attribute; bool[n]."""
        known = np.zeros(len(self), bool)
        for attribute in self.attributes:
            known |= np.array([bool(values) for values in self.value_sets(attribute.name)])
        return known

    def picture(self, index: SupportsIndex) -> Image.Image:
        """The picture, upright and RGB, from the prepared cache when one is attached.

        Raises:
            CatalogueError: it is missing or broken; the message names item, file and remedy.
        """
        if self.prepared is not None:
            return self.prepared.picture(int(self._prepared_rows[operator.index(index)]))
        data = self.picture_bytes(index)
        try:
            picture = decode(data, self.decoding)
        except CatalogueError as error:
            raise CatalogueError(self._blame(index, error)) from error
        if self.resized_by is not None:
            picture.info[PREPARED] = self.resized_by
        return picture

    def require(self, preprocess: PixelPolicy) -> None:
        """Refuses a tower that wants other pixels than a prepared cache, or a source of resized pictures, holds.

        Raises:
            CatalogueError: another policy; every difference is named.
        """
        if self.prepared is not None:
            self.prepared.require(preprocess)
        elif self.resized_by is not None:
            require_policy(self.resized_by, preprocess, self.source)

    def picture_key(self, index: SupportsIndex) -> str:
        """Hash of what decides the picture's pixels: its file, and how this catalogue decodes it."""
        data = self.picture_bytes(index)
        return hashlib.blake2b(f"{content_digest(data)} {self.decoding.key(data)}".encode(), digest_size=16).hexdigest()

    def picture_bytes(self, index: SupportsIndex) -> bytes:
        """The encoded file.

        Raises:
            CatalogueError: it is missing; the message names item, file and remedy.
        """
        try:
            return self.pictures.read(operator.index(index))
        except CatalogueError as error:
            raise CatalogueError(self._blame(index, error)) from error

    def place(self, index: SupportsIndex) -> Place:
        """Where a person finds the item."""
        at = operator.index(index)
        return Place(self._file, int(self._lines[at]), self.pictures.name(at))

    def subset(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Those items, in that order; an index may come twice. Nothing is copied but the texts."""
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size and (chosen.min() < -len(self) or chosen.max() >= len(self)):
            raise IndexError(f"indices reach from {chosen.min()} to {chosen.max()} in a catalogue of {len(self)}")
        chosen = chosen % max(len(self), 1)
        part = object.__new__(type(self))
        part.__dict__.update({key: value for key, value in self.__dict__.items() if key != "fingerprint"})
        part.ids = [self.ids[index] for index in chosen]
        part.products = self.products[chosen]
        part._texts = self._texts.take(pa.array(chosen))
        part.pictures = self.pictures.take(chosen)
        part._lines = self._lines[chosen]
        part._prepared_rows = self._prepared_rows[chosen] if self.prepared is not None else self._prepared_rows
        return part

    def with_attributes(self, attributes: Sequence[Attribute]) -> Self:
        """The same items with other attributes: their cells are split and folded by what these say."""
        part = self.subset(np.arange(len(self)))
        part._declare(attributes)
        return part

    def with_known(self, known: Mapping[str, np.ndarray]) -> Self:
        """The same items with cells emptied, as where nobody knows: of column `name` all but known[name] (bool[n])."""
        part = self.subset(np.arange(len(self)))
        part._empty(known)
        return part

    def with_products(self, products: np.ndarray, grouped_by: str) -> Self:
        """The same items with other products: item i belongs to products[i]."""
        if products.shape != (len(self),):
            raise ValueError(f"{len(products)} products for {len(self)} items")
        part = self.subset(np.arange(len(self)))
        part.products, part.grouped_by = products, grouped_by
        return part

    def with_prepared(self, cache: Decoded, rows: np.ndarray) -> Self:
        """The same items, their pictures taken from `cache`: item i from its row rows[i]."""
        if rows.shape != (len(self),):
            raise ValueError(f"{len(rows)} cache rows for {len(self)} items")
        part = self.subset(np.arange(len(self)))
        part.prepared, part._prepared_rows = cache, rows
        return part

    def without(self, broken: dict[int, str]) -> Self:
        """All items but those, whose reasons are kept in `left_out`."""
        part = self.subset([index for index in range(len(self)) if index not in broken])
        part.left_out = (*self.left_out, *broken.values())
        return part

    def with_policy(self, policy: Policy) -> Self:
        """The same items under a policy.

        Raises:
            CatalogueError: the column of licences is not there.
        """
        if policy.column not in self.columns:
            raise CatalogueError(
                f"{self.source}: split {self.split!r} has no column {policy.column!r}, which data.policy names for "
                f"licences{near(policy.column, self.columns)}; columns are {', '.join(self.columns)}"
            )
        part = self.subset(np.arange(len(self)))
        part.policy = policy
        return part

    def permitted(self, use: Use) -> Self:
        """Those items whose licence allows a use, the others counted in `kept_out`; all where there is no policy.

        Raises:
            CatalogueError: none is.
        """
        if self.policy is None:
            return self
        licences = self.texts(self.policy.column)
        line = self.policy.kept_out(licences, use)
        if not line:
            return self
        part = self.subset(np.flatnonzero(self.policy.permits(licences, use)))
        if not len(part):
            raise CatalogueError(f"{self.source}: split {self.split!r}: {line}, which is all; see data.policy")
        part.kept_out = (*self.kept_out, line)
        log.warning("%s: split %r: %s", self.source, self.split, line)
        return part

    def table(self) -> pa.Table:
        """Item id (`id`), product (`product`) and every text column.

        A column of the source that is called id or product and plays another part gets " (source)" after its name.
        """
        columns: dict[str, pa.ChunkedArray | pa.Array] = {
            "id": pa.array(self.ids, pa.string()),
            "product": pa.array(self.products.tolist(), pa.string()),
        }
        for name in self.columns:
            column = self._texts.column(name)
            if name not in columns:
                columns[name] = column
            elif column.to_pylist() != columns[name].to_pylist():
                columns[f"{name} (source)"] = column
        return pa.table(columns)

    def _blame(self, index: SupportsIndex, error: CatalogueError) -> str:
        return f"item {self.ids[index]!r}, {self.place(index)}: {error}"

    def _own_products(self) -> np.ndarray:
        """Products as named; an item without one is a product of its own, and counted."""
        if self.product_column is None:
            return np.array(self.ids, dtype=np.str_)
        named = [name.strip() for name in self.texts(self.product_column)]
        nameless = sum(not name for name in named)
        if nameless:
            log.warning(
                "%s: %d item(s) of split %r name no product; each counts as a product of its own",
                self._file, nameless, self.split,
            )  # fmt: skip
        return np.array([name or f"item {item}" for name, item in zip(named, self.ids, strict=True)], dtype=np.str_)
