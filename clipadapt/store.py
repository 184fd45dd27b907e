"""Files and folders that appear whole or not at all: one file, one folder, or versions behind one pointer.

    with atomic_folder(out) as staging: ...            # an export: the folder is there whole, or as it was
    store = Store(root)
    with store.write() as staging: ...                 # a new version, which becomes the current one
    store.current() / "index.faiss"

What is written is flushed to the disk before it is named, and naming is one rename: a process that is killed, a full
disk or a power cut leaves the old state or the new one. Every version carries a manifest with a sha256 per file.
Knows nothing of what the files mean.

    root/current               {"version": "000002", "manifest": <sha256 of its manifest.json>}
    root/versions/000002/      the files, and manifest.json
    root/.lock                 held by the one process that writes
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clipadapt.errors import StoreError

MANIFEST = "manifest.json"
_STAGING = ".staging-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Entry(NamedTuple):
    """One file of a manifest."""

    size: int
    """Bytes."""
    sha256: str


class Store:
    """Versions of a folder behind one atomic pointer; many readers, one writer."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def exists(self) -> bool:
        """Whether a version is current."""
        return self._pointer.exists()

    def versions(self) -> list[str]:
        """Names of all whole versions, oldest first."""
        folder = self.root / "versions"
        found = folder.iterdir() if folder.is_dir() else iter(())
        return sorted(child.name for child in found if child.name.isdigit())

    def version(self) -> str:
        """Name of the current version.

        Raises:
            StoreError: there is none, or the pointer is not one of ours.
        """
        return self._read_pointer()["version"]

    def current(self, *, verify: bool = False) -> Path:
        """The current version's folder, after its files were compared with the manifest.

        Args:
            verify: also compare every file's sha256, which reads all of them; sizes are always compared.

        Raises:
            StoreError: nothing was written yet, or a file is missing or changed.
        """
        pointer = self._read_pointer()
        folder = self.root / "versions" / pointer["version"]
        manifest = folder / MANIFEST
        if not manifest.is_file() or sha256_file(manifest) != pointer["manifest"]:
            raise StoreError(f"{manifest}: missing or changed since it was written; {_REMEDY}")
        check_manifest(folder, verify=verify)
        return folder

    @contextlib.contextmanager
    def write(self) -> Iterator[Path]:
        """An empty folder to fill; on a clean exit it becomes the current version, else nothing remains of it.

        Raises:
            StoreError: another process is writing, or the disk refuses; the current version stays as it was.
        """
        with self.lock():
            with _explained(self.root):
                versions = self.root / "versions"
                versions.mkdir(parents=True, exist_ok=True)
                for stale in versions.glob(f"{_STAGING}*"):  # left by a killed writer: we hold the lock, so no one's
                    shutil.rmtree(stale, ignore_errors=True)
                staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=versions))
            try:
                yield staging
                with _explained(self.root):
                    write_manifest(staging)
                    sync_tree(staging)
                    name = f"{int(max(self.versions(), default='0')) + 1:06d}"
                    staging.chmod(0o755)
                    staging.rename(versions / name)
                    sync_folder(versions)
                    self._swap_pointer(name)
            except OSError as error:
                raise _if_full(self.root, error) from error
            finally:
                shutil.rmtree(staging, ignore_errors=True)

    def point_to(self, version: str) -> None:
        """Makes a whole version the current one, by one rename.

        Raises:
            StoreError: no such version, a file of it changed, or another process is writing.
        """
        with self.lock():
            folder = self.root / "versions" / version
            if not folder.is_dir():
                known = ", ".join(self.versions()) or "none"
                raise StoreError(f"{self.root}: no version {version}; there are: {known}")
            check_manifest(folder, verify=True)
            with _explained(self.root):
                self._swap_pointer(version)

    def prune(self, keep: int) -> list[str]:
        """Removes the oldest versions until `keep` remain, never the current one; returns what was removed.

        Raises:
            StoreError: another process is writing.
        """
        with self.lock():
            current = self.version() if self.exists() else None
            doomed = [name for name in self.versions()[: -keep or None] if name != current]
            for name in doomed:
                hidden = self.root / "versions" / f"{_STAGING}{name}"
                (self.root / "versions" / name).rename(hidden)  # gone as a version before its files start to go
                shutil.rmtree(hidden, ignore_errors=True)
            return doomed

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Held by one process at a time; the system lets go of it when the process ends, however it ends.

        Raises:
            StoreError: another process holds it.
        """
        with _explained(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(f"{self.root}: another process is writing; try again when it is done") from error
            yield
        finally:
            os.close(handle)

    @property
    def _pointer(self) -> Path:
        return self.root / "current"

    def _read_pointer(self) -> dict[str, str]:
        try:
            pointer = json.loads(self._pointer.read_text(encoding="utf-8"))
            return {"version": str(pointer["version"]), "manifest": str(pointer["manifest"])}
        except FileNotFoundError as error:
            raise StoreError(f"{self.root}: holds nothing yet (no file {self._pointer.name})") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._pointer}: cannot be read ({error}); {_REMEDY}") from error

    def _swap_pointer(self, version: str) -> None:
        manifest = sha256_file(self.root / "versions" / version / MANIFEST)
        atomic_write(self._pointer, json.dumps({"version": version, "manifest": manifest}) + "\n")


def write_manifest(folder: Path) -> dict[str, Entry]:
    """Writes `folder/manifest.json`: size and sha256 of every file below it, by relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    entries = {path.relative_to(folder).as_posix(): Entry(path.stat().st_size, sha256_file(path)) for path in files}
    content = {"files": {name: entry._asdict() for name, entry in entries.items()}}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return entries


