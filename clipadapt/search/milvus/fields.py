"""The schema of a version: which field of the collection is which column, and cells as Milvus takes and gives them.

    id VARCHAR (primary key)   product VARCHAR   place INT64   vector FLOAT_VECTOR   c0_Pattern VARCHAR NULL, ...

whole numbers INT64, numbers DOUBLE (a FLOAT 19.99 does not equal 19.99), dates INT64 days since 1970, texts VARCHAR,
lists ARRAY of VARCHAR; all but lists are NULL where unknown, a list is empty. Texts that were dates or numbers have
two more fields with where they stand, since Milvus compares texts as texts. `place` is a hash of the id, spread evenly,
so that a sample is a range of it. Knows nothing of servers or conditions.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa

from clipadapt.errors import CatalogueError, StoreError
from clipadapt.search.columns import Column, Order, standing
from clipadapt.search.ids import hashes
from clipadapt.search.items import ID, PRODUCT, VECTOR, Items, Value, first_faults

PLACE = "place"
PLACES = 1 << 32
ID_BYTES, TEXT_BYTES, LIST_LENGTH = 512, 65_535, 4_096
"""Most that fields hold; Milvus counts bytes."""
_EPOCH = date(1970, 1, 1)
_ARROW = {"whole": pa.int64(), "number": pa.float64(), "date": pa.date32(), "text": pa.string(),
          "list": pa.list_(pa.string())}  # fmt: skip


class Field(NamedTuple):
    """A column and where its cells lie."""

    name: str
    """The column's, as people write it."""
    field: str
    """The collection's: letters, digits and _."""
    kind: str
    """whole, number, date, list or text."""
    separator: str | None = None
    order: Order | None = None

    @property
    def column(self) -> Column:
        """As columns.py describes it, without cells."""
        return Column(pa.chunked_array([pa.array([], _ARROW[self.kind])]), self.separator, self.order)

    @property
    def at(self) -> str:
        """Field of an ordered text: where it stands, moments as instants."""
        return f"{self.field}__at"

    @property
    def read(self) -> str:
        """Field of a text of dates: where it stands as its clock reads."""
        return f"{self.field}__read"


