"""The cells of a catalogue: what each column says of each item, unknown ones apart, several values per item or one.

Cells are cleaned once: marks that mean nobody knows become "", lists lose such members, spellings that data.normalise
joins become one. Nothing here knows of pictures, products or splits.
"""

import operator
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple, SupportsIndex

import numpy as np
import pyarrow as pa

from clipadapt.data.cells import JOINT, TextTable
from clipadapt.data.columns import choose_columns
from clipadapt.data.members import members
from clipadapt.data.spelling import Normalise, folded
from clipadapt.errors import CatalogueError


class Attribute(NamedTuple):
    """A column and how its values relate."""

    name: str
    kind: Literal["exclusive", "multi"] = "exclusive"
    """exclusive: one value at most per item; multi: any number, separated by `separator` in the cell."""
    separator: str = JOINT


class Cells:
    """Columns of text in the order of the items."""

    def __init__(
        self,
        texts: TextTable,
        file: str,
        *,
        attributes: Sequence[Attribute],
        unknown: Sequence[str],
        normalise: Normalise,
    ) -> None:
        self.unread_columns: Mapping[str, str] = texts.left_out
        """Columns of the source that have no text -> why."""
        self._lists = texts.lists
        self._marks = frozenset(("", *(mark.strip() for mark in unknown)))
        self._normalise: Normalise = normalise
        self._file = file
        self._texts = texts.table
        self._names = dict.fromkeys(texts.table.column_names)
        self._declare(attributes)

    def _declare(self, attributes: Sequence[Attribute]) -> None:
        """Takes columns for attributes, and cleans all cells by what they are; again is no harm."""
        self.attributes = tuple(_as_in_source(attribute, self._lists) for attribute in attributes)
        names = {attribute.name for attribute in self.attributes}
        cleaned = {
            name: _mapped(
                self._texts.column(name),
                partial(
                    _clean,
                    unknown=self._marks,
                    separator=self.separators.get(name),
                    level=self._normalise if name in names else "unicode",
                ),
            )
            for name in self._names
        }
        self._texts = pa.table(cleaned)

    def _empty(self, known: Mapping[str, Sequence[bool] | np.ndarray]) -> None:
        """Leaves of each column named those cells alone that are known, bool[n].

        Raises:
            CatalogueError: no such column.
        """
        for name, stays in known.items():
            cells = [cell if kept else "" for cell, kept in zip(self.texts(name), stays, strict=True)]
            at = self._texts.column_names.index(name)
            self._texts = self._texts.set_column(at, name, pa.array(cells, pa.string()))

    @property
    def columns(self) -> list[str]:
        """Every column that has a text; the pictures' own is not among them."""
        return list(self._names)

    def row(self, index: SupportsIndex) -> dict[str, str]:
        """Every column of one item as text; "" where nobody knows."""
        at = operator.index(index)
        return {name: self._texts.column(name)[at].as_py() for name in self.columns}

    @property
    def separators(self) -> dict[str, str]:
        """Columns whose cells hold several values -> what separates them: declared ones, and lists of the source."""
        declared = {one.name: one.separator for one in self.attributes if one.kind == "multi"}
        return {**self._lists, **declared}

    def values(self, attribute: str) -> list[str | None]:
        """The value of each item, None where unknown; of any column.

        Raises:
            CatalogueError: no such column, or a multi attribute, whose items have several.
        """
        if self._attribute(attribute).kind == "multi":
            raise CatalogueError(f"attribute {attribute!r} holds several values per item; ask for value_sets")
        return [text or None for text in self._column(attribute)]

    def texts(self, column: str) -> list[str]:
        """The cell of each item as text, "" where unknown; of any column, lists included.

        Raises:
            CatalogueError: no such column.
        """
        self._attribute(column)
        return self._column(column)

    def value_sets(self, attribute: str) -> list[frozenset[str]]:
        """The values of each item; empty where unknown.

        Raises:
            CatalogueError: no such column.
        """
        declared = self._attribute(attribute)
        if declared.kind == "exclusive":
            return [frozenset((text,)) if text else frozenset() for text in self._column(attribute)]
        sets: dict[str, frozenset[str]] = {}
        return [
            sets.get(text) or sets.setdefault(text, frozenset(part for part in text.split(declared.separator) if part))
            for text in self._column(attribute)
        ]

    def counts(self, attribute: str) -> dict[str, int]:
        """Value -> number of items that have it, most frequent first, then by name."""
        found = Counter(value for values in self.value_sets(attribute) for value in values)
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def _column(self, name: str) -> list[str]:
        return self._texts.column(name).to_pylist()

    def _attribute(self, name: str) -> Attribute:
        declared = next((attribute for attribute in self.attributes if attribute.name == name), None)
        if name not in self._names:
            choose_columns(
                self.columns, self._file, attributes=[name], product=None, item_id=None, left_out=self.unread_columns
            )
        return declared or _as_in_source(Attribute(name), self.separators)


def _as_in_source(attribute: Attribute, lists: Mapping[str, str]) -> Attribute:
    """A column of lists is multi-valued, whether or not anybody declared it."""
    if attribute.name not in lists:
        return attribute
    return Attribute(attribute.name, "multi", lists[attribute.name])


def _mapped(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.Array:
    """A column with every cell changed; each different cell once."""
    coded = column.combine_chunks().dictionary_encode()
    changed = pa.array([change(cell) for cell in coded.dictionary.to_pylist()], pa.string())
    return changed.take(coded.indices)


def _clean(cell: str, unknown: Collection[str], separator: str | None, level: Normalise) -> str:
    """The cell in one spelling, "" where it is unknown; of a list, the known members, each once."""
    if cell.strip() in unknown:
        return ""
    if separator is None:
        return folded(cell, level)
    return separator.join(dict.fromkeys(folded(part, level) for part in members(cell, separator, unknown)))
