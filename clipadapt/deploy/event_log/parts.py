"""The files of a log: appended whole lines at a time, rotated by size and day, sealed after a crash.

    LOG/events-20300102T030405678-3f9a2c.jsonl     a part of one writer; opened then
    LOG/answers-20300102T030405678-77b01e.jsonl

    seal(folder)                                   cuts off what dead writers left half-written
    part = Part.new(folder, "events", now)
    part.append(lines)                             all of them, or none and an error
    part.flush()                                   on the disk

A part belongs to one process, which keeps a lock on it: that is how others tell a part that is being written from one
whose writer died. What was appended is the system's and outlives the process; what was flushed outlives the machine,
too. When a disk is full, a part is cut back to its last whole line, so that a broken line never stands between two
others. Nothing here knows what a line says.
"""

import contextlib
import datetime
import fcntl
import os
import secrets
from pathlib import Path
from typing import NamedTuple, Self

from clipadapt.deploy.event_log.form import KINDS, Kind

MOST_BYTES = 64 * 2**20
"""Of one part."""
_BLOCK = 64 * 1024


class Sealed(NamedTuple):
    """What a crash had left."""

    parts: int
    """That ended in half a line."""
    bytes: int
    """Of those half lines, cut off."""


class Part:
    """One file that this process appends to."""

    def __init__(self, path: Path, handle: int, day: datetime.date) -> None:
        self.path = path
        self.day = day
        self.bytes = 0
        self._handle = handle

    @classmethod
    def new(cls, folder: Path, kind: Kind, now: datetime.datetime) -> Self:
        """An empty part, locked before anyone else can see it.

        Raises:
            OSError: the folder cannot be written.
        """
        opened = f"{now.astimezone(datetime.UTC):%Y%m%dT%H%M%S%f}"[:-3]  # to the millisecond, so that names sort by age
        path = folder / f"{kind}-{opened}-{secrets.token_hex(3)}.jsonl"
        hidden = path.with_name(f".{path.name}")
        handle = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            hidden.rename(path)
        except BaseException:
            os.close(handle)
            hidden.unlink(missing_ok=True)
            raise
        return cls(path, handle, now.astimezone(datetime.UTC).date())

    def fits(self, now: datetime.datetime, most: int = MOST_BYTES) -> bool:
        """Whether it is still this part that lines belong to: of today, not too large, and not removed by someone."""
        alive = os.fstat(self._handle).st_nlink > 0
        return alive and self.bytes < most and self.day == now.astimezone(datetime.UTC).date()

    def append(self, lines: bytes) -> None:
        """Hands whole lines to the system, which waits for no disk as a rule.

        Raises:
            OSError: no space, or the disk refuses; the part is as it was.
        """
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except BaseException:
            self.cut(self.bytes)
            raise
        self.bytes += len(lines)

    def flush(self) -> None:
        """Waits until what was appended is on the disk.

        Raises:
            OSError: the disk refuses; what of it is there nobody knows.
        """
        os.fdatasync(self._handle)

    def cut(self, size: int) -> None:
        """Takes off what was appended beyond `size` bytes."""
        os.ftruncate(self._handle, size)
        self.bytes = size

    def close(self) -> None:
        """Lets go of it; an empty part is removed."""
        if self.bytes == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)


def parts(folder: Path, kind: Kind) -> list[Path]:
    """The files of one kind, oldest first; where a part is there as Parquet too, that alone."""
    packed = {path.stem: path for path in folder.glob(f"{kind}-*.parquet")}
    plain = {path.stem: path for path in folder.glob(f"{kind}-*.jsonl")}
    return [path for _, path in sorted((plain | packed).items())]


def seal(folder: Path) -> Sealed:
    """Cuts half a last line off every part whose writer is dead; parts that are being written are left alone.

    Raises:
        OSError: a part cannot be opened or cut.
    """
    found = [_sealed(path) for kind in KINDS for path in folder.glob(f"{kind}-*.jsonl")]
    for hidden in folder.glob(".*-*.jsonl"):  # of a process that died between creating and naming it
        _remove_unlocked(hidden)
    return Sealed(sum(cut > 0 for cut in found), sum(found))


def closed(path: Path) -> bool:
    """Whether nobody writes to a part any more."""
    with path.open("rb") as file:
        return _locked(file.fileno())


def _sealed(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return 0  # empty, and removed by its writer in between
    try:
        if not _locked(handle):
            return 0
        size = os.fstat(handle).st_size
        whole = _whole_lines(handle, size)
        if whole < size:
            os.ftruncate(handle, whole)
            os.fsync(handle)
        return size - whole
    finally:
        os.close(handle)


def _whole_lines(handle: int, size: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _locked(handle: int) -> bool:
    """Takes the lock if nobody has it; given back when the file is closed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_unlocked(hidden: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(hidden, os.O_RDWR)
        try:
            if _locked(handle):
                hidden.unlink(missing_ok=True)
        finally:
            os.close(handle)
