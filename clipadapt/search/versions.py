"""Versions of an index on the store: the current one open, a new one written with what is new in it, old ones pruned.

A change reads, edits and writes under the writer's lock, so two writers cannot lose each other's work; readers need no
lock, and keep what they opened. Segments that are open already are not opened again. Knows nothing of what an edit is
for.
"""

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clipadapt.atomic import sha256_file
from clipadapt.errors import StoreError
from clipadapt.manifest import Entry, listed
from clipadapt.search import contents as files
from clipadapt.search.contents import Contents, Segment, files_of
from clipadapt.search.meta import Meta
from clipadapt.search.twins import index_folder, refuse_twin
from clipadapt.store import Pointer, Store

_PATIENCE = 30.0
"""Seconds that a change waits for another process that is writing; most take a fraction of one."""


class _Open(NamedTuple):
    pointer: Pointer
    listed: dict[str, Entry]
    contents: Contents
    mapped: bool


class Versions:
    """The store of one index.

    Args:
        path: its folder, or a folder of releases, which stands for the index of the one that is current.
        twin: changes may be made while they go to another index (twins.py): whoever keeps the two the same.
    """

    def __init__(self, path: str | Path, *, twin: bool = False) -> None:
        self.store = Store(index_folder(path))
        self._twin = twin
        self._open: _Open | None = None
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return str(self.store.root)

    def read(self, *, mapped: bool, verify: bool) -> Contents:
        """The current version, the same object for as long as it is; read again when a writer has pruned it meanwhile.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
        """
        while True:
            version = self.store.version()
            try:
                with self._lock:
                    return self._read(mapped=mapped, verify=verify)
            except (StoreError, FileNotFoundError):
                if self.store.version() == version:
                    raise

    def write(self, contents: Contents) -> None:
        """A new version, which becomes the current one.

        Raises:
            StoreError: the disk refuses, another process is writing, or changes go to a twin; what was current
                stays so.
        """
        with self.store.write() as staging, self._refused():
            self._refuse_twin()
            files.write(staging, _with(contents, follows=self.store.version() if self.store.exists() else None))
        self._prune()

    def before(self) -> str | None:
        """The version that the current one was made from; None where it is not there."""
        versions, current = self.store.versions(), self.store.version()
        follows = Meta.read(self.store.root / "versions" / current / "index.json").follows
        older = [version for version in versions if int(version) < int(current)]
        return follows if follows in versions else older[-1] if older and follows is None else None

    def change(
        self,
        edit: Callable[[Contents], Contents],
        *,
        prepared: Path | None = None,
        mapped: bool = True,
    ) -> Contents:
        """The current version edited, as a new one; gives it. Files of what the edit leaves as it was are shared.

        Args:
            prepared: where files of new segments lie already (`Store.prepare`).

        Raises:
            StoreError: as write and read. Whatever `edit` raises; nothing is changed then.
        """
        with self._lock:
            with self.store.write(patience=_PATIENCE, prepared=prepared) as staging, self._refused():
                self._refuse_twin()
                folder = self.store.current()
                now = self._read(mapped=mapped, verify=False)
                edited = _with(edit(now), follows=folder.name)
                if self.store.versions()[-1] != folder.name:  # after a rollback, vector ids are given a second time
                    edited = _with(edited, generation=secrets.token_hex(8))
                if prepared is None:
                    self._verify_used(folder, now, edited)
                same = {id(one) for one in now.segments}
                sources = {name: folder for one in edited.segments if id(one) in same for name in one.files}
                sources |= {"text_queries.npy": folder} if edited.texts is now.texts else {}
                sources |= dict.fromkeys(listed(prepared), prepared) if prepared is not None else {}
                there = listed(folder)

                def shared(name: str) -> bool:
                    source = sources.get(name)
                    if source is None or (source == folder and name not in there):  # ids.npy of an older clipadapt
                        return False
                    self.store.keep(source, [name], staging)
                    return True

                files.write(staging, edited, shared=shared)
            self._remember(edited, mapped)
            self._prune()
        return edited

    def _refuse_twin(self) -> None:
        if not self._twin:
            refuse_twin(self.store.root)

    def _read(self, *, mapped: bool, verify: bool) -> Contents:
        pointer, known = self.store.pointer(), self._open
        if known is not None and not verify and known.mapped == mapped and known.pointer == pointer:
            return known.contents
        folder = self.store.current(verify=verify)
        there = listed(folder)
        _verify(folder, files.SMALL, there)
        opened = {one.about.name: one for one in known.contents.segments} if known and known.mapped == mapped else {}

        def same(name: str) -> Segment | None:
            segment = opened.get(name)
            if segment is None or known is None:
                return None
            return segment if all(there.get(file) == known.listed.get(file) for file in files_of(name)) else None

        contents = files.read(folder, mapped=mapped, known=same)
        if pointer is not None:
            self._open = _Open(pointer, there, contents, mapped)
        return contents

    def _remember(self, contents: Contents, mapped: bool) -> None:
        pointer = self.store.written
        if pointer is not None:
            self._open = _Open(pointer, listed(self.store.root / "versions" / pointer.version), contents, mapped)

    def _verify_used(self, folder: Path, now: Contents, edited: Contents) -> None:
        """Segments that are part of new ones: what is damaged must not get a new checksum."""
        kept, there = {id(one) for one in edited.segments}, listed(folder)
        for segment in now.segments:
            if id(segment) not in kept:
                _verify(folder, segment.files, there)

    def _prune(self) -> None:
        """The current version stays, and the one before, for a rollback and for readers that are just opening it."""
        with contextlib.suppress(StoreError):  # another writer has begun, and prunes in its turn
            self.store.remove(self._passed)

    def _passed(self) -> list[str]:
        kept = {self.store.version(), self.before()}
        return [version for version in self.store.versions() if version not in kept]

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Failures of the disk while a version is filled, as StoreErrors."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise StoreError(f"{self}: could not be written ({error}); the index stays as it was") from error


def _with(contents: Contents, **meta: str | None) -> Contents:
    """The same with other lines of index.json."""
    return Contents(contents.segments, contents.items, contents.meta.model_copy(update=meta), contents.texts)


def _verify(folder: Path, names: Sequence[str], there: Mapping[str, Entry]) -> None:
    for name in names:
        if name in there and sha256_file(folder / name) != there[name]["sha256"]:
            raise StoreError(f"{folder}: was changed after it was written: {name} has another sha256")
