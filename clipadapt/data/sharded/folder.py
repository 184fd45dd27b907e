"""A folder on this machine or on a URL that fsspec understands: small files whole, large ones copied.

    folder = Folder("s3://bucket/shop")       # needs s3fs, as fsspec's own message says
    folder.write("shards.json", data)         # there whole or not at all, on local disks and object stores
    folder.put(file, "data/a.parquet")        # a large file that was written elsewhere

Connections are opened in the process that uses them, for those of a parent process do not work in a child.
Nothing here knows what files mean.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clipadapt.atomic import Guard, atomic_write, flush
from clipadapt.errors import CatalogueError, StoreError

_PIECE = 4 * 2**20


class Folder:
    """One folder; names of files are relative to it."""

    def __init__(self, name: str | Path) -> None:
        """Raises:
        CatalogueError: a URL whose protocol fsspec does not know, or whose package is not installed.
        """
        self.name = str(name).rstrip("/")
        self._opened: tuple[int, Any, str] | None = None
        system, root = self._system()
        self.local: Path | None = Path(root) if isinstance(system, LocalFileSystem) else None
        """Where it lies on this machine."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}

    def place(self, name: str) -> str:
        """A file as a person would name it."""
        return f"{self.name}/{name}"

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none.

        Raises:
            CatalogueError: it cannot be read.
        """
        system, root = self._system()
        try:
            return bytes(system.cat_file(f"{root}/{name}"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # fsspec's file systems raise errors of their own libraries
            raise self._unread(name, error) from error

    def write(self, name: str, data: bytes) -> None:
        """Replaces a file.

        Raises:
            StoreError: it cannot be written.
        """
        if self.local is not None:
            atomic_write(self.local / name, data)
            return
        system, root = self._system()
        with self._writing(name):
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            system.pipe_file(f"{root}/{name}", data)

    def put(self, file: Path, name: str) -> None:
        """Moves a file of this machine here; in one step where the store does so.

        Raises:
            StoreError: it cannot be written.
        """
        if self.local is not None:
            target = self.local / name
            with Guard(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                flush(file)
                file.replace(target)
                flush(target.parent)
            return
        system, root = self._system()
        with self._writing(name):
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), f"{root}/{name}")
        file.unlink()

    def fetch(self, name: str, target: Path, given_up: Callable[[], bool] = lambda: False) -> bool:
        """Copies a file to this machine; whether all of it, for it may be given up on the way.

        Raises:
            CatalogueError: it is missing or cannot be read.
            StoreError: this machine's disk refuses.
        """
        with Guard(target), target.open("wb") as copy:
            for piece in self._pieces(name):
                if given_up():
                    return False
                copy.write(piece)
        return True

    def size(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        system, root = self._system()
        try:
            system.invalidate_cache()
            return int(system.info(f"{root}/{name}")["size"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # as in `read`
            raise self._unread(name, error) from error

    def remove(self, name: str) -> None:
        """Takes a file away if there is one."""
        system, root = self._system()
        with self._writing(name), contextlib.suppress(FileNotFoundError):
            system.rm_file(f"{root}/{name}")

    def tail(self, name: str, count: int) -> bytes:
        """The last bytes of a file.

        Raises:
            CatalogueError: it is missing or cannot be read.
        """
        system, root = self._system()
        try:
            return bytes(system.cat_file(f"{root}/{name}", start=-count))
        except FileNotFoundError as error:
            raise self.missing(name) from error
        except Exception as error:  # as in `read`
            raise self._unread(name, error) from error

    def missing(self, name: str) -> CatalogueError:
        """The error for a file that the index lists and that is not there."""
        return CatalogueError(
            f"{self.place(name)}: missing; restore it, or write the shards again with clipadapt data prepare --shards"
        )

    def _pieces(self, name: str) -> Iterator[bytes]:
        """A file bit by bit; its failures name it, apart from those of the disk that it is copied to."""
        system, root = self._system()
        try:
            with system.open(f"{root}/{name}", "rb") as file:
                while piece := file.read(_PIECE):
                    yield piece
        except FileNotFoundError as error:
            raise self.missing(name) from error
        except Exception as error:  # as in `read`
            raise self._unread(name, error) from error

    def _unread(self, name: str, error: Exception) -> CatalogueError:
        return CatalogueError(f"{self.place(name)}: cannot be read ({error}); check the address and your access to it")

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # as in `read`
            raise StoreError(
                f"{self.place(name)}: could not be written: {error}; check the address, the space and your access to "
                "it, then run the same command again, which goes on from here"
            ) from error

    def _system(self) -> tuple[Any, str]:
        if self._opened is None or self._opened[0] != os.getpid():
            url = self.name if "://" in self.name else str(Path(os.path.expandvars(self.name)).expanduser())
            try:
                system, root = fsspec.url_to_fs(url)
            except (ImportError, ValueError) as error:
                raise CatalogueError(
                    f"{self.name}: fsspec cannot open it: {error}; install what it names, or correct the address"
                ) from error
            self._opened = os.getpid(), system, root.rstrip("/")
        return self._opened[1], self._opened[2]
