"""Releases: model, adapter, exports, index, prompts, thresholds and reports as one, behind one atomic pointer.

    releases = Releases("releases")
    made = create(releases, bundle)     # see creation
    releases.promote(made.version)      # every file is read first; of two that promote at once, one wins
    releases.rollback()                 # to what was promoted before, in milliseconds: nothing is read or copied
    releases.purge()                    # what is older than 30 days and nobody needs

A release is a version of a store: files are copied, never linked, so that neither editing the run nor a damaged file in
one release reaches another; the trade is the disk space. An index in Milvus is named, not copied; the marks that say
which one takes changes move with the pointer (search/handover.py). The pointer file holds what was promoted before it,
so one rename changes both. Nothing here imports torch or loads a model, so that undoing takes no longer than starting
Python.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import EllipsisType
from typing import Any

from clipadapt.atomic import sha256_file
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.retention_policy import Release, reasons_to_keep
from clipadapt.errors import StoreError, UsageError, listing
from clipadapt.manifest import MANIFEST
from clipadapt.search.addresses import Reference, address_in
from clipadapt.search.handover import drop_index, handing_over, refuse_other_space, settle
from clipadapt.search.twins import INDEX
from clipadapt.store import Pointer, Store, faults_of

log = logging.getLogger(__name__)

_REMEMBERED = 50
"""Promotions that the pointer remembers."""


class Releases:
    """The releases of one folder."""

    def __init__(self, root: str | Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = Store(root)
        self.root = self.store.root
        self.clock = clock

    def __repr__(self) -> str:
        return f"Releases({str(self.root)!r})"

    def promote(self, version: str, *, seen: Pointer | EllipsisType | None = ..., verify: bool = True) -> Release:
        """Makes a release the current one, after reading every file of it.

        Args:
            version: its number, with or without leading zeros.
            seen: what the pointer said when this was decided; ...: what it says now.
            verify: False compares sizes alone, where every file was read a moment ago.

        Raises:
            StoreError: another process promoted something in between, naming what; a file is missing or changed; an
                index in Milvus that cannot be opened.
            SpaceError: what lies in Milvus now is of another model.
            UsageError: it is the current one already; the marks of its index are mended where that was cut off.
        """
        version = self.numbered(version)
        before = self.store.pointer() if isinstance(seen, EllipsisType) else seen
        folder = self.folder(version)
        if version not in self.store.versions():
            raise StoreError(
                f"{self.root}: no release {version!r}; there are {', '.join(self.store.versions()) or 'none'}"
            )
        info = ReleaseInfo.read(folder)
        if before is not None and before.version == version:
            settle(self.root, version)
            raise UsageError(f"{self.root}: {version} is the current release already; there is nothing to do")
        manifest = sha256_file(folder / MANIFEST)
        if faults := faults_of(folder, manifest, verify=verify):
            raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\ncreate the release anew")
        if verify:
            refuse_other_space(folder / INDEX, info.image_space)
        history = _history(before)
        if before is not None:
            history = [_entry(before), *history][:_REMEMBERED]
        with handing_over(self.root, before and before.version, version):
            self.store.swap(version, before, self._note("promoted", history), manifest=manifest)
        return Release(version, folder, info, current=True, target=False)

    def rollback(self) -> Release:
        """Makes what was promoted before the current release the current one again; compares sizes, reads no file.

        Raises:
            StoreError: nothing was promoted before, a file of it is missing, or another process was quicker.
        """
        before = self.store.pointer()
        left = self._left(before)
        if before is None or not left:
            raise StoreError(f"{self.root}: nothing was promoted before, so there is nothing to roll back to")
        target = left[0]
        note = self._note("rolled back", left[1:])
        with handing_over(self.root, before.version, target["version"]):
            self.store.swap(target["version"], before, note, manifest=target["manifest"])
        folder = self.folder(target["version"])
        return Release(target["version"], folder, ReleaseInfo.read(folder), current=True, target=False)

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        pointer = self.store.pointer()
        current = pointer.version if pointer else None
        target = self.target()
        return [
            Release(version, self.folder(version), self._info(version), version == current, version == target)
            for version in self.store.versions()
        ]

    def purge(self, versions: Collection[str] | None = None) -> tuple[list[str], dict[str, str]]:
        """Removes releases; gives their names, and why each other one stays.

        Args:
            versions: those that are to go, all or none of them; null: all that may.

        Raises:
            StoreError: one that was named has to stay, with every reason; the disk, or Milvus, refuses.
        """
        stays: dict[str, str] = {}
        named = None if versions is None else {self.numbered(version) for version in versions}

        def choose() -> list[str]:
            releases = self.all()
            names = [one.version for one in releases]
            if unknown := sorted(set(named or ()) - set(names)):
                raise StoreError(
                    f"{self.root}: no release {', '.join(unknown)}; there are {', '.join(names) or 'none'}"
                )
            stays.update(reasons_to_keep(releases, self.clock(), named))
            if refused := [f"{name}: {stays[name]}" for name in sorted(named or ()) if name in stays]:
                raise StoreError(f"{self.root}: nothing was removed, for what was named has to stay{listing(refused)}")
            going = [name for name in names if name not in stays]
            for reference in {
                reference for one in going if (reference := address_in(self.folder(one) / INDEX)) is not None
            }:
                self.drop_index(reference, going)
            return going

        return self.store.remove(choose), stays

    def made_here(self) -> str:
        """What an index in Milvus that a swap made for these releases says of them; a copy of the folder is another."""
        place = f"{self.root.resolve()}:{(self.root / 'versions').stat().st_ino}"
        return hashlib.sha256(place.encode()).hexdigest()[:16]

    def drop_index(self, reference: Reference, going: Collection[str] = ()) -> None:
        """An index in Milvus, where a swap of these releases made it and no release names it but those that are going.

        Raises:
            StoreError: the server refuses, or a release cannot be read.
        """
        stay = [version for version in self.store.versions() if version not in going]
        named = [
            one for one in stay if (other := address_in(self.folder(one) / INDEX)) and other[0] == reference.address
        ]
        if named or reference.made_by != self.made_here():
            why = f"release {named[0]} names it" if named else "no swap of these releases made it"
            log.warning("%s: stays in Milvus, for %s", reference.address, why)
        elif not drop_index(reference.address):
            log.warning("%s: stays in Milvus, for changes go to it now", reference.address)

    def target(self) -> str | None:
        """The release that a rollback returns to; null: none."""
        left = self._left(self.store.pointer())
        return left[0]["version"] if left else None

    @staticmethod
    def numbered(version: str) -> str:
        """`2` -> `000002`; what is no number stays as it is."""
        return f"{int(version):06d}" if version.isascii() and version.isdigit() else version

    def folder(self, version: str) -> Path:
        """Where a release lies, or would."""
        return self.root / "versions" / version

    def _info(self, version: str) -> ReleaseInfo | None:
        try:
            return ReleaseInfo.read(self.folder(version))
        except StoreError:
            return None

    def _left(self, pointer: Pointer | None) -> list[dict[str, Any]]:
        """What can be rolled back to, latest first: purged releases are passed over."""
        there = set(self.store.versions())
        return [entry for entry in _history(pointer) if entry["version"] in there]

    def _note(self, what: str, history: list[dict[str, Any]]) -> Mapping[str, Any]:
        at = self.clock().isoformat(timespec="milliseconds")
        return {what: at, "by": f"process {os.getpid()} on {socket.gethostname()}", "history": history}


def _history(pointer: Pointer | None) -> list[dict[str, Any]]:
    return list(pointer.note.get("history", ())) if pointer is not None else []


def _entry(pointer: Pointer) -> dict[str, Any]:
    return {"version": pointer.version, "manifest": pointer.manifest}
