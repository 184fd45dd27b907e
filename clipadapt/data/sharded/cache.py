"""A bounded folder of this machine with copies of remote files, for all processes on it; the least recently used go.

    CLIPADAPT_CACHE/shards/3f5a....parquet      named by its sha256, so a copy is always of the file that is meant
                           3f5a....<bytes>.partial   while it is copied, by the one process that holds its lock

Where it lies and how large it may become are the machine's affair and no part of an experiment: CLIPADAPT_CACHE and
CLIPADAPT_SHARDS_GB (20). A copy that a process reads while another takes it away stays readable, and on the disk, until
it is closed: callers close it with each read.
Copies are compared with their digest once, when they are made. Nothing here knows what is in a file.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from clipadapt.atomic import Guard, sha256_file
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Shard
from clipadapt.errors import CatalogueError, ConfigError, StoreError
from clipadapt.places import default_folder

_GB = 20.0
_TRIES = 10
"""Times that a copy may be taken away by others before it is opened."""
_Opened = TypeVar("_Opened")


class ShardCache:
    """Copies of at most `limit` bytes in all."""

    def __init__(self, root: Path, limit: int) -> None:
        self.root, self.limit = root, limit

    @classmethod
    def of_machine(cls) -> "ShardCache":
        """The one that the environment names.

        Raises:
            ConfigError: CLIPADAPT_SHARDS_GB is no number above 0.
        """
        text = os.environ.get("CLIPADAPT_SHARDS_GB", str(_GB))
        try:
            limit = float(text)
            if not limit > 0:
                raise ValueError
        except ValueError as error:
            raise ConfigError(f"CLIPADAPT_SHARDS_GB is {text!r}; set it to gigabytes, such as {_GB:g}") from error
        return cls(default_folder() / "shards", int(limit * 1e9))

    def opened(self, folder: Folder, shard: Shard, open_file: Callable[[Path], _Opened]) -> _Opened:
        """What `open_file` makes of the copy.

        Raises:
            CatalogueError: the remote file is missing, or is not what the index says.
            StoreError: the disk is full, or the cache is too small.
        """
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # taken away by another process meanwhile
                return open_file(self.path(folder, shard))
        raise StoreError(
            f"{self.root}: copies are taken away before they are read: {self.limit / 1e9:g} GB are too few for all "
            "processes here; raise CLIPADAPT_SHARDS_GB, or lower data.window or data.workers"
        )

    def path(self, folder: Folder, shard: Shard) -> Path:
        """The copy, made now where there is none."""
        copy = self._place(shard)
        if _touched(copy):
            return copy
        with Guard(copy):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"{shard.sha256}.lock"):
                if not _touched(copy):
                    self._copy(folder, shard, copy)
        return copy

    def touch(self, shard: Shard) -> None:
        """Marks a copy as used, where there is one, so that others go before it."""
        _touched(self._place(shard))

    def fill(self, folder: Folder, shard: Shard, given_up: Callable[[], bool]) -> None:
        """Makes the copy for those who read it later, unless somebody is making it; one that is there counts as used.

        Args:
            given_up: whether it is not wanted any more, asked after each few megabytes.

        Raises:
            CatalogueError, StoreError: as `opened`.
        """
        copy = self._place(shard)
        if _touched(copy):
            return
        with Guard(copy), contextlib.suppress(Timeout):
            self.root.mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / f"{shard.sha256}.lock", timeout=0):
                if not _touched(copy):
                    self._copy(folder, shard, copy, given_up)

    def _place(self, shard: Shard) -> Path:
        return self.root / f"{shard.sha256}.parquet"

    def _copy(self, folder: Folder, shard: Shard, copy: Path, given_up: Callable[[], bool] = lambda: False) -> None:
        if shard.bytes > self.limit:
            raise StoreError(
                f"{folder.place(shard.name)}: its {shard.bytes / 1e9:.3g} GB do not fit into the {self.limit / 1e9:g} "
                f"GB of {self.root}; raise CLIPADAPT_SHARDS_GB, or write smaller shards (--rows-per-shard)"
            )
        partial = self.root / f"{shard.sha256}.{shard.bytes}.partial"
        if not self._make_room(shard, partial, given_up):
            return
        try:
            if not folder.fetch(shard.name, partial, given_up):
                return
            if partial.stat().st_size != shard.bytes or sha256_file(partial) != shard.sha256:
                raise changed(folder, shard)
            with FileLock(self.root / "lock"):  # or whoever counts meanwhile may see neither of the two
                partial.replace(copy)
        except StoreError as error:
            raise StoreError(
                f"{error} (a copy of {folder.place(shard.name)}; CLIPADAPT_CACHE names another disk, "
                "CLIPADAPT_SHARDS_GB a lower bound)"
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _make_room(self, shard: Shard, partial: Path, given_up: Callable[[], bool]) -> bool:
        """Takes copies away until the new one fits, and reserves its place: a partial file counts in full."""
        while not given_up():
            with FileLock(self.root / "lock"):
                copies = sorted((_state(file) for file in self.root.glob("*.parquet")), reverse=True)
                begun = sum(self._reserved(file) for file in self.root.glob("*.partial") if file != partial)
                room = self.limit - shard.bytes - begun - sum(size for _, size, _ in copies)
                while room < 0 and copies:
                    _, size, file = copies.pop()
                    file.unlink(missing_ok=True)
                    room += size
                if room >= 0:
                    partial.touch()
                    return True
            time.sleep(0.05)  # other processes are copying; what they copy can be taken away when they are done
        return False

    def _reserved(self, partial: Path) -> int:
        """The bytes that a copy under way will have; what a dead process left is taken away."""
        digest, size, _ = partial.name.split(".")
        try:
            with FileLock(self.root / f"{digest}.lock", timeout=0):
                partial.unlink(missing_ok=True)
                return 0
        except Timeout:
            return int(size)


def changed(folder: Folder, shard: Shard) -> CatalogueError:
    """The error for a file that is not what the index says."""
    return CatalogueError(
        f"{folder.place(shard.name)}: was changed since shards.json was written; restore it, or write the shards again "
        "with clipadapt data prepare --shards"
    )


def _touched(copy: Path) -> bool:
    """Marks a copy as used now; False where there is none."""
    now = time.time_ns()  # finer than what the system writes by itself, which would make ties
    try:
        os.utime(copy, ns=(now, now))
    except FileNotFoundError:
        return False
    return True


def _state(file: Path) -> tuple[int, int, Path]:
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0, file
    return found.st_mtime_ns, found.st_size, file
