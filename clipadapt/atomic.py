"""Files and folders that appear whole or not at all.

What is written lies under a hidden name beside its place until it is complete and flushed to the disk; then it is
renamed. Whatever moment a process is killed at, or the disk fills up at, a reader finds the old content or the new. The
trade: a flush per file, milliseconds each. Needs a POSIX system for its locks. Versions are store's business.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from clipadapt.errors import StoreError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM}


def atomic_write(path: str | Path, data: bytes | memoryview | str) -> None:
    """Replaces a file in one step, flushed to the disk; text is UTF-8.

    Raises:
        StoreError: no space, or it cannot be written; what was there is as it was.
    """
    file = Path(path)
    content = data.encode("utf-8") if isinstance(data, str) else data
    with Guard(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = _hidden(file)
        try:
            write_new(temporary, content)
            temporary.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        flush(file.parent)


@contextlib.contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill; it takes the place of `path` when the block ends without an exception.

    Where the system can exchange two folders (Linux), a reader never finds `path` missing; elsewhere there is an
    instant between two renames. What a killed process left unfinished is swept away by the next writer of that path.

    Raises:
        StoreError: no space, `path` is a file, or any other failure of the disk; what was there is as it was.
    """
    target = Path(path).resolve()
    with Guard(target) as guard:
        if target.exists() and not target.is_dir():
            raise StoreError(
                f"{target}: is a file where a folder is to be written; move it away or name another folder"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged(target) as staging:
            with guard.filling():
                yield staging
            flush_tree(staging)
            try:
                staging.rename(target)
            except OSError as error:
                if error.errno not in _OCCUPIED:
                    raise
                _exchange(staging, target)
            flush(target.parent)


def refuse_unwritable(path: str | Path) -> None:
    """Before any work whose result goes into the folder `path`, which need not be there yet; nothing is written.

    Raises:
        StoreError: this user may not write there, or a file stands where a folder is needed.
    """
    folder = Path(path).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise StoreError(f"{there}: is a file where a folder is to be written; move it away or name another folder")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        raise StoreError(
            f"{path}: cannot be written, for {there} is read-only for this user; name another place, or change the "
            "permissions"
        )


def sha256_file(path: str | Path) -> str:
    """Digest of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A new hidden folder beside `target`, gone at the end unless it was renamed.

    It is locked while in use, by which others tell it from what a dead process left; that is removed first.
    """
    for left in target.parent.glob(f".{glob.escape(target.name)}.*.partial"):
        _sweep(left)
    staging = _hidden(target)
    staging.mkdir()
    try:
        handle = os.open(staging, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            staging.mkdir(exist_ok=True)  # swept by another process before the lock was held
            yield staging
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


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
    target.rename(aside)
    try:
        staging.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def write_new(path: Path, data: bytes | memoryview) -> None:
    """Writes a file that must not exist yet, and flushes it to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_tree(folder: Path) -> None:
    """Flushes every file and folder in `folder`, and itself."""
    for inner, _, files in os.walk(folder):
        for name in files:
            flush(Path(inner, name))
        flush(Path(inner))


def flush(path: Path) -> None:
    """Waits until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Guard:
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

    def __enter__(self) -> "Guard":
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
                f"{self._path}: no space left to write it ({free:,.0f} MiB free); nothing half-written stays. "
                "Free some space or choose another place, then repeat the command"
            ) from error
        if isinstance(error, OSError) and error is not self._theirs:
            raise StoreError(
                f"{self._path}: could not be written: {error.strerror or error} ({error.filename or self._path}); "
                "nothing half-written stays. Check the disk and the permissions"
            ) from error
