"""The item table of an index: which vector is which item, what is known of it, and which ones were removed.

    items = Items.of(catalogue.table(), separators={"Occasion": "|"})
    items.live_rows(["17", "18"])             # vector ids of two items that are still there
    items.view("price")                       # a column as numbers or codes, for filters

Row i belongs to vector i for as long as the index is not rebuilt: a removed item keeps its row and is marked, so that
vector ids never shift. Text cells become numbers, dates or lists here, once; empty cells become nulls.
Knows nothing of vectors or of how filters are written.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int, Integer, Shaped

from clipadapt.errors import CatalogueError, UsageError, listing

pc: Any = pyarrow.compute  # its functions are made on import

ID, PRODUCT, VECTOR = "id", "product", "vector"
_OWN = (VECTOR, ID, PRODUCT)
_SHOWN = 5
_WHOLE = r"^-?(0|[1-9][0-9]{0,17})$"
_NUMBER = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


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


class Items:
    """Rows in the order of vectors, and a mark on those that were removed."""

    def __init__(self, table: pa.Table, removed: Bool[np.ndarray, " rows"]) -> None:
        self.table = table.combine_chunks()
        self.removed = removed
        self._views: dict[str, Numbers | Texts] = {}
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
        columns = {VECTOR: pa.array(np.arange(len(table))), ID: ids, PRODUCT: pc.fill_null(product, ids)}
        for name in table.column_names:
            if name not in _OWN:
                columns[name] = _typed(table.column(name), (separators or {}).get(name))
        return cls(pa.table(columns), np.zeros(len(table), bool))

    def __len__(self) -> int:
        """Items that can be found: removed ones do not count."""
        return self.rows - int(self.removed.sum())

    @property
    def rows(self) -> int:
        """Vectors, those of removed items included."""
        return self.table.num_rows

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

    def attributes(self, rows: Integer[np.ndarray, " some"]) -> list[dict[str, Value]]:
        """What is known of each item beside id and product; unknown cells are left out."""
        names = [name for name in self.table.column_names if name not in _OWN]
        found = self.table.select(names).take(pa.array(rows)).to_pylist() if names else [{}] * len(rows)
        return [{name: value for name, value in row.items() if value not in (None, [])} for row in found]

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

        Raises:
            CatalogueError: an id that is there already, or cells that do not fit their column's type.
        """
        known = self._live()
        twice = [item for item in more.table.column(ID).to_pylist() if item in known]
        if twice:
            raise CatalogueError(
                f"{len(twice)} item(s) are in the index already:{first_faults([repr(item) for item in twice])}\n"
                "update (index add --replace) replaces them"
            )
        vectors = pa.array(np.arange(self.rows, self.rows + more.rows))
        later = more.table.set_column(0, VECTOR, vectors)
        fitted = [_fit(later.column(name), self.table, name) for name in later.column_names]
        whole = pa.concat_tables([self.table, pa.table(fitted, later.column_names)], promote_options="default")
        return Items(whole, np.concatenate([self.removed, more.removed]))

    def compacted(self) -> "Items":
        """Live rows alone, numbered anew: for a rebuild."""
        live = self.table.filter(pa.array(~self.removed))
        return Items(live.set_column(0, VECTOR, pa.array(np.arange(len(live)))), np.zeros(len(live), bool))

    def view(self, name: str) -> Numbers | Texts:
        """A column as arrays, made once.

        Raises:
            KeyError: no such column.
        """
        if name not in self._views:
            self._views[name] = _view(self.table.column(name))
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


def _typed(column: pa.ChunkedArray, separator: str | None) -> pa.ChunkedArray:
    """Texts as whole numbers, numbers, dates or lists where every known cell is one; other types as they are."""
    if any(test(column.type) for test in (pa.types.is_null, pa.types.is_dictionary, pa.types.is_large_string)):
        column = column.cast(pa.string())
    if pa.types.is_boolean(column.type):
        return column.cast(pa.string())
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.date32(), safe=False)
    if not pa.types.is_string(column.type):
        return column
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    if separator is not None:
        return _split(column, separator)
    for pattern, kind in ((_WHOLE, pa.int64()), (_NUMBER, pa.float64()), (_DATE, pa.date32())):
        if column.null_count < len(column) and pc.all(pc.match_substring_regex(column, pattern)).as_py():
            try:
                return column.cast(kind)
            except pa.ArrowInvalid:  # 2024-02-31 looks like a date and is none
                continue
    return column


def _split(column: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    cells = [
        [part.strip() for part in text.split(separator) if part.strip()] if text else [] for text in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(cells, pa.list_(pa.string()))])


def _fit(column: pa.ChunkedArray, table: pa.Table, name: str) -> pa.ChunkedArray:
    """New cells in the type their column already has."""
    if name not in table.column_names or column.type == table.schema.field(name).type:
        return column
    wanted = table.schema.field(name).type
    if pa.types.is_list(wanted) and not pa.types.is_list(column.type):
        return pa.chunked_array(
            [pa.array([[str(cell)] if cell is not None else [] for cell in column.to_pylist()], wanted)]
        )
    try:
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise CatalogueError(
            f"column {name!r} of the index holds {wanted}, the new items hold {column.type} ({error}); "
            f"correct the new items, or build the index again from all of them"
        ) from error


def _view(column: pa.ChunkedArray) -> Numbers | Texts:
    if pa.types.is_list(column.type):
        whole = column.combine_chunks()
        flat = pc.list_flatten(whole).dictionary_encode()
        codes = flat.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(codes, pc.list_parent_indices(whole).to_numpy().astype(np.int64), flat.dictionary.to_pylist())
    if pa.types.is_string(column.type):
        coded = column.combine_chunks().dictionary_encode()
        indices = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return Texts(indices, None, coded.dictionary.to_pylist())
    known = ~column.is_null().to_numpy()
    dates = pa.types.is_date(column.type)
    plain = column.cast(pa.int32()) if dates else column
    return Numbers(pc.fill_null(plain, 0).to_numpy(), known, dates)
