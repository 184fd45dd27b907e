"""Which of two indexes takes changes, while one is being replaced by the other.

    INDEX/twin.json    {"schema_version": 1, "store": "../../..", "version": "000002"}

An index that has this file takes changes only while that store (paths are from the index's own folder) points to that
version; whoever keeps it the same as the other one writes into it only while it does not. The pointer is one file, so
one rename takes the changes from one index to the other, and no writer can reach the wrong one. An index in Milvus may
be changed from machines that do not see the pointer, and bears a mark instead (handover.py). Nothing here knows what
the versions are.
"""

import json
import os
from pathlib import Path

from clipadapt.atomic import atomic_write
from clipadapt.errors import StoreError
from clipadapt.search.addresses import FILE as ADDRESS
from clipadapt.store import POINTER, Store

FILE = "twin.json"
INDEX = "index"
"""Folder of a release."""


def pair(index: Path, store: Path, version: str) -> None:
    """An index that takes changes only while `store` points to `version`.

    Raises:
        StoreError: the disk refuses.
    """
    way = Path(os.path.relpath(store.resolve(), index.resolve())).as_posix()
    text = json.dumps({"schema_version": 1, "store": way, "version": version}) + "\n"
    if not (index / FILE).is_file() or (index / FILE).read_text(encoding="utf-8") != text:
        atomic_write(index / FILE, text)


def refuse_twin(index: Path) -> None:
    """To be asked under the lock of the index.

    Raises:
        StoreError: changes go to another index now.
    """
    store, version = _paired(index)
    pointer = store.pointer() if store is not None else None
    if store is not None and pointer is not None and pointer.version != version:
        raise StoreError(
            f"{index}: changes go to the index of {pointer.version}, which {store.root} points to; nothing was "
            f"changed. Name {store.root} as the INDEX, which is always the one that takes changes"
        )


def refuse_copies(index: Path) -> None:
    """To be asked under the lock of the index, by whoever keeps it the same as the one that takes changes.

    Raises:
        StoreError: it takes changes itself now, which a copy of older ones would undo.
    """
    store, version = _paired(index)
    pointer = store.pointer() if store is not None else None
    if store is not None and pointer is not None and pointer.version == version:
        raise StoreError(
            f"{index}: takes changes itself now, for {store.root} points to {version}; nothing more was copied into "
            "it. Look at what is current, then go on"
        )


def index_folder(path: str | Path) -> Path:
    """The index that a folder stands for: of a folder of releases, the one of the release that is current.

    Raises:
        StoreError: the pointer cannot be read.
    """
    folder = Path(path)
    store = Store(folder)
    pointer = store.pointer()
    if pointer is None:
        return folder
    inside = folder / "versions" / pointer.version / INDEX
    return inside if any((inside / name).exists() for name in (POINTER, ADDRESS)) else folder


def _paired(index: Path) -> tuple[Store | None, str | None]:
    """The store, and the version of it, that say whether an index takes changes; of one that was copied away alone the
    store has no pointer.
    """
    try:
        document = json.loads((index / FILE).read_bytes())
        return Store(os.path.normpath(index / document["store"])), document["version"]
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{index / FILE}: cannot be read ({error}); swap the releases again") from error
