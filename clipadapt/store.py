"""Files that appear whole or not at all, and versioned folders behind one pointer that is swapped atomically.

    ROOT/current                  {"version": "000003", "manifest": sha256 of that version's manifest.json}
    ROOT/versions/000003/         what was written, and manifest.json: size and sha256 of every file
    ROOT/lock                     held by the one process that writes; readers need none

A version is written beside the others, flushed to the disk, renamed into place, and only then pointed to: whatever
moment a process is killed at, or the disk fills up at, readers see the old version or the new one, whole. Files that it
shares with the current version (`keep`) are neither copied nor read. A store may lie in a version of another, as a
release's index does: it goes on changing there, and answers for its own files. The trade: a flush per file,
milliseconds, so this is for indexes and releases, and for rows some hundreds at a time. A process killed between rename
and pointer leaves a whole version that nothing points to; `prune` takes it away. Needs a POSIX system for its locks.
Nothing here knows what the files mean.

    with Store("index").write() as folder:
        (folder / "items.json").write_text("[]")
    Store("index").current() / "items.json"

    version = store.add(fill)                # whole, and nothing points to it yet
    store.swap(version, store.pointer())     # points to it, unless another process was quicker
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clipadapt.atomic import Guard, atomic_write, flush, flush_tree, sha256_file, staged
from clipadapt.atomic import atomic_folder as atomic_folder
from clipadapt.errors import StoreError
from clipadapt.manifest import MANIFEST, Linked, Verified, check_manifest, entries, listed, share, write_manifest

POINTER = "current"
_UNFINISHED, _PREPARED = "unfinished", "prepared"
_PATIENCE = 10.0
"""Seconds that a change of a few milliseconds waits for another one to end."""
_VERSION = re.compile(r"\d{6,}")


class Pointer(NamedTuple):
    """What the pointer file says."""

    version: str
    manifest: str
    """sha256 of the version's manifest.json, so that a manifest cannot change unnoticed."""
    note: Mapping[str, Any] = {}
    """What was written with the pointer, in the same step."""


