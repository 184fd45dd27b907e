"""Files that appear whole or not at all, and versioned folders behind one pointer that is swapped atomically.

    ROOT/current                  {"version": "000003", "manifest": sha256 of that version's manifest.json}
    ROOT/versions/000003/         what was written, and manifest.json: size and sha256 of every file
    ROOT/lock                     held by the one process that writes; readers need none

A version is written beside the others, flushed to the disk, renamed into place, and only then pointed to: whatever
moment a process is killed at, or the disk fills up at, readers see the old version or the new one, whole. The trade: a
write costs a copy of everything and a flush per file, so this is for indexes and releases, not for rows. A process
killed between rename and pointer leaves a whole version that nothing points to; `prune` takes it away. Needs a POSIX
system for its locks. Nothing here knows what the files mean.

    with Store("index").write() as folder:
        (folder / "items.json").write_text("[]")
    Store("index").current() / "items.json"
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipadapt.atomic import Guard, atomic_write, flush, flush_tree, sha256_file, staged, write_new
from clipadapt.atomic import atomic_folder as atomic_folder
from clipadapt.errors import StoreError

MANIFEST = "manifest.json"
POINTER = "current"
_UNFINISHED = "unfinished"
_VERSION = re.compile(r"\d{6,}")


class Pointer(NamedTuple):
    """What the pointer file says."""

    version: str
    manifest: str
    """sha256 of the version's manifest.json, so that a manifest cannot change unnoticed."""


