"""The item table of an index: which vector is which item, what is known of it, and which ones were removed.

    items = Items.of(catalogue.table(), separators={"Occasion": "|"})
    items.live_rows(["17", "18"])             # vector ids of two items that are still there
    items.view("price")                       # a column as numbers or codes, for filters

Row i belongs to vector i for as long as the index is not rebuilt: a removed item keeps its row and is marked, so that
vector ids never shift. Text cells become numbers, dates or lists (columns.py), once; empty cells become nulls.
Knows nothing of vectors or of how filters are written.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int, Integer, Shaped

from clipadapt.errors import CatalogueError, UsageError, listing
from clipadapt.search.columns import Column, Order, typed, widened

log = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # its functions are made on import

ID, PRODUCT, VECTOR = "id", "product", "vector"
_OWN = (VECTOR, ID, PRODUCT)
_SHOWN = 5
_FEW = 20
"""Distinct values that any column may have without being free text."""


def first_faults(faults: Sequence[str]) -> str:
    """The first faults, a line each, and how many more there are."""
    more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    return listing([*faults[:_SHOWN], *more])


Value = str | int | float | bool | date | list[str]


class Numbers(NamedTuple):
    """A column of numbers, or of dates as days since 1970."""

    values: Shaped[np.ndarray, " rows"]
    known: Bool[np.ndarray, " rows"]
    dates: bool


class Texts(NamedTuple):
    """A column of texts as codes into its distinct values; several per row where it is a list."""

    codes: Int[np.ndarray, " cells"]
    """-1 where unknown."""
    rows: Int[np.ndarray, " cells"] | None
    """Row of each cell; None: one cell per row."""
    values: list[str]
    order: Order | None = None
    """What values are compared by with < and >, as far as they are such; None: texts have no order."""


class Items:
    """Rows in the order of vectors, and a mark on those that were removed."""

    def __init__(self, table: pa.Table, removed: Bool[np.ndarray, " rows"]) -> None:
        self.table = table.combine_chunks()
        self.removed = removed
        self._views: dict[str, Numbers | Texts] = {}
        self._naming: dict[str, bool] = {}
        self._live_ids: dict[str, int] | None = None

    @classmethod
    def of(cls, table: pa.Table, separators: Mapping[str, str] | None = None) -> Self:
        """Items from a table with `id`, optionally `product`, and any other columns; text columns find their type.

        Args:
            separators: columns that hold lists as one text, and what separates their values.

        Raises:
            CatalogueError: no id column, or an id that is empty or used twice.
        """
        if ID not in table.column_names:
            raise CatalogueError(f"an item table needs a column {ID!r}; it has: {', '.join(table.column_names)}")
        if VECTOR in table.column_names:  # the source's own, which would be taken for vector ids
            table = table.rename_columns(
                [f"{name} (source)" if name == VECTOR else name for name in table.column_names]
            )
        ids = table.column(ID).cast(pa.string())
        _check_ids(ids.to_pylist())
        product = table.column(PRODUCT).cast(pa.string()) if PRODUCT in table.column_names else ids
        rows = pa.chunked_array([pa.array(np.arange(len(table)))])
        columns = {VECTOR: Column(rows), ID: Column(ids), PRODUCT: Column(pc.fill_null(product, ids))}
        for name in table.column_names:
            if name not in _OWN:
                columns[name] = typed(table.column(name), (separators or {}).get(name))
        return cls(_table(columns), np.zeros(len(table), bool))

    def __len__(self) -> int:
        """Items that can be found: removed ones do not count."""
        return self.rows - int(self.removed.sum())

    @property
    def rows(self) -> int:
        """Vectors, those of removed items included."""
        return self.table.num_rows

    @property
    def separators(self) -> dict[str, str]:
        """Columns of several values, and by what their cells were split."""
        found = {name: Column.of(self.table, name).separator for name in self.table.column_names}
        return {name: separator for name, separator in found.items() if separator is not None}

    @property
    def columns(self) -> list[str]:
        """What a filter can ask about."""
        return [name for name in self.table.column_names if name != VECTOR]

    def id(self, row: int) -> str:
        """Item id of a vector."""
        return self.table.column(ID)[int(row)].as_py()

    def product(self, row: int) -> str:
        """Product of a vector's item."""
        return self.table.column(PRODUCT)[int(row)].as_py()

    def product_codes(self) -> Int[np.ndarray, " rows"]:
        """A number per product, equal for items of one product."""
        view = self.view(PRODUCT)
        assert isinstance(view, Texts)
        return view.codes

    def names_products(self, name: str) -> bool:
        """Whether a text column has more than one value to two products, as titles and free text: it groups nothing."""
        if name not in self._naming:
            view = self.view(name)
            naming = isinstance(view, Texts) and len(view.values) > _FEW
            if isinstance(view, Texts) and naming:
                known = view.codes >= 0
                rows = np.flatnonzero(known) if view.rows is None else view.rows[known]
                naming = 2 * len(view.values) > len(np.unique(self.product_codes()[rows]))
            self._naming[name] = naming
        return self._naming[name]

    def attributes(self, rows: Integer[np.ndarray, " some"]) -> list[dict[str, Value]]:
        """What is known of each item beside id and product; unknown cells are left out."""
        names = [name for name in self.table.column_names if name not in _OWN]
        found = self.table.select(names).take(pa.array(rows)).to_pylist() if names else [{}] * len(rows)
        return [{name: value for name, value in row.items() if value not in (None, [])} for row in found]

    def ids(self) -> list[str]:
        """Ids of the items that can be found, in the order of their vectors."""
        return self.table.column(ID).filter(pa.array(~self.removed)).to_pylist()

    def cells(self, name: str) -> list[Value | None]:
        """A column's cells, those of removed items left out; None where unknown.

        Raises:
            KeyError: no such column.
        """
        return self.table.column(name).filter(pa.array(~self.removed)).to_pylist()

    def live_rows(self, ids: Sequence[str]) -> Int[np.ndarray, " some"]:
        """Vector ids of items.

        Raises:
            UsageError: names every id that is not in the index, or was removed from it.
        """
        known = self._live()
        missing = [item for item in ids if item not in known]
        if missing:
            gone = set(pc.unique(self.table.column(ID).filter(pa.array(self.removed))).to_pylist())
            faults = [f"{item!r} {'was removed' if item in gone else 'was never added'}" for item in missing]
            raise UsageError(
                f"{len(missing)} item(s) not in the index:{first_faults(faults)}\ncheck the ids, or add them"
            )
        return np.array([known[item] for item in ids], np.int64)

    def holds(self, item: str) -> bool:
        """Whether an item can be found."""
        return item in self._live()

    def without(self, rows: Integer[np.ndarray, " some"]) -> "Items":
        """The same rows, these marked as removed too."""
        removed = self.removed.copy()
        removed[rows] = True
        return Items(self.table, removed)

    def extended(self, more: "Items") -> "Items":
        """Rows of `more` after these; columns that only one side has are unknown on the other.

        A column takes the wider of two types, and its lists are split as they were; what changes is logged.

        Raises:
            CatalogueError: an id that is there already, or a column that would have to be split only now.
        """
        known = self._live()
        twice = [item for item in more.table.column(ID).to_pylist() if item in known]
        if twice:
            raise CatalogueError(
                f"{len(twice)} item(s) are in the index already:{first_faults([repr(item) for item in twice])}\n"
                "update (index add --replace) replaces them"
            )
        vectors = pa.chunked_array([pa.array(np.arange(self.rows, self.rows + more.rows))])
        ours = {name: Column.of(self.table, name) for name in self.table.column_names}
        theirs = {name: Column.of(more.table, name) for name in more.table.column_names} | {VECTOR: Column(vectors)}
        for name in ours.keys() & theirs.keys():
            ours[name], theirs[name], note = widened(name, ours[name], theirs[name])
            if note is not None:
                log.warning("%s", note)
        whole = pa.concat_tables([_table(ours), _table(theirs)], promote_options="default")
        return Items(whole, np.concatenate([self.removed, more.removed]))

    def compacted(self) -> "Items":
        """Live rows alone, numbered anew: for a rebuild."""
        live = self.table.filter(pa.array(~self.removed))
        rows = pa.field(VECTOR, pa.int64()), pa.array(np.arange(len(live)))
        return Items(live.set_column(0, *rows), np.zeros(len(live), bool))

    def view(self, name: str) -> Numbers | Texts:
        """A column as arrays, made once.

        Raises:
            KeyError: no such column.
        """
        if name not in self._views:
            self._views[name] = _view(Column.of(self.table, name))
        return self._views[name]

    def _live(self) -> dict[str, int]:
        if self._live_ids is None:
            live = np.flatnonzero(~self.removed)
            self._live_ids = dict(
                zip(self.table.column(ID).take(pa.array(live)).to_pylist(), live.tolist(), strict=True)
            )
        return self._live_ids


