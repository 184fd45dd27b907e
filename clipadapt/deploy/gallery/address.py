"""Where pictures will stand once published: an address with fields for an item's columns.

    pattern = Pattern.parse("https://cdn.example/{product}/{id}.jpg", catalogue.columns)
    pattern.of({"id": "7", "product": "a b"})        # https://cdn.example/a%20b/7.jpg

Cells are percent-encoded; slashes stay, for file names may lie in folders. Nothing here asks whether a picture is
there.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self
from urllib.parse import quote, urlsplit

from clipadapt.data.columns import near
from clipadapt.errors import UsageError

_FIELD = re.compile(r"\{([^{}]*)\}")
_LONGEST = 200
"""Bytes of a name; file systems take 255, with an ending."""


class Pattern(NamedTuple):
    """An address with fields."""

    text: str

    @classmethod
    def parse(cls, text: str, columns: Sequence[str]) -> Self:
        """Checks an address.

        Raises:
            UsageError: a field that is no column, no field at all, or an address that no browser loads pictures from.
        """
        fields = _FIELD.findall(text)
        for field in fields:
            if field not in columns:
                raise UsageError(
                    f"--picture-url {text}: no column {field!r}{near(field, columns)}; columns are {', '.join(columns)}"
                )
        if not fields:
            raise UsageError(f"--picture-url {text}: names no column, so all pictures would be one; such as {{id}}.jpg")
        if urlsplit(text).scheme not in ("", "http", "https"):
            raise UsageError(f"--picture-url {text}: pictures are loaded over http or https, or from a path")
        return cls(text)

    def of(self, cells: Mapping[str, str]) -> str:
        """The address of one item's picture."""
        return _FIELD.sub(lambda field: quote(cells[field[1]], safe="/"), self.text)


def file_stem(item: str) -> str:
    """An item's id as a file name without an ending, distinct for distinct ids."""
    stem = quote(item, safe=" ")
    if len(stem) <= _LONGEST and not stem.startswith("."):
        return stem
    return f"%{hashlib.sha256(item.encode()).hexdigest()}"