class Fields:
    """Of one version."""

    def __init__(self, fields: Sequence[Field]) -> None:
        """Columns beside id and product, in their order."""
        self.all = tuple(fields)
        ends = (Field(ID, ID, "text"), Field(PRODUCT, PRODUCT, "text"))
        self.by_name = {one.name: one for one in (*ends, *self.all)}

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Of an item table."""
        found = []
        for name in table.column_names:
            if name not in (VECTOR, ID, PRODUCT):
                column = Column.of(table, name)
                slug = re.sub(r"[^A-Za-z0-9_]", "_", name)[:100]
                found.append(Field(name, f"c{len(found)}_{slug}", column.kind, column.separator, column.order))
        return cls(found)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As a collection's property keeps them.

        Raises:
            ValueError, TypeError: it is not what `to_json` wrote.
        """
        return cls([Field(**one) for one in json.loads(text)])

    def to_json(self) -> str:
        """For a collection's property."""
        return json.dumps([one._asdict() for one in self.all], ensure_ascii=False)

    @property
    def columns(self) -> dict[str, str]:
        """Column -> kind."""
        return {name: one.kind for name, one in self.by_name.items()}

    @property
    def outputs(self) -> list[str]:
        """Fields that make up what is known of an item."""
        return [ID, PRODUCT, *(one.field for one in self.all)]

    def add_to(self, schema: Any, dim: int) -> None:
        """Into a schema of pymilvus."""
        from pymilvus import DataType

        kinds = {"whole": DataType.INT64, "number": DataType.DOUBLE, "date": DataType.INT64}
        schema.add_field(ID, DataType.VARCHAR, is_primary=True, max_length=ID_BYTES)
        schema.add_field(PRODUCT, DataType.VARCHAR, max_length=ID_BYTES)
        schema.add_field(PLACE, DataType.INT64)
        schema.add_field(VECTOR, DataType.FLOAT_VECTOR, dim=dim)
        for one in self.all:
            if one.kind == "list":
                schema.add_field(
                    one.field, DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=LIST_LENGTH,
                    max_length=TEXT_BYTES,
                )  # fmt: skip
            elif one.kind == "text":
                schema.add_field(one.field, DataType.VARCHAR, max_length=TEXT_BYTES, nullable=True)
            else:
                schema.add_field(one.field, kinds[one.kind], nullable=True)
            if one.order is not None:
                schema.add_field(one.at, DataType.DOUBLE, nullable=True)
            if one.order == "dates":
                schema.add_field(one.read, DataType.DOUBLE, nullable=True)

    def rows(self, table: pa.Table, vectors: np.ndarray) -> list[dict[str, Any]]:
        """Rows as pymilvus takes them, of a table whose columns have these kinds.

        Raises:
            CatalogueError: names cells that are longer than a field holds.
        """
        ids = table.column(ID).to_pylist()
        cells: dict[str, Iterable[Any]] = {
            ID: ids, PRODUCT: table.column(PRODUCT).to_pylist(), PLACE: places(ids), VECTOR: list(vectors),
        }  # fmt: skip
        _check_lengths(table)
        for one in self.all:
            column = table.column(one.name) if one.name in table.column_names else one.column.cells
            values: list[Any] = column.to_pylist() if len(column) == len(table) else [None] * len(table)
            if one.kind == "date":
                values = [None if cell is None else (cell - _EPOCH).days for cell in values]
            if one.kind == "number":  # of a source of floats; it compares with nothing, as what is unknown
                values = [None if cell is None or math.isnan(cell) else cell for cell in values]
            if one.kind == "list":
                values = [cell or [] for cell in values]
            cells[one.field] = values
            if one.order is not None:
                cells[one.at] = [_standing(cell, one.order, as_read=False) for cell in values]
            if one.order == "dates":
                cells[one.read] = [_standing(cell, one.order, as_read=True) for cell in values]
        return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]

    def attributes(self, row: dict[str, Any]) -> dict[str, Value]:
        """What is known of an item, from what a search or query gave."""
        found: dict[str, Any] = {}
        for one in self.all:
            cell = row.get(one.field)
            if cell is not None and not (one.kind == "list" and not len(cell)):
                found[one.name] = self._cell(one, cell)
        return found

    def items(self, rows: Sequence[dict[str, Any]]) -> Items:
        """An item table of rows that a query gave, in the order of their ids."""
        rows = sorted(rows, key=lambda row: row[ID])
        plain = [pa.field(VECTOR, pa.int64()), pa.field(ID, pa.string()), pa.field(PRODUCT, pa.string())]
        arrays = [
            pa.array(np.arange(len(rows))), pa.array([row[ID] for row in rows], pa.string()),
            pa.array([row[PRODUCT] for row in rows], pa.string()),
        ]  # fmt: skip
        for one in self.all:
            cells = [row.get(one.field) for row in rows]
            known = [None if cell is None else self._cell(one, cell) for cell in cells]
            if one.kind == "list":
                known = [cell or [] for cell in known]
            arrays.append(pa.array(known, _ARROW[one.kind]))
            plain.append(one.column.field(one.name))
        return Items(pa.table(arrays, schema=pa.schema(plain)), np.zeros(len(rows), bool))

    def empty(self) -> Items:
        """A table without rows."""
        return self.items([])

    @staticmethod
    def _cell(one: Field, cell: Any) -> Any:
        if one.kind == "date":
            return _EPOCH + timedelta(days=int(cell))
        return list(cell) if one.kind == "list" else cell


def places(ids: Sequence[str]) -> list[int]:
    """Where ids lie on a ring of `PLACES`, evenly spread."""
    return [int(one) % PLACES for one in hashes(ids)]


def require_columns(owner: str, names: Iterable[str], fields: "Fields") -> None:
    """That a collection has the fields that its property speaks of.

    Raises:
        StoreError: one is missing: the collection was changed by others.
    """
    missing = {*fields.outputs, PLACE, VECTOR} - set(names)
    if missing:
        raise StoreError(
            f"{owner}: lacks the fields {', '.join(sorted(missing))}; it was changed by others; build again"
        )


def _standing(text: str | None, order: Order, *, as_read: bool) -> float | None:
    place = math.nan if text is None else standing(text, order, as_read=as_read)
    return None if math.isnan(place) else place


def _check_lengths(table: pa.Table) -> None:
    faults = []
    for name in table.column_names:
        kind, most = table.schema.field(name).type, ID_BYTES if name in (ID, PRODUCT) else TEXT_BYTES
        if not (pa.types.is_string(kind) or pa.types.is_list(kind)):
            continue
        for row, cell in enumerate(table.column(name).to_pylist()):
            parts = cell if isinstance(cell, list) else [cell or ""]
            if len(parts) > LIST_LENGTH:
                faults.append(f"row {row}, {name!r}: {len(parts):,} values in a list, {LIST_LENGTH:,} are the most")
            longest = max((len(part.encode()) for part in parts if len(part) > most // 4), default=0)
            if longest > most:
                faults.append(f"row {row}, {name!r}: {longest:,} bytes, {most:,} are the most")
    if faults:
        raise CatalogueError(
            f"cells that are too long for Milvus:{first_faults(faults)}\nshorten them, or leave them out"
        )