def _check_ids(ids: Sequence[str | None]) -> None:
    seen: set[str | None] = {None, ""}
    faults = []
    for row, item in enumerate(ids):
        if item in seen:
            faults.append(f"row {row}: id {item!r} is {'used before' if item else 'empty'}")
        seen.add(item)
    if faults:
        raise CatalogueError(f"items need ids of their own:{first_faults(faults)}")


def _table(columns: Mapping[str, Column]) -> pa.Table:
    schema = pa.schema([column.field(name) for name, column in columns.items()])
    return pa.table([column.cells for column in columns.values()], schema=schema)


def _view(of: Column) -> Numbers | Texts:
    column = of.cells
    if pa.types.is_list(column.type):
        whole = column.combine_chunks()
        flat = pc.list_flatten(whole).dictionary_encode()
        codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(
            codes, pc.list_parent_indices(whole).to_numpy().astype(np.int64), flat.dictionary.to_pylist(), of.order
        )
    if pa.types.is_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        indices = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(indices, None, coded.dictionary.to_pylist(), of.order)
    known = ~column.is_null().to_numpy()
    dates = pa.types.is_date(column.type)
    plain = column.cast(pa.int32()) if dates else column
    return Numbers(pc.fill_null(plain, 0).to_numpy(), known, dates)
