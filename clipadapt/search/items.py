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
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int, Integer

from clipadapt.errors import CatalogueError, UsageError, listing
from clipadapt.search.columns import Column, typed, widened
from clipadapt.search.ids import IdTable, hashes
from clipadapt.search.strings import Strings, each_text
from clipadapt.search.views import Numbers, Texts, view_of

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


class Items:
    """Rows in the order of vectors, and a mark on those that were removed."""

    def __init__(
        self, table: pa.Table, removed: Bool[np.ndarray, " rows"], lookups: Sequence[tuple[int, IdTable]] = ()
    ) -> None:
        """Of a table whose chunks stay where they are.

        Args:
            lookups: the ids of runs of rows, and where each run starts; made when needed if not given.
        """
        self.table = table
        self.removed = removed
        self._lookups = tuple(lookups)
        self._attributes: tuple[list[int], list[pa.RecordBatch]] | None = None
        self._strings: dict[str, Strings] = {}
        self._views: dict[str, Numbers | Texts] = {}
        self._naming: dict[str, bool] = {}

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
        _check_ids(ids)
        product = table.column(PRODUCT).cast(pa.string()) if PRODUCT in table.column_names else ids
        rows = pa.chunked_array([pa.array(np.arange(len(table)))])
        columns = {VECTOR: Column(rows), ID: Column(ids), PRODUCT: Column(pc.fill_null(product, ids))}
        for name in table.column_names:
            if name not in _OWN:
                columns[name] = typed(table.column(name), (separators or {}).get(name))
        return cls(_table(columns).combine_chunks(), np.zeros(len(table), bool))

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
        return self._texts(ID).at([int(row)])[0]

    def product(self, row: int) -> str:
        """Product of a vector's item."""
        return self._texts(PRODUCT).at([int(row)])[0]

    def product_codes(self) -> Int[np.ndarray, " rows"]:
        """A number per product, equal for items of one product."""
        view = self.view(PRODUCT)
        assert isinstance(view, Texts)
        return view.codes

    def names(self, rows: Integer[np.ndarray, " some"]) -> list[str]:
        """Item ids of some rows."""
        return self._texts(ID).at(rows.tolist())

    def products(self, rows: Integer[np.ndarray, " some"]) -> list[str]:
        """Products of some rows; unlike codes of all of them it costs next to nothing after a change."""
        return self._texts(PRODUCT).at(rows.tolist())

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
        if self._attributes is None:
            known = self.table.select([name for name in self.table.column_names if name not in _OWN]).to_batches()
            self._attributes = np.cumsum([0, *(len(batch) for batch in known)])[:-1].tolist(), known
        starts, batches = self._attributes
        found: list[dict[str, Any]] = [{} for _ in rows]
        chunks = np.searchsorted(starts, rows, "right") - 1
        for chunk in set(chunks.tolist()):  # chunk by chunk, for Arrow's own would join all of them first
            places = np.flatnonzero(chunks == chunk)
            local = pa.array(np.asarray(rows)[places] - starts[chunk])
            for place, cells in zip(places.tolist(), batches[chunk].take(local).to_pylist(), strict=True):
                found[place] = {name: value for name, value in cells.items() if value not in (None, [])}
        return found

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
        rows = self._find(ids)
        if (rows < 0).any():
            missing = [item for item, row in zip(ids, rows.tolist(), strict=True) if row < 0]
            gone = set(pc.unique(self.table.column(ID).filter(pa.array(self.removed))).to_pylist())
            faults = [f"{item!r} {'was removed' if item in gone else 'was never added'}" for item in missing]
            raise UsageError(
                f"{len(missing)} item(s) not in the index:{first_faults(faults)}\ncheck the ids, or add them"
            )
        return rows

    def holds(self, item: str) -> bool:
        """Whether an item can be found."""
        return bool(self._find([item])[0] >= 0)

    def present(self, ids: Sequence[str]) -> list[str]:
        """Those of some ids that can be found, in the same order."""
        return [item for item, row in zip(ids, self._find(ids).tolist(), strict=True) if row >= 0]

    def without(self, rows: Integer[np.ndarray, " some"]) -> "Items":
        """The same rows, these marked as removed too."""
        removed = self.removed.copy()
        removed[rows] = True
        return self.marked(removed)

    def marked(self, removed: Bool[np.ndarray, " rows"]) -> "Items":
        """The same rows with other marks."""
        same = Items(self.table, removed, self._lookups)
        same._attributes, same._strings = self._attributes, self._strings
        same._views, same._naming = self._views, self._naming
        return same

    def extended(self, more: "Items") -> "Items":
        """Rows of `more` after these; columns that only one side has are unknown on the other.

        A column takes the wider of two types, and its lists are split as they were; what changes is logged, and so is
        a column that one side lacks.

        Raises:
            CatalogueError: an id that is there already, or a column that would have to be split only now.
        """
        if twice := self.present(more.table.column(ID).to_pylist()):
            raise CatalogueError(
                f"{len(twice)} item(s) are in the index already:{first_faults([repr(item) for item in twice])}\n"
                "update (index add --replace) replaces them"
            )
        return self.followed_by(more, self.removed, say=True)

    def followed_by(self, more: "Items", removed: Bool[np.ndarray, " rows"], *, say: bool = False) -> "Items":
        """As `extended`, whatever the ids; `removed` marks these rows, and what changes is logged to `say` it."""
        vectors = pa.chunked_array([pa.array(np.arange(self.rows, self.rows + more.rows))])
        ours = {name: Column.of(self.table, name) for name in self.table.column_names}
        theirs = {name: Column.of(more.table, name) for name in more.table.column_names} | {VECTOR: Column(vectors)}
        for name in ours.keys() & theirs.keys():
            ours[name], theirs[name], note = widened(name, ours[name], theirs[name])
            if note is not None and say:
                log.warning("%s", note)
        if say and (note := _one_sided(list(ours), list(theirs))):
            log.warning("%s", note)
        whole = pa.concat_tables([_table(ours), _table(theirs)], promote_options="default")
        lookups = [*self.lookups(), *((self.rows + start, table) for start, table in more.lookups())]
        return Items(whole, np.concatenate([removed, more.removed]), lookups)

    def lookups(self) -> tuple[tuple[int, IdTable], ...]:
        """The ids of runs of rows, and where each run starts."""
        if not self._lookups:
            self._lookups = ((0, IdTable.of(each_text(self.table.column(ID)))),)
        return self._lookups

    def part(self, start: int, end: int) -> pa.Table:
        """A run of rows as a table of their own, in the types that the whole has."""
        return self.table.slice(start, end - start).combine_chunks()

    def compacted(self) -> "Items":
        """Live rows alone, numbered anew: for a rebuild."""
        return self.taken(np.flatnonzero(~self.removed))

    def taken(self, rows: Integer[np.ndarray, " some"]) -> "Items":
        """Some rows alone, in that order and numbered anew."""
        table = self.table.take(pa.array(rows))
        numbers = pa.field(VECTOR, pa.int64()), pa.array(np.arange(len(rows)))
        return Items(table.set_column(0, *numbers).combine_chunks(), np.zeros(len(rows), bool))

    def view(self, name: str) -> Numbers | Texts:
        """A column as arrays, made once.

        Raises:
            KeyError: no such column.
        """
        if name not in self._views:
            self._views[name] = view_of(Column.of(self.table, name))
        return self._views[name]

    def _find(self, ids: Sequence[str]) -> Int[np.ndarray, " ids"]:
        """The row of each id that can be found; -1 for others."""
        found = np.full(len(ids), -1, np.int64)
        wanted = hashes(ids)
        for start, table in self.lookups():
            places, rows = table.find(wanted)
            rows = rows + start
            live = ~self.removed[rows]
            for place, row, known in zip(
                places[live].tolist(), rows[live].tolist(), self.names(rows[live]), strict=True
            ):
                if known == ids[place]:
                    found[place] = row
        return found

    def _texts(self, name: str) -> Strings:
        if name not in self._strings:
            self._strings[name] = Strings(self.table.column(name))
        return self._strings[name]


def _check_ids(ids: pa.ChunkedArray) -> None:
    if not ids.null_count and pc.count_distinct(ids).as_py() == len(ids) and not pc.any(pc.equal(ids, "")).as_py():
        return
    seen: set[str | None] = {None, ""}
    faults = []
    for row, item in enumerate(each_text(ids)):
        if item in seen:
            faults.append(f"row {row}: id {item!r} is {'used before' if item else 'empty'}")
        seen.add(item)
    if faults:
        raise CatalogueError(f"items need ids of their own:{first_faults(faults)}")


def _one_sided(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Columns that only the index or only the new items have, in words; nothing where both have all."""
    lacking, new = ([name for name in one if name not in other] for one, other in ((ours, theirs), (theirs, ours)))
    parts = [f"lack {', '.join(map(repr, lacking))}, which are unknown for them"] if lacking else []
    if new:
        parts.append(f"bring {', '.join(map(repr, new))}, which the items before do not have")
    return f"the new items {' and '.join(parts)}; if one column has two names, write one" if parts else ""


def _table(columns: Mapping[str, Column]) -> pa.Table:
    schema = pa.schema([column.field(name) for name, column in columns.items()])
    return pa.table([column.cells for column in columns.values()], schema=schema)