class Store:
    """A folder of versions, of which one is current."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.written: Pointer | None = None
        """What this object pointed to last, which another process may have replaced since."""

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

    def pointer(self) -> Pointer | None:
        """What the pointer says now; null before anything was pointed to.

        Raises:
            StoreError: it cannot be read.
        """
        return self._pointer() if self.exists() else None

    def current(self, *, verify: bool = False, verified: Verified | None = None) -> Path:
        """Folder of the current version, its files there and of the right size; `verify` also reads them for sha256.

        Args:
            verified: files that were compared before, as check_manifest has them.

        Raises:
            StoreError: nothing was ever written here, or a file is missing or changed; all such files in one message.
        """
        pointer = self._pointer()
        return self._checked(pointer.version, pointer.manifest, verify=verify, verified=verified)

    @contextlib.contextmanager
    def write(self, *, patience: float = 0.0, prepared: Path | None = None) -> Iterator[Path]:
        """An empty folder to fill; it becomes the current version when the block ends without an exception.

        Args:
            patience: seconds to wait for another process that is writing.
            prepared: files that are shared with the new version, from `prepare`.

        Raises:
            StoreError: another process is writing, no space, or another failure of the disk. What was current stays so.
        """
        with self._writing(patience) as guard:
            final = self._next()
            with staged(self.root / _UNFINISHED) as staging:
                with guard.filling():
                    yield staging
                manifest = write_manifest(staging, linked=self._linked(prepared))
                flush_tree(staging)
                staging.rename(final)
            try:
                flush(final.parent)
                pointer = Pointer(final.name, manifest)
                self._point(pointer)
                self.written = pointer
            except BaseException:
                # The very last flush can fail after the swap; then the new version is the current one and stays.
                if not self._points_to(final.name):
                    shutil.rmtree(final, ignore_errors=True)
                raise

    @contextlib.contextmanager
    def hold(self, patience: float = _PATIENCE) -> Iterator[None]:
        """Nobody else writes or points within the block.

        Raises:
            StoreError: another process has been writing for so many seconds.
        """
        with self._writing(patience) as guard, guard.filling():
            yield

    @contextlib.contextmanager
    def prepare(self, fill: Callable[[Path], None]) -> Iterator[Path]:
        """A folder of files for a version that is yet to be written, filled while others write; gone after the block.

        Raises:
            StoreError: no space, or another failure of the disk.
        """
        with Guard(self.root) as guard:
            self.root.mkdir(parents=True, exist_ok=True)
            with staged(self.root / _PREPARED) as folder:
                with guard.filling():
                    fill(folder)
                write_manifest(folder)
                flush_tree(folder)
                with guard.filling():
                    yield folder

    def keep(self, source: Path, names: Sequence[str], staging: Path) -> None:
        """Files of a version, or of `prepare`, in the version that is being filled, under the same names.

        Nothing is read: a file keeps the digest that was written when it was, so that damage is found out later, too.

        Raises:
            StoreError: `source` does not list such a file, or a copy of it, where one must be made, differs.
        """
        known = listed(source)
        for name in names:
            if name not in known:
                raise StoreError(f"{source}: its {MANIFEST} lists no {name}; it was changed after it was written")
            share(source / name, staging / name, known[name])

    def add(self, fill: Callable[[Path], None], about: Mapping[str, Any] | None = None) -> str:
        """A new version that nothing points to yet, and its name; others may write and point while it is filled.

        Args:
            fill: called with an empty folder.
            about: goes into manifest.json beside the files.

        Raises:
            StoreError: no space, or another failure of the disk; there is no new version then.
        """
        with Guard(self.root) as guard:
            self.root.mkdir(parents=True, exist_ok=True)
            with staged(self.root / _UNFINISHED) as staging:
                with guard.filling():
                    fill(staging)
                write_manifest(staging, about)
                flush_tree(staging)
                with self._writing(_PATIENCE):
                    final = self._next()
                    staging.rename(final)
                    try:
                        flush(final.parent)
                    except BaseException:
                        final.rename(staging)
                        raise
        return final.name

    def swap(
        self, version: str, seen: Pointer | None, note: Mapping[str, Any] | None = None, *, manifest: str | None = None
    ) -> Pointer:
        """Points to an existing version, if the pointer still says what was `seen`; of two that saw the same, one wins.

        Sizes are compared, contents are not, so it takes milliseconds; it waits a while for another change to end.

        Args:
            note: kept with the pointer; what the old pointer's said is not kept.
            manifest: sha256 that the version's manifest.json must have; null: any.

        Raises:
            StoreError: another process was quicker, naming what it points to now; no such version; a file of it is
                missing or changed; another process has been writing for too long.
        """
        with self._writing(_PATIENCE):
            found = self.pointer()
            if found != seen:
                then, now = (_said(pointer) for pointer in (seen, found))
                raise StoreError(
                    f"{self.root}: another process was quicker: the pointer said {then} and says {now} now, so it was "
                    f"not set to {version}; look at what is current, then decide again"
                )
            folder = self._checked(version, manifest, verify=False)
            pointer = Pointer(version, sha256_file(folder / MANIFEST), dict(note or {}))
            self._point(pointer)
        return pointer

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
            self._remove(removed)
        return removed

    def remove(self, choose: Callable[[], Sequence[str]]) -> list[str]:
        """Removes the versions that `choose` names, which is asked while nobody else writes; gives them.

        Raises:
            StoreError: one of them is the current version or none at all, another process is writing, or a folder
                cannot be removed. Whatever `choose` raises; nothing is removed then.
        """
        with self._writing(_PATIENCE):
            removed = list(choose())
            if self.exists() and self.version() in removed:
                raise StoreError(f"{self.root}: {self.version()} is the current version; point to another one first")
            if unknown := sorted(set(removed) - set(self.versions())):
                raise StoreError(f"{self.root}: no version {unknown[0]!r}; there are {self.versions()}")
            self._remove(removed)
        return removed

    def _linked(self, prepared: Path | None) -> Linked:
        """Files whose digests are known; a current version that is damaged may be replaced, and shares nothing."""
        found: Linked = entries(prepared) if prepared is not None else {}
        with contextlib.suppress(StoreError, OSError):
            found = {**entries(self.root / "versions" / self.version()), **found}
        return found

    def _remove(self, versions: Sequence[str]) -> None:
        for version in versions:
            # Renamed first: a version that is half removed must not look like one.
            with staged(self.root / _UNFINISHED) as staging:
                (self.root / "versions" / version).rename(staging / version)

    def _next(self) -> Path:
        number = max((int(version) for version in self.versions()), default=0) + 1
        return self.root / "versions" / f"{number:06d}"

    def _pointer(self) -> Pointer:
        file = self.root / POINTER
        try:
            raw = json.loads(file.read_bytes())
            pointer = Pointer(str(raw["version"]), str(raw["manifest"]), dict(raw.get("note", {})))
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.root}: nothing was written here yet, for there is no file {POINTER!r}; check the path, "
                "or write its first version"
            ) from error
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

    def _checked(self, version: str, manifest: str | None, *, verify: bool, verified: Verified | None = None) -> Path:
        folder = self.root / "versions" / version
        if not _VERSION.fullmatch(version) or not folder.is_dir():
            raise StoreError(f"{self.root}: no version {version!r}; there are {self.versions()}")
        faults = faults_of(folder, manifest, verify=verify, verified=verified)
        if faults:
            others = [name for name in self.versions() if name != version]
            remedy = f"point to another version ({', '.join(others)}) or write it anew" if others else "write it anew"
            raise StoreError(f"{folder}: was changed after it was written: {'; '.join(faults)}. {remedy}")
        return folder

    def _point(self, pointer: Pointer) -> None:
        document = pointer._asdict() if pointer.note else {"version": pointer.version, "manifest": pointer.manifest}
        atomic_write(self.root / POINTER, json.dumps(document) + "\n")

    @contextlib.contextmanager
    def _writing(self, patience: float = 0.0) -> Iterator[Guard]:
        """Holds the lock, for which it waits so many seconds; what a killed writer left of its pointer is removed."""
        with Guard(self.root) as guard:
            (self.root / "versions").mkdir(parents=True, exist_ok=True)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _claim(lock, self.root, patience)
                for left in self.root.glob(f".{POINTER}.*.partial"):
                    left.unlink(missing_ok=True)
                yield guard
            finally:
                # Unlocked by name: a process forked inside the block holds the same lock through its own copy.
                fcntl.flock(lock, fcntl.LOCK_UN)
                os.close(lock)


def faults_of(
    folder: Path, manifest: str | None = None, *, verify: bool, verified: Verified | None = None
) -> list[str]:
    """As `check_manifest`; a store in the folder is compared by its own pointer, for it may have changed since."""
    try:
        names = listed(folder)
    except StoreError:
        names = {}
    inner = [
        name.removesuffix(POINTER)
        for name in names
        if name.endswith(f"/{POINTER}")
        and any(other.startswith(f"{name.removesuffix(POINTER)}versions/") for other in names)
    ]
    faults = check_manifest(
        folder, manifest, verify=verify, but=lambda name: name.startswith(tuple(inner)), verified=verified
    )
    return faults + [fault for prefix in inner for fault in _inner_faults(folder, prefix, verify)]


def _inner_faults(folder: Path, prefix: str, verify: bool) -> list[str]:
    """Of the current version of a store inside, read again where a writer replaced it; what both have is read once."""
    store = Store(folder / prefix)
    verified: Verified = {}
    while True:
        try:
            version, manifest, _ = pointer = store._pointer()
        except StoreError as error:
            return [str(error)]
        faults = check_manifest(store.root / "versions" / version, manifest, verify=verify, verified=verified)
        if not faults or store.pointer() == pointer:
            return [f"{prefix}versions/{version}/{fault}" for fault in faults]


def _claim(lock: int, root: Path, patience: float) -> None:
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() < until:
                time.sleep(0.01)
                continue
            raise StoreError(f"{root}: another process is writing here; wait for it to end, then try again") from error
        return


def _said(pointer: Pointer | None) -> str:
    if pointer is None:
        return "nothing"
    who = ", ".join(f"{key} {value}" for key, value in pointer.note.items() if isinstance(value, str))
    return pointer.version + (f" ({who})" if who else "")
