"""Releases: model, adapter, exports, index, prompts, thresholds and reports as one, behind one atomic pointer.

    releases = Releases("releases")
    made = releases.create(gather(Run.open("runs/fashion"), Gate.load("eval/release_gate.yaml")))
    releases.promote(made.version)      # every file is read first; of two that promote at once, one wins
    releases.rollback()                 # to what was promoted before, in milliseconds: nothing is read or copied
    releases.purge()                    # what is older than 30 days and nobody needs

A release is a version of a store: files are copied, never linked, so that neither editing the run nor a damaged file in
one release reaches another; the trade is the disk space. The pointer file holds what was promoted before it, so one
rename changes both. `bundle` says which parts belong together, `retention_policy` what must stay.
"""

import errno
import os
import shutil
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from importlib.metadata import version as installed
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple

from clipadapt.atomic import sha256_file
from clipadapt.deploy.bundle import INDEX, MODEL, Bundle, File
from clipadapt.deploy.lineage import ReleaseInfo, Verdict
from clipadapt.deploy.retention_policy import Release, reasons_to_keep
from clipadapt.errors import GateError, ModelError, SpaceError, StoreError, UsageError, listing
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.evaluation.results import Results
from clipadapt.search.meta import Meta
from clipadapt.store import MANIFEST, POINTER, Pointer, Store, check_manifest
from clipadapt.towers import hub
from clipadapt.towers.encoder import Precision, TorchEncoder
from clipadapt.towers.load import load

_REMEMBERED = 50
"""Promotions that the pointer remembers."""
_SPARE = 16 * 2**20
"""Bytes that must stay free besides what is copied."""


class Compatible(NamedTuple):
    """What shows that the current release's index may be kept."""

    results: Results
    gate: Gate