def check_manifest(folder: Path, *, verify: bool) -> None:
    """Compares a folder with its manifest; sizes always, sha256 when `verify`.

    Raises:
        StoreError: names every file that is missing or changed.
    """
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        entries = {str(name): Entry(int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / MANIFEST}: cannot be read ({error}); {_REMEDY}") from error
    faults = []
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != entry.size:
            faults.append(f"{name} has {path.stat().st_size} bytes, written were {entry.size}")
        elif verify and sha256_file(path) != entry.sha256:
            faults.append(f"{name} has another sha256 than when it was written")
    if faults:
        raise StoreError(f"{folder}: {'; '.join(faults)}; {_REMEDY}")


def atomic_write(path: str | Path, content: str | bytes) -> None:
    """Replaces a file as a whole: readers see the old content or the new, whatever happens meanwhile.

    Raises:
        StoreError: the disk refuses; the old file stays as it was.
    """
    target = Path(path)
    staging: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(staging).chmod(0o644)
        Path(staging).replace(target)
        sync_folder(target.parent)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        if staging is not None:
            Path(staging).unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill; on a clean exit it stands at `path`, in place of what stood there, else nothing does.

    Raises:
        StoreError: the disk refuses; what stood at `path` stays as it was.
    """
    target = Path(path)
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}{_STAGING}", dir=target.parent))
    try:
        yield staging
        with _explained(target):
            sync_tree(staging)
            staging.chmod(0o755)
            if target.exists():
                _exchange(staging, target)  # the old folder now bears the staging name, and is removed below
            else:
                staging.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        raise _if_full(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> None:
    """Flushes every file and folder below to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Flushes a folder's list of names to the disk, without which a rename may be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(first: Path, second: Path) -> None:
    """Swaps two names in one step; on systems without such a call, in two, between which `second` is missing."""
    if sys.platform == "linux":
        at_working_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)
        libc = ctypes.CDLL(None, use_errno=True)
        arguments = (at_working_folder, os.fsencode(first), at_working_folder, os.fsencode(second), exchange)
        if libc.renameat2(*arguments) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):  # EINVAL: a file system that cannot swap
            raise OSError(code, os.strerror(code), str(second))
    aside = first.with_name(f"{first.name}-old")
    second.rename(aside)
    first.rename(second)
    aside.rename(first)


@contextlib.contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(place, error) from error


def _if_full(place: Path, error: OSError) -> OSError | StoreError:
    """The caller's own writes may fill the disk too; its other errors are not ours to rename."""
    return _refused(place, error) if error.errno in _FULL else error


def _refused(place: Path, error: OSError) -> StoreError:
    """What the system refused, with the room that is left where that is the reason."""
    if error.errno in _FULL:
        existing = next(parent for parent in (place, *place.absolute().parents) if parent.exists())
        free = shutil.disk_usage(existing).free / 1e6
        return StoreError(f"{place}: the disk is full ({free:,.0f} MB free); make room and run this again")
    return StoreError(f"{place}: {error.strerror or error}; nothing was changed")


_REMEDY = "restore it from a copy, or build it again"
