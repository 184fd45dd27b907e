"""Names of pictures in a table -> the names that the files bear on this disk.

A table and a file system may write one name in two ways: é as one character or as e with an accent (macOS wrote file
names so for years), folders with a backslash instead of a slash, a space after the comma of a table. Names that cannot
be used are refused with their lines.
"""

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np

from clipadapt.errors import CatalogueError, listing

_UNUSABLE: tuple[tuple[str, Callable[[str], bool], str], ...] = (
    ("addresses, which are not fetched", lambda name: "://" in name,
     "download the pictures first, beside the table, and write their file names"),
    ("absolute paths", lambda name: Path(name).is_absolute() or bool(PureWindowsPath(name).drive),
     "write them relative to the table's folder, so that the catalogue can be moved"),
    ("paths that lead out of the table's folder", lambda name: ".." in Path(name).parts,
     "write them relative to that folder, without '..'"),
)  # fmt: skip
"""What it is, how it is recognised, what to do. A table may not reach out of its own folder, for tables come from
strangers too."""


def refuse_unusable(names: Sequence[str], lines: np.ndarray | None, file: Path, column: str) -> None:
    """Refuses names that lead elsewhere.

    Raises:
        CatalogueError: the first few with their lines, and the remedy for their kind.
    """
    for what, matches, remedy in _UNUSABLE:
        found = [
            f"row {lines[row] if lines is not None else row + 1}: {name!r}"
            for row, name in enumerate(names)
            if matches(name)
        ]
        if found:
            raise CatalogueError(f"{file}: column {column!r} holds {what}:{listing(found, 5)}\n{remedy}")


def as_stored(names: Sequence[str], folder: Path) -> list[str]:
    """Each name as the disk has it, where only accents, slashes or spaces around it differ; others stay.

    Only names that could be written in another way are looked for: other names cost nothing.
    """
    entries: dict[Path, dict[str, str]] = {}
    return [
        name if (name.isascii() and "\\" not in name and name == name.strip()) or (folder / name).exists()
        else _stored(name, folder, entries) for name in names
    ]  # fmt: skip


def _stored(name: str, folder: Path, entries: dict[Path, dict[str, str]]) -> str:
    """The same path step by step; `entries` keeps what has been listed: folder -> composed name -> name."""
    at, steps = folder, []
    for step in name.strip().replace("\\", "/").split("/"):
        if at not in entries:
            found = [one.name for one in at.iterdir()] if at.is_dir() else []
            entries[at] = {unicodedata.normalize("NFC", one): one for one in found}
        stored = entries[at].get(unicodedata.normalize("NFC", step))
        if stored is None:
            return name
        steps.append(stored)
        at = at / stored
    return "/".join(steps)