class Store:
    """A folder of versions, of which one is current."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    def exists(self) -> bool:
        """Whether any version was ever pointed to."""
        return (self.root / POINTER).exists()

    def versions(self) -> list[str]:
        """Names of all whole versions, oldest first; one of them may be newer than the current one."""
        folder = self.root / "versions"
        if not folder.is_dir():
            return []
        return sorted((path.name for path in folder.iterdir() if _VERSION.fullmatch(path.name)), key=int)

    def version(self) -> str:
        """Name of the current version.

        Raises:
            StoreError: nothing was ever written here, or the pointer cannot be read.
        """
        return self._pointer().version

    def current(self, *, verify: bool = False) -> Path:
        """Folder of the current version, its files there and of the right size; `verify` also reads them for sha256.

        Raises:
            StoreError: nothing was ever written here, or a file is missing or changed; all such files in one message.
        """
        pointer = self._pointer()
        return self._checked(pointer.version, pointer.manifest, verify=verify)

    @contextlib.contextmanager
    def write(self) -> Iterator[Path]:
        """An empty folder to fill; it becomes the current version when the block ends without an exception.

        Raises:
            StoreError: another process is writing, no space, or another failure of the disk. What was current stays so.
        """
        with self._writing() as guard:
            number = max((int(version) for version in self.versions()), default=0) + 1
            final = self.root / "versions" / f"{number:06d}"
            with staged(self.root / _UNFINISHED) as staging:
                with guard.filling():
                    yield staging
                manifest = _write_manifest(staging)
                flush_tree(staging)
                staging.rename(final)
            try:
                flush(final.parent)
                self._point(Pointer(final.name, manifest))
            except BaseException:
                # The very last flush can fail after the swap; then the new version is the current one and stays.
                if not self._points_to(final.name):
                    shutil.rmtree(final, ignore_errors=True)
                raise

    def point_to(self, version: str) -> Path:
        """Makes an existing version the current one, after reading every file of it; gives its folder.

        Raises:
            StoreError: no such version, a file of it is missing or changed, or another process is writing.
        """
        with self._writing():
            folder = self._checked(version, None, verify=True)
            self._point(Pointer(version, sha256_file(folder / MANIFEST)))
        return folder

    def prune(self, keep: int) -> list[str]:
        """Removes all but the newest `keep` versions and the current one; gives the removed.

        A reader that has asked for `current` but not yet opened its files loses them if it is pruned: keep two or more.

        Raises:
            StoreError: another process is writing, or a folder cannot be removed.
        """
        with self._writing():
            versions = self.versions()
            current = self.version() if self.exists() else None
            removed = [version for version in versions[: max(len(versions) - keep, 0)] if version != current]
            for version in removed:
                # Renamed first: a version that is half removed must not look like one.
                with staged(self.root / _UNFINISHED) as staging:
                    (self.root / "versions" / version).rename(staging / version)
        return removed

    def _pointer(self) -> Pointer:
        file = self.root / POINTER
        try:
            raw = json.loads(file.read_bytes())
            pointer = Pointer(str(raw["version"]), str(raw["manifest"]))
        except FileNotFoundError as error:
            raise StoreError(f"{self.root}: nothing was written here yet, for there is no file {POINTER!r}") from error
        except OSError as error:
            raise StoreError(f"{file}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file}: is not a pointer to a version; point it to one of {self.versions()}") from error
        if not _VERSION.fullmatch(pointer.version):
            raise StoreError(f"{file}: names {pointer.version!r}, which is no version; there are {self.versions()}")
        return pointer

    def _points_to(self, version: str) -> bool:
        try:
            return self._pointer().version == version
        except StoreError:
            return False

    def _checked(self, version: str, manifest: str | None, *, verify: bool) -> Path:
        folder = self.root / "versions" / version
        if not _VERSION.fullmatch(version) or not folder.is_dir():
            raise StoreError(f"{self.root}: no version {version!r}; there are {self.versions()}")
        faults = check_manifest(folder, manifest, verify=verify)
        if faults:
            others = [name for name in self.versions() if name != version]
            remedy = f"point to another version ({', '.join(others)}) or write it anew" if others else "write it anew"
            raise StoreError(f"{folder}: was changed after it was written: {'; '.join(faults)}. {remedy}")
        return folder

    def _point(self, pointer: Pointer) -> None:
        atomic_write(self.root / POINTER, json.dumps(pointer._asdict()) + "\n")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Guard]:
        """Holds the lock; what a killed writer left of its pointer is removed."""
        with Guard(self.root) as guard:
            (self.root / "versions").mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _claim(lock, self.root)
                for left in self.root.glob(f".{POINTER}.*.partial"):
                    left.unlink(missing_ok=True)
                yield guard
            finally:
                # Unlocked by name: a process forked inside the block holds the same lock through its own copy.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os.close(lock)


def check_manifest(folder: Path, manifest: str | None = None, *, verify: bool) -> list[str]:
    """What differs from `folder`'s manifest.json, a line each: files missing, of another size or, if `verify`, content.

    `manifest` is the sha256 that manifest.json itself must have. Files that it does not list are no fault.
    """
    file = folder / MANIFEST
    try:
        if manifest is not None and sha256_file(file) != manifest:
            return [f"{MANIFEST} has another sha256 than the pointer says"]
        listed = json.loads(file.read_bytes())["files"]
        return [fault for name, entry in listed.items() if (fault := _differs(folder / name, name, entry, verify))]
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST} is not a list of files"]


def _differs(file: Path, name: str, entry: dict[str, object], verify: bool) -> str | None:
    try:
        size = file.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes instead of {entry['bytes']}"
        if verify and sha256_file(file) != entry["sha256"]:
            return f"{name} has another sha256"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    return None


def _write_manifest(folder: Path) -> str:
    """Lists every file of `folder` in its manifest.json; gives the sha256 of that."""
    files = {}
    for file in sorted(folder.rglob("*")):
        mode = file.lstat().st_mode
        if stat.S_ISREG(mode):
            files[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
        elif not stat.S_ISDIR(mode):
            raise StoreError(f"{file}: only plain files and folders can be kept in a version")
    write_new(folder / MANIFEST, json.dumps({"schema_version": 1, "files": files}, indent=1).encode() + b"\n")
    return sha256_file(folder / MANIFEST)


def _claim(lock: int, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(f"{root}: another process is writing here; wait for it to end, then try again") from error
