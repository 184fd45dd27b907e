"""A column of texts that is read by row, a few rows at a time, from the buffers it lies in.

    strings = Strings(table.column("id"));  strings.at([3, 17])

Arrow's own ways cost 5 to 100 microseconds a call, which is most of a small search; this takes one a row, and makes
nothing when it is opened, whatever the number of rows. Knows nothing of what the texts say.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

_BLOCK = 65_536


def each_text(column: pa.ChunkedArray) -> Iterator[Any]:
    """Texts one after the other, None where there is none, without a list of all of them."""
    for start in range(0, len(column), _BLOCK):
        yield from column.slice(start, _BLOCK).to_pylist()


class Strings:
    """Texts of rows 0, 1, 2, ..., none of them null."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        assert pa.types.is_string(column.type) and not column.null_count, "texts, and all of them known"
        self._starts: list[int] = []
        """First row of each chunk."""
        self._chunks: list[tuple[memoryview, memoryview, int]] = []
        """Where texts end in the bytes, the bytes, and what the chunk leaves out of the first."""
        start = 0
        for chunk in column.chunks:
            if not len(chunk):
                continue
            _, offsets, data = chunk.buffers()
            self._starts.append(start)
            self._chunks.append((memoryview(offsets).cast("i"), memoryview(data or b""), chunk.offset))
            start += len(chunk)
        self._count = start

    def __len__(self) -> int:
        return self._count

    def at(self, rows: Iterable[int]) -> list[str]:
        """The texts of some rows, in their order.

        Raises:
            IndexError: a row that is not there.
        """
        found = []
        for row in rows:
            if not 0 <= row < self._count:
                raise IndexError(f"row {row} of {self._count}")
            number = bisect_right(self._starts, row) - 1
            offsets, data, before = self._chunks[number]
            place = row - self._starts[number] + before
            found.append(str(data[offsets[place] : offsets[place + 1]], "utf-8"))
        return found
