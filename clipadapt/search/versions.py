"""Versions of an index on the store: the current one read whole, a new one written whole, old ones pruned.

A change reads, edits and writes under the writer's lock, so two writers cannot lose each other's work; readers need no
lock, and keep what they opened. Knows nothing of what an edit is for.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from clipadapt.errors import StoreError
from clipadapt.search import contents as files
from clipadapt.search.contents import Contents
from clipadapt.store import Store

_KEPT = 2
"""Versions that stay: the current one, and the one before for readers that are just opening it."""


class Versions:
    """The store of one index."""

    def __init__(self, path: str | Path) -> None:
        self.store = Store(path)

    def __str__(self) -> str:
        return str(self.store.root)

    def read(self, *, mapped: bool, verify: bool) -> Contents:
        """The current version; read again when a writer has replaced and pruned it meanwhile.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
        """
        while True:
            version = self.store.version()
            try:
                return files.read(self.store.current(verify=verify), mapped=mapped)
            except StoreError:
                if self.store.version() == version:
                    raise

    def write(self, contents: Contents) -> None:
        """A new version, which becomes the current one.

        Raises:
            StoreError: the disk refuses, or another process is writing; what was current stays so.
        """
        with self.store.write() as staging, self._refused():
            files.write(staging, contents)
        self._prune()

    def change(self, edit: Callable[[Contents], Contents], *, same_vectors: bool = False) -> None:
        """The current version edited, as a new one; `same_vectors`: the edit touches neither vectors nor items.

        Every file is verified first: a damaged one must not get a new checksum.

        Raises:
            StoreError: as write and read. Whatever `edit` raises; nothing is changed then.
        """
        with self.store.write() as staging, self._refused():
            folder = self.store.current(verify=True)
            edited = edit(files.read(folder, mapped=same_vectors))
            files.write(staging, edited, same_vectors=folder if same_vectors else None)
        self._prune()

    def _prune(self) -> None:
        with contextlib.suppress(StoreError):  # another writer has begun, and prunes in its turn
            self.store.prune(_KEPT)

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Failures of the disk while a version is filled, as StoreErrors."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise StoreError(f"{self}: could not be written ({error}); the index stays as it was") from error
