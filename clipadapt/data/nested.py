"""Nested Arrow columns opened into plain ones: structs by field, maps by key, lists of structs by field.

    {"json": {"Pattern": "Solid", "size": {"eu": 38}}}        -> Pattern, eu
    {"attributes": {"Colour": "Red"}} as a map                -> Colour
    {"objects": [{"category": "bag"}, {"category": "hat"}]}   -> category, with two members

A field is called by its own name where no other column is called so, else by its whole path (json.name). Knows nothing
of texts.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made on import

Path = tuple[str, ...]
"""Names from the column to the field."""
_MOST_KEYS = 64
"""A map with more different keys than this is no set of attributes."""


class Lists(NamedTuple):
    """A column of lists: members in one array, and how many of them each cell has."""

    lengths: list[int | None]
    """None: the cell is null."""
    flat: pa.Array


Leaf = pa.ChunkedArray | Lists | str
"""A plain column, a column of lists, or why there is neither."""


def opened(path: Path, column: pa.ChunkedArray) -> Iterator[tuple[Path, Leaf]]:
    """The plain columns within a column, itself when it is plain."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        chunks: list[Any] = column.chunks
        yield from opened(path, pa.chunked_array([chunk.storage for chunk in chunks], kind.storage_type))
    elif pa.types.is_dictionary(kind):
        chunks = column.chunks
        yield from opened(path, pa.chunked_array([chunk.dictionary_decode() for chunk in chunks], kind.value_type))
    elif pa.types.is_run_end_encoded(kind):
        yield from opened(
            path, pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type)
        )
    elif pa.types.is_struct(kind):
        if {field.name for field in kind} == {"bytes", "path"}:
            yield path, "pictures or other media"
            return
        for field, inner in zip(kind, column.flatten(), strict=True):
            yield from opened((*path, field.name), inner)
    elif pa.types.is_map(kind):
        yield from _map(path, column)
    elif is_list(kind):
        yield from _lists(path, column)
    else:
        yield path, column


def is_list(kind: pa.DataType) -> bool:
    """Whether cells of a type are lists, of any layout."""
    tests = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(test(kind) for test in tests)


def short_names(paths: Sequence[Path]) -> list[str]:
    """A name per path: the last part where it is the only one of that name, else all parts; columns keep theirs."""
    counts = Counter(path[-1] for path in paths)
    return [path[0] if len(path) == 1 else path[-1] if counts[path[-1]] == 1 else ".".join(path) for path in paths]


def _map(path: Path, column: pa.ChunkedArray) -> Iterator[tuple[Path, Leaf]]:
    cells = [dict(cell or ()) for cell in column.to_pylist()]
    keys = dict.fromkeys(key for cell in cells for key in cell)
    if len(keys) > _MOST_KEYS:
        yield path, f"a map with {len(keys)} different keys"
        return
    for key in keys:
        inner = pa.chunked_array([pa.array([cell.get(key) for cell in cells], column.type.item_type)])
        yield from opened((*path, str(key)), inner)


def _lists(path: Path, column: pa.ChunkedArray) -> Iterator[tuple[Path, Leaf]]:
    lengths = pc.list_value_length(column).to_pylist()
    # Fixed-size lists count members of null cells, which list_flatten leaves out.
    valid = column.is_valid().to_pylist()
    lengths = [length if known else None for length, known in zip(lengths, valid, strict=True)]
    flat = pc.list_flatten(column)
    for inner, leaf in opened(path, flat):
        if isinstance(leaf, str):
            yield inner, leaf
        elif isinstance(leaf, Lists):
            yield inner, "lists within lists"
        else:
            yield inner, Lists(lengths, leaf.combine_chunks() if leaf.num_chunks else pa.array([], leaf.type))
