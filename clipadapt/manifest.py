"""manifest.json: size and sha256 of every file of a folder, written when it is filled and compared when it is read.

    write_manifest(folder)                      {"schema_version": 1, "files": {"index.faiss": {"bytes", "sha256"}}}
    check_manifest(folder, verify=True)         a line per file that is missing or changed
    share(old / "index.faiss", new / "index.faiss")     the same file in another folder, without reading it

A file that is a hard link of one that another manifest lists keeps the digest written there: it is not read again, and
what was damaged in it since is found out all the same. Knows nothing of versions or pointers.
"""

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clipadapt.atomic import sha256_file, write_new
from clipadapt.errors import StoreError

MANIFEST = "manifest.json"

Entry = dict[str, Any]
"""Of a file: bytes and sha256."""
Linked = Mapping[tuple[int, int], Entry]
"""Device and inode of files -> what a manifest says of them."""
Verified = dict[tuple[int, int], Entry]
"""The same, of files whose content was compared with it."""


def check_manifest(
    folder: Path,
    manifest: str | None = None,
    *,
    verify: bool,
    but: Callable[[str], bool] = lambda _: False,
    verified: Verified | None = None,
) -> list[str]:
    """What differs from `folder`'s manifest.json, a line each: files missing, of another size or, if `verify`, content.

    Files that it does not list are no fault.

    Args:
        manifest: sha256 that manifest.json itself must have.
        but: files that are not looked at.
        verified: files whose content was compared before, here or linked from elsewhere; they are not read again, and
            those that are read now are added.
    """
    file = folder / MANIFEST
    seen = {} if verified is None else verified
    try:
        if manifest is not None and sha256_file(file) != manifest:
            return [f"{MANIFEST} has another sha256 than the pointer says"]
        listed = json.loads(file.read_bytes())["files"]
        compared = {name: entry for name, entry in listed.items() if not but(name)}
        faults = (_differs(folder / name, name, entry, seen if verify else None) for name, entry in compared.items())
        return [fault for fault in faults if fault is not None]
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} is not a list of files"]


def write_manifest(folder: Path, about: Mapping[str, Any] | None = None, linked: Linked | None = None) -> str:
    """Lists every file of `folder` in its manifest.json, after what is said about them; gives the sha256 of that.

    Args:
        linked: files, perhaps linked from here, whose digests are known (`entries`).

    Raises:
        StoreError: something that is neither a plain file nor a folder.
    """
    files: dict[str, Entry] = {}
    for file in sorted(folder.rglob("*")):
        found = file.lstat()
        if stat.S_ISREG(found.st_mode):
            known = (linked or {}).get((found.st_dev, found.st_ino))
            if known is None or known["bytes"] != found.st_size:
                known = {"bytes": found.st_size, "sha256": sha256_file(file)}
            files[file.relative_to(folder).as_posix()] = known
        elif not stat.S_ISDIR(found.st_mode):
            raise StoreError(f"{file}: only plain files and folders can be kept in a version")
    write_new(
        folder / MANIFEST, json.dumps({"schema_version": 1, **(about or {}), "files": files}, indent=1).encode() + b"\n"
    )
    return sha256_file(folder / MANIFEST)


def listed(folder: Path) -> dict[str, Entry]:
    """What manifest.json says of each file.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return dict(json.loads((folder / MANIFEST).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / MANIFEST}: cannot be read ({error})") from error


def entries(*folders: Path) -> Linked:
    """The files of folders, each as its manifest lists it."""
    found: dict[tuple[int, int], Entry] = {}
    for folder in folders:
        for name, entry in listed(folder).items():
            state = (folder / name).stat()
            found[state.st_dev, state.st_ino] = entry
    return found


def share(source: Path, target: Path, entry: Entry) -> None:
    """The same file in a second place; a copy, compared with `entry`, where the file system has no hard links.

    Raises:
        StoreError: a copy differs from what the manifest says.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        if sha256_file(target) != entry["sha256"]:
            raise StoreError(f"{source}: has another sha256, so it was changed after it was written") from None


def _differs(file: Path, name: str, entry: Entry, verified: Verified | None) -> str | None:
    """What is wrong with one file; its content is compared unless `verified` is None or has it."""
    try:
        found = file.stat()
        if found.st_size != entry["bytes"]:
            return f"{name} has {found.st_size} bytes instead of {entry['bytes']}"
        node = found.st_dev, found.st_ino
        if verified is not None and verified.get(node) != entry:
            if sha256_file(file) != entry["sha256"]:
                return f"{name} has another sha256"
            verified[node] = entry
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None
