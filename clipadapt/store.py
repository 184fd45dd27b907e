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
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from clipadapt.errors import StoreError

MANIFEST = "manifest.json"
POINTER = "current"
_UNFINISHED = "unfinished"
_VERSION = re.compile(r"\d{6,}")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}


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
        """Folder of the current version, its files all there and of the right size; `verify` also reads them for sha256.

        Raises:
            StoreError: nothing was ever written here, or a file is missing or changed; all such files in one message.
        """
        pointer = self._pointer()
        return self._checked(pointer.version, pointer.manifest, verify=verify)

    @contextlib.contextmanager
    def write(self) -> Iterator[Path]:
        """An empty folder to fill; it becomes the current version when the block ends without an exception.

        Raises:
            StoreError: another process is writing, no space, or any other failure of the disk. What was current stays so.
        """
        with self._writing() as guard:
            number = max((int(version) for version in self.versions()), default=0) + 1
            final = self.root / "versions" / f"{number:06d}"
            with _staged(self.root / _UNFINISHED) as staging:
                with guard.filling():
                    yield staging
                manifest = _write_manifest(staging)
                _flush_tree(staging)
                os.rename(staging, final)
            try:
                _flush(final.parent)
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
        """Removes all but the newest `keep` versions and the current one; gives the removed. Readers may still hold one.

        Raises:
            StoreError: another process is writing, or a folder cannot be removed.
        """
        with self._writing():
            stay = {
                *self.versions()[max(len(self.versions()) - keep, 0) :],
                *([self.version()] if self.exists() else []),
            }
            removed = [version for version in self.versions() if version not in stay]
            for version in removed:
                # Renamed first: a version that is half removed must not look like one.
                with _staged(self.root / _UNFINISHED) as staging:
                    os.rename(self.root / "versions" / version, staging / version)
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
    def _writing(self) -> Iterator["_Guard"]:
        """Holds the lock; what a killed writer left of its pointer is removed."""
        with _Guard(self.root) as guard:
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


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Replaces a file in one step, flushed to the disk; text is UTF-8.

    Raises:
        StoreError: no space, or it cannot be written; what was there is as it was.
    """
    file = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with _Guard(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
        try:
            _write(temporary, content)
            os.replace(temporary, file)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _flush(file.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of `path` when the block ends without an exception.

    Where the system can exchange two folders (Linux), a reader never finds `path` missing; elsewhere there is an instant
    between two renames. What a killed process left unfinished is swept away by the next writer of the same path.

    Raises:
        StoreError: no space, `path` is a file, or any other failure of the disk; what was there is as it was.
    """
    target = Path(path)
    with _Guard(target) as guard:
        if target.exists() and not target.is_dir():
            raise StoreError(
                f"{target}: is a file where a folder is to be written; move it away or name another folder"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with _staged(target) as staging:
            with guard.filling():
                yield staging
            _flush_tree(staging)
            if target.exists():
                _exchange(staging, target)
            else:
                os.rename(staging, target)
            _flush(target.parent)


def sha256_file(path: str | Path) -> str:
    """Digest of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    _write(folder / MANIFEST, json.dumps({"schema_version": 1, "files": files}, indent=1).encode() + b"\n")
    return sha256_file(folder / MANIFEST)


@contextlib.contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, gone at the end unless it was renamed; it is locked, so that others can tell it is alive."""
    for left in target.parent.glob(f".{_escaped(target.name)}.*.partial"):
        _sweep(left)
    staging = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    staging.mkdir()
    try:
        handle = os.open(staging, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield staging
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def _sweep(left: Path) -> None:
    """Removes what a dead process left; the lock of a living one is held."""
    with contextlib.suppress(OSError):
        if not left.is_dir():
            return
        handle = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(handle)


def _claim(lock: int, root: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(f"{root}: another process is writing here; wait for it to end, then try again") from error


def _exchange(staging: Path, target: Path) -> None:
    """Swaps two folders in one step where the system can; else in two renames, undone when the second fails."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is not None:
        here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of linux/fcntl.h and linux/fs.h
        if rename(here, os.fsencode(staging), here, os.fsencode(target), exchange) == 0:
            return
        if (code := ctypes.get_errno()) not in _CANNOT_EXCHANGE:
            raise OSError(code, os.strerror(code), str(target))
    aside = staging.with_name(staging.name.removesuffix(".partial") + ".replaced")
    os.rename(target, aside)
    try:
        os.rename(staging, target)
    except BaseException:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_tree(folder: Path) -> None:
    for inner, _, files in os.walk(folder):
        for name in files:
            _flush(Path(inner, name))
        _flush(Path(inner))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Guard:
    """Tells failures of the disk as StoreErrors; those of the block that fills a folder only when space ran out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._theirs: BaseException | None = None

    @contextlib.contextmanager
    def filling(self) -> Iterator[None]:
        """Around the caller's block: what it raises is its own affair."""
        try:
            yield
        except BaseException as error:
            self._theirs = error
            raise

    def __enter__(self) -> "_Guard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, StoreError) or not isinstance(error, Exception):
            return
        code = error.errno if isinstance(error, OSError) else None
        # Libraries that write for the caller (FAISS, safetensors) say it in errors of their own.
        if code in _NO_SPACE or "no space left on device" in str(error).lower():
            where = next((folder for folder in self._path.absolute().parents if folder.exists()), Path.cwd())
            free = shutil.disk_usage(where).free / 2**20
            raise StoreError(
                f"{self._path}: no space left to write it ({free:,.0f} MiB free); what was there before is as it was. "
                "Free some space or choose another place, then repeat the command"
            ) from error
        if isinstance(error, OSError) and error is not self._theirs:
            raise StoreError(
                f"{self._path}: could not be written: {error.strerror or error} ({error.filename or self._path}); "
                "what was there before is as it was. Check the disk and the permissions"
            ) from error
