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
from clipadapt.manifest import Entry, Verified, check_manifest, listed
from clipadapt.search import shards as files
from clipadapt.search.contents import SMALL, TEXTS, Segment, files_of
from clipadapt.search.meta import Meta
from clipadapt.search.shards import Version
from clipadapt.search.twins import index_folder, refuse_copies, refuse_twin
from clipadapt.store import Pointer, Store

_PATIENCE = 30.0
"""Seconds that a change waits for another process that is writing; most take a fraction of one."""


class _Open(NamedTuple):
    pointer: Pointer
    listed: dict[str, Entry]
    contents: Version
    mapped: bool


class Versions:
    """The store of one index.

    Args:
        path: its folder, or a folder of releases, which stands for the index of the one that is current.
        twin: changes may be made while they go to another index (twins.py), and only then: whoever keeps both the same.
    """

    def __init__(self, path: str | Path, *, twin: bool = False) -> None:
        self.store = Store(index_folder(path))
        self._twin = twin
        self._open: _Open | None = None
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return str(self.store.root)

    def read(self, *, mapped: bool, verify: bool) -> Version:
        """The current version, the same object for as long as it is; read again when a writer has pruned it meanwhile.

        A file that both versions have is verified once. Verifying a large index takes longer than it may stay current:
        with a few changes a second, who began anew each time would never come to an end.

        Raises:
            StoreError: nothing there, or a file is missing or changed.
        """
        verified: Verified = {}
        while True:
            version = self.store.version()
            try:
                with self._lock:
                    return self._read(mapped=mapped, verified=verified if verify else None)
            except (StoreError, FileNotFoundError):
                if self.store.version() == version:
                    raise

    def verify(self, names: Sequence[str]) -> None:
        """Some files of the current version have the content that was written; read again as in `read`.

        Those that it does not have any more are passed over: whoever put them into others has verified them.

        Raises:
            StoreError: one is missing or changed.
        """
        chosen, verified = set(names), Verified()
        while True:
            pointer = self.store.pointer()
            assert pointer is not None, "a version is open"
            folder = self.store.root / "versions" / pointer.version
            faults = check_manifest(
                folder, pointer.manifest, verify=True, but=lambda name: name not in chosen, verified=verified
            )
            if not faults:
                return
            if self.store.pointer() == pointer:
                raise StoreError(f"{folder}: was changed after it was written: {'; '.join(faults)}")

    def write(self, contents: Version, *, prepared: Path | None = None) -> None:
        """A new version, which becomes the current one.

        Args:
            prepared: where files of its segments lie already (`Store.prepare`).

        Raises:
            StoreError: the disk refuses, another process is writing, or changes go to a twin; what was current
                stays so.
        """
        with self.store.write(prepared=prepared) as staging, self.refused():
            self._refuse_twin()
            if self.store.exists():
                contents = contents.stated(follows=self.store.version(), generation=secrets.token_hex(8))
            sources = dict.fromkeys(listed(prepared), prepared) if prepared is not None else {}
            files.write(staging, contents, shared=self._sharing(sources, staging))
        self._prune()

    def before(self) -> str | None:
        """The version that the current one was made from; None where it is not there."""
        versions, current = self.store.versions(), self.store.version()
        follows = Meta.read(self.store.root / "versions" / current / "index.json").follows
        older = [version for version in versions if int(version) < int(current)]
        return follows if follows in versions else older[-1] if older and follows is None else None

    def change(
        self,
        edit: Callable[[Version], Version],
        *,
        prepared: Path | None = None,
        mapped: bool = True,
    ) -> Version:
        """The current version edited, as a new one; gives it. Files of what the edit leaves as it was are shared.

        Args:
            prepared: where files of new segments lie already (`Store.prepare`).

        Raises:
            StoreError: as write and read. Whatever `edit` raises; nothing is changed then.
        """
        with self._lock:
            with self.store.write(patience=_PATIENCE, prepared=prepared) as staging, self.refused():
                self._refuse_twin()
                folder = self.store.current()
                now = self._read(mapped=mapped)
                edited = edit(now)
                stated: dict[str, str | None] = {"follows": folder.name}
                if self.store.versions()[-1] != folder.name:  # after a rollback, vector ids are given a second time
                    stated["generation"] = secrets.token_hex(8)
                if prepared is None:
                    self._verify_used(folder, now, edited)
                sources = _unchanged(folder, now, edited)
                sources |= dict.fromkeys(listed(prepared), prepared) if prepared is not None else {}
                edited = edited.stated(**stated)
                files.write(staging, edited, shared=self._sharing(sources, staging))
            if prepared is None:  # else some are open from there, and are opened from the version when it is read
                self._remember(edited, mapped)
            self._prune()
        return edited

    def _sharing(self, sources: Mapping[str, Path], staging: Path) -> Callable[[str], bool]:
        """Puts a file into the version that is being filled from where it lies already; False: it lies nowhere."""

        def shared(name: str) -> bool:
            source = sources.get(name)
            if source is not None:
                self.store.keep(source, [name], staging)
            return source is not None

        return shared

    def _refuse_twin(self) -> None:
        (refuse_copies if self._twin else refuse_twin)(self.store.root)

    def _read(self, *, mapped: bool, verified: Verified | None = None) -> Version:
        """As `read`; files are verified where `verified` is there, which says what was before."""
        pointer, known = self.store.pointer(), self._open
        if known is not None and verified is None and known.mapped == mapped and known.pointer == pointer:
            return known.contents
        folder = self.store.current(verify=verified is not None, verified=verified)
        there = listed(folder)
        _verify(folder, [name for name in there if Path(name).name in SMALL], there)
        shards = known.contents.shards if known is not None and known.mapped == mapped else {}
        opened = {(inside, one.about.name): one for inside, shard in shards.items() for one in shard.segments}

        def same(inside: str, name: str) -> Segment | None:
            segment = opened.get((inside, name))
            if segment is None or known is None:
                return None
            written = [inside + file for file in files_of(name)]
            return segment if all(there.get(file) == known.listed.get(file) for file in written) else None

        contents = files.read(folder, mapped=mapped, known=same)
        if pointer is not None:
            self._open = _Open(pointer, there, contents, mapped)
        return contents

    def _remember(self, contents: Version, mapped: bool) -> None:
        pointer = self.store.written
        if pointer is not None:
            self._open = _Open(pointer, listed(self.store.root / "versions" / pointer.version), contents, mapped)

    def _verify_used(self, folder: Path, now: Version, edited: Version) -> None:
        """Segments that are part of new ones: what is damaged must not get a new checksum."""
        there = listed(folder)
        for inside, shard in now.shards.items():
            kept = {id(one) for one in edited.shards[inside].segments}
            for segment in shard.segments:
                if id(segment) not in kept:
                    _verify(folder, [inside + name for name in segment.files], there)

    def _prune(self) -> None:
        """The current version stays, and the one before, for a rollback and for readers that are just opening it."""
        with contextlib.suppress(StoreError):  # another writer has begun, and prunes in its turn
            self.store.remove(self._passed)

    def _passed(self) -> list[str]:
        kept = {self.store.version(), self.before()}
        return [version for version in self.store.versions() if version not in kept]

    @contextlib.contextmanager
    def refused(self) -> Iterator[None]:
        """Failures of the disk while a version is filled, as StoreErrors."""
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise StoreError(f"{self}: could not be written ({error}); the index stays as it was") from error


def _unchanged(folder: Path, now: Version, edited: Version) -> dict[str, Path]:
    """Files of the version in `folder` that are the edited one's as they are."""
    there, found = listed(folder), set[str]()
    for inside, shard in edited.shards.items():
        before = now.shards[inside]
        same = {id(one) for one in before.segments}
        found |= {inside + name for one in shard.segments if id(one) in same for name in one.files}
        found |= {inside + TEXTS} if shard.texts is before.texts else set()
    return dict.fromkeys(found & there.keys(), folder)  # ids.npy of an older clipadapt is not there


def _verify(folder: Path, names: Sequence[str], there: Mapping[str, Entry]) -> None:
    for name in names:
        if name in there and sha256_file(folder / name) != there[name]["sha256"]:
            raise StoreError(f"{folder}: was changed after it was written: {name} has another sha256")