class Releases:
    """The releases of one folder."""

    def __init__(self, root: str | Path, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = Store(root)
        self.root = self.store.root
        self._clock = clock

    def __repr__(self) -> str:
        return f"Releases({str(self.root)!r})"

    def create(self, bundle: Bundle, *, keep: Compatible | None = None, note: str = "") -> Release:
        """Copies the parts into a new release, which nothing points to yet.

        Args:
            keep: shows that new queries fit the current release's index, which then becomes this one's.
            note: a sentence for those who read the list.

        Raises:
            UsageError: the folder holds something else, or `keep` is given and there is no index to keep.
            SpaceError: the index to keep is of another image_space, or `keep` is about other models.
            GateError: new queries do worse on it than the gate allows.
            StoreError: too little disk, or a part changed while it was copied; there is no new release then.
        """
        self._refuse_strangers()
        pointer = self.store.pointer()
        files, verdicts, described = list(bundle.files), list(bundle.verdicts), dict(bundle.described)
        if keep is not None:
            folder = self._index_to_keep(bundle, keep)
            verdicts.append(_compatible(keep))
            files = [file for file in files if not file.target.startswith(f"{INDEX}/")] + _listed(folder)
            described[INDEX] = f"kept from {folder.name}"
        info = ReleaseInfo(
            created=self._clock(),
            name=bundle.run.config.name,
            base=bundle.base,
            parent=pointer.version if pointer and keep else self._holding(bundle.base),
            follows=pointer.version if pointer else None,
            image_space=bundle.spaces.image,
            text_space=bundle.spaces.text,
            strength=dict(bundle.strength),
            gates=tuple(verdicts),
            parts=described,
            note=note,
            clipadapt=installed("clipadapt"),
        )
        self._refuse_too_large(sum(file.bytes for file in files))

        def fill(staging: Path) -> None:
            for file in files:
                _copy(file, staging)
            if keep is not None:
                keep.results.save(staging / "report" / "compatibility")
            _refuse_incomplete(files, staging)

        made = self.store.add(fill, {"release": info.to_json()})
        return Release(made, self._folder(made), info, current=False, target=False)

    def promote(self, version: str, *, seen: Pointer | EllipsisType | None = ...) -> Release:
        """Makes a release the current one, after reading every file of it.

        Args:
            version: its number, with or without leading zeros.
            seen: what the pointer said when this was decided; ...: what it says now.

        Raises:
            StoreError: another process promoted something in between, naming what; a file is missing or changed.
            UsageError: it is the current one already.
        """
        version = _in_full(version)
        before = self.store.pointer() if isinstance(seen, EllipsisType) else seen
        folder = self._folder(version)
        if version not in self.store.versions():
            raise StoreError(
                f"{self.root}: no release {version!r}; there are {', '.join(self.store.versions()) or 'none'}"
            )
        info = ReleaseInfo.read(folder)
        if before is not None and before.version == version:
            raise UsageError(f"{self.root}: {version} is the current release already; there is nothing to do")
        manifest = sha256_file(folder / MANIFEST)
        if faults := check_manifest(folder, manifest, verify=True):
            raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\ncreate the release anew")
        history = _history(before)
        if before is not None:
            history = [_entry(before), *history][:_REMEMBERED]
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
        self.store.swap(target["version"], before, note, manifest=target["manifest"])
        folder = self._folder(target["version"])
        return Release(target["version"], folder, ReleaseInfo.read(folder), current=True, target=False)

    def all(self) -> list[Release]:
        """Every release, oldest first."""
        pointer = self.store.pointer()
        current = pointer.version if pointer else None
        target = left[0]["version"] if (left := self._left(pointer)) else None
        return [
            Release(version, self._folder(version), self._info(version), version == current, version == target)
            for version in self.store.versions()
        ]

    def purge(self, versions: Collection[str] | None = None) -> tuple[list[str], dict[str, str]]:
        """Removes releases; gives their names, and why each other one stays.

        Args:
            versions: those that are to go, all or none of them; null: all that may.

        Raises:
            StoreError: one that was named has to stay, with every reason; the disk refuses.
        """
        stays: dict[str, str] = {}
        named = None if versions is None else {_in_full(version) for version in versions}

        def choose() -> list[str]:
            releases = self.all()
            names = [one.version for one in releases]
            if unknown := sorted(set(named or ()) - set(names)):
                raise StoreError(
                    f"{self.root}: no release {', '.join(unknown)}; there are {', '.join(names) or 'none'}"
                )
            stays.update(reasons_to_keep(releases, self._clock(), named))
            if refused := [f"{name}: {stays[name]}" for name in sorted(named or ()) if name in stays]:
                raise StoreError(f"{self.root}: nothing was removed, for what was named has to stay{listing(refused)}")
            return [name for name in names if name not in stays]

        return self.store.remove(choose), stays

    def _folder(self, version: str) -> Path:
        return self.root / "versions" / version

    def _info(self, version: str) -> ReleaseInfo | None:
        try:
            return ReleaseInfo.read(self._folder(version))
        except StoreError:
            return None

    def _left(self, pointer: Pointer | None) -> list[dict[str, Any]]:
        """What can be rolled back to, latest first: purged releases are passed over."""
        there = set(self.store.versions())
        return [entry for entry in _history(pointer) if entry["version"] in there]

    def _note(self, what: str, history: list[dict[str, Any]]) -> Mapping[str, Any]:
        at = self._clock().isoformat(timespec="milliseconds")
        return {what: at, "by": f"process {os.getpid()} on {socket.gethostname()}", "history": history}

    def _holding(self, base: str) -> str | None:
        """The release of this store that a base lies in."""
        place = Path(hub.parse(base).name).expanduser().resolve()
        versions = (self.root / "versions").resolve()
        return place.relative_to(versions).parts[0] if versions in place.parents else None

    def _index_to_keep(self, bundle: Bundle, keep: Compatible) -> Path:
        if not self.store.exists() or not Store(self.store.current() / INDEX).exists():
            raise UsageError(f"{self.root}: the current release has no index to keep; build one with this run")
        folder = self.store.current()
        space = Meta.read(Store(folder / INDEX).current() / "index.json").image_space
        if space != bundle.spaces.image:
            raise SpaceError(
                f"{folder / INDEX}: its index is of {space}, the new model of {bundle.spaces.image}; only an "
                "adaptation of the text tower alone can keep an index: build a new one"
            )
        old = ReleaseInfo.read(folder)
        measured = [(one["image_space"], one["text_space"]) for one in keep.results.config["systems"].values()]
        if measured != [tuple(bundle.spaces), (old.image_space, old.text_space)]:
            raise SpaceError(
                f"{folder}: compatibility was not measured between this run and the current release; measure it again"
            )
        return folder

    def _refuse_strangers(self) -> None:
        if self.root.is_file():
            raise UsageError(f"{self.root}: is a file; name a folder for releases")
        if not self.root.exists() or (self.root / "versions").is_dir():
            return
        if strangers := [path.name for path in self.root.iterdir() if path.name not in (POINTER, "lock")]:
            raise UsageError(
                f"{self.root}: holds {', '.join(sorted(strangers)[:4])} and no releases; name an empty or new folder"
            )

    def _refuse_too_large(self, size: int) -> None:
        where = next(folder for folder in (self.root.absolute(), *self.root.absolute().parents) if folder.exists())
        free = shutil.disk_usage(where).free
        if size + _SPARE > free:
            raise StoreError(
                f"{self.root}: the release needs {size / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free; nothing "
                "was written. Purge old releases, or choose another disk"
            )


def release_folder(path: str | Path) -> Path:
    """The release that `release:PATH` names: a release's own folder, or the current one of a store.

    Raises:
        ModelError: neither is there.
        StoreError: nothing was promoted yet, or files are missing or of another size.
    """
    folder = Path(path).expanduser()
    if (folder / "versions").is_dir():
        return Store(folder).current()
    if not (folder / MANIFEST).is_file():
        raise ModelError(f"release:{path}: no such release; name a folder of releases, or one release in its versions/")
    ReleaseInfo.read(folder)
    if faults := check_manifest(folder, verify=False):
        raise StoreError(f"{folder}: was changed after it was created{listing(faults)}\ncopy the release again")
    return folder


def load_encoder(name: str, *, device: str, precision: Precision, image_size: int | None) -> TorchEncoder:
    """What `load("release:NAME")` calls: the merged model of a release, its weights compared with their digest.

    Raises:
        ModelError, StoreError: as `release_folder` and `load`.
    """
    encoder = load(str(release_folder(name) / MODEL), device=device, precision=precision, image_size=image_size)
    assert isinstance(encoder, TorchEncoder), "a merged folder holds torch weights"
    encoder.name = f"release:{name}"
    return encoder


def _in_full(version: str) -> str:
    """`2` -> `000002`; what is no number stays as it is."""
    return f"{int(version):06d}" if version.isascii() and version.isdigit() else version


def _history(pointer: Pointer | None) -> list[dict[str, Any]]:
    return list(pointer.note.get("history", ())) if pointer is not None else []


def _entry(pointer: Pointer) -> dict[str, Any]:
    return {"version": pointer.version, "manifest": pointer.manifest}


def _compatible(keep: Compatible) -> Verdict:
    verdict = Verdict.of(keep.gate, outcomes := judge(keep.gate, keep.results.rows))
    if not verdict.passed:
        failed = [one.reason for one in outcomes if not one.passed]
        raise GateError(
            f"gate {keep.gate.name!r} not passed, so the index is not kept{listing(failed)}\n"
            "build an index with this run"
        )
    return verdict


def _listed(folder: Path) -> list[File]:
    """The index of another release, as its manifest lists it."""
    return [
        File(path, path.relative_to(folder).as_posix(), path.stat().st_size, sha256_file(path))
        for path in sorted((folder / INDEX).rglob("*"))
        if path.is_file()
    ]


def _copy(file: File, staging: Path) -> None:
    target = staging / file.target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the store says how much is free
        raise StoreError(
            f"{file.source}: could not be copied to {target} ({error.strerror}); there is no new release"
        ) from error


def _refuse_incomplete(files: Collection[File], staging: Path) -> None:
    """What was copied must be what was compared with the rest."""
    changed = [file for file in files if sha256_file(staging / file.target) != file.sha256]
    if changed:
        shown = ", ".join(str(file.source) for file in changed[:4])
        raise StoreError(f"{shown}: changed while the release was made; create it again when nothing writes there")
