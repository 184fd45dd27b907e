"""A new release: a bundle copied into the store of releases, which nothing points to yet.

    made = create(releases, gather(Run.open("runs/fashion"), Gate.load("eval/release_gate.yaml")))
    releases.promote(made.version)

Every file is compared after it was copied, so a part that changes meanwhile makes no release. The index becomes one
that encodes queries with the release's own model, wherever the release is copied to. Nothing here promotes.
"""

import errno
import shutil
from collections.abc import Collection
from importlib.metadata import version as installed
from pathlib import Path
from typing import NamedTuple

from clipadapt import places
from clipadapt.atomic import sha256_file
from clipadapt.deploy.bundle import INDEX, MODEL, Bundle, File, IndexPart, index_part
from clipadapt.deploy.lineage import ReleaseInfo, Verdict
from clipadapt.deploy.releases import Releases
from clipadapt.deploy.retention_policy import Release
from clipadapt.errors import GateError, SpaceError, StoreError, UsageError, listing
from clipadapt.evaluation.gate import Gate, judge
from clipadapt.evaluation.results import Results
from clipadapt.search.addresses import write_address
from clipadapt.search.meta import Meta
from clipadapt.search.opening import is_index, meta_of
from clipadapt.search.shown import moved
from clipadapt.store import POINTER, Store
from clipadapt.towers import hub

_SPARE = 16 * 2**20
"""Bytes that must stay free besides what is copied."""


class Compatible(NamedTuple):
    """What shows that the current release's index may be kept."""

    results: Results
    gate: Gate


def create(
    releases: Releases,
    bundle: Bundle,
    *,
    keep: Compatible | None = None,
    index: IndexPart | None = None,
    note: str = "",
) -> Release:
    """Copies the parts into a new release.

    Args:
        keep: shows that new queries fit the current release's index, which then becomes this one's.
        index: in place of the bundle's; with `keep`, a copy of the current release's, which others go on changing. One
            in Milvus is named and not copied.
        note: a sentence for those who read the list.

    Raises:
        UsageError: the folder holds something else, or `keep` is given and there is no index to keep.
        SpaceError: the index to keep is of another image_space, or `keep` is about other models.
        GateError: new queries do worse on it than the gate allows.
        StoreError: too little disk, or a part changed while it was copied; there is no new release then.
    """
    _refuse_strangers(releases.root)
    pointer = releases.store.pointer()
    verdicts, described, current = list(bundle.verdicts), dict(bundle.described), None
    if keep is not None:
        current = _release_to_keep_from(releases, bundle, keep)
        index = index or index_part(current / INDEX)
        verdicts.append(_compatible(keep))
    if index is not None:
        described[INDEX] = index.words if current is None else f"kept from {current.name}"
    indexed = index or bundle.indexed
    info = ReleaseInfo(
        created=releases.clock(),
        name=bundle.run.config.name,
        base=places.public(bundle.base),
        parent=pointer.version if pointer and keep else _release_of(releases.root, bundle.base),
        follows=pointer.version if pointer else None,
        image_space=bundle.spaces.image,
        text_space=bundle.spaces.text,
        strength=dict(bundle.strength),
        gates=tuple(verdicts),
        parts=described,
        note=note,
        clipadapt=installed("clipadapt"),
    )
    _refuse_too_large(releases.root, sum(file.bytes for file in (*bundle.files, *(indexed.files if indexed else ()))))

    def fill(staging: Path) -> None:
        _copy_all(bundle.files, staging)
        if indexed is not None:
            place = releases.folder("000001") / INDEX  # as deep as any other
            if indexed.reference is not None:
                write_address(staging / INDEX, indexed.reference, place)
            else:
                _write_index(indexed.files, staging / INDEX, place)
        if keep is not None:
            keep.results.save(staging / "report" / "compatibility")

    made = releases.store.add(fill, {"release": info.to_json()})
    return Release(made, releases.folder(made), info, current=False, target=False)


def _release_of(root: Path, base: str) -> str | None:
    """The release of this store that a base lies in."""
    place = Path(hub.parse(base).name).expanduser().resolve()
    versions = (root / "versions").resolve()
    return place.relative_to(versions).parts[0] if versions in place.parents else None


def _release_to_keep_from(releases: Releases, bundle: Bundle, keep: Compatible) -> Path:
    if not releases.store.exists() or not is_index(releases.store.current() / INDEX):
        raise UsageError(f"{releases.root}: the current release has no index to keep; build one with this run")
    folder = releases.store.current()
    space = meta_of(folder / INDEX).image_space
    if space != bundle.spaces.image:
        raise SpaceError(
            f"{folder / INDEX}: its index is of {space}, the new model of {bundle.spaces.image}; only an adaptation of "
            "the text tower alone can keep an index: build a new one"
        )
    old = ReleaseInfo.read(folder)
    measured = [(one["image_space"], one["text_space"]) for one in keep.results.config["systems"].values()]
    if measured != [tuple(bundle.spaces), (old.image_space, old.text_space)]:
        raise SpaceError(
            f"{folder}: compatibility was not measured between this run and the current release; measure it again"
        )
    return folder


def _compatible(keep: Compatible) -> Verdict:
    verdict = Verdict.of(keep.gate, outcomes := judge(keep.gate, keep.results.rows))
    if not verdict.passed:
        failed = [one.reason for one in outcomes if not one.passed]
        raise GateError(
            f"gate {keep.gate.name!r} not passed, so the index is not kept{listing(failed)}\n"
            "build an index with this run"
        )
    return verdict


def _refuse_strangers(root: Path) -> None:
    if root.is_file():
        raise UsageError(f"{root}: is a file; name a folder for releases")
    if not root.exists() or (root / "versions").is_dir():
        return
    if strangers := [path.name for path in root.iterdir() if path.name not in (POINTER, "lock")]:
        raise UsageError(
            f"{root}: holds {', '.join(sorted(strangers)[:4])} and no releases; name an empty or new folder"
        )


def _refuse_too_large(root: Path, size: int) -> None:
    where = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(where).free
    if size + _SPARE > free:
        raise StoreError(
            f"{root}: the release needs {size / 2**20:,.0f} MiB and {free / 2**20:,.0f} MiB are free; nothing "
            "was written. Purge old releases, or choose another disk"
        )


def _write_index(files: Collection[File], folder: Path, place: Path) -> None:
    """An index of its own, of one version, whose model is the release's; `place`: from where its paths are."""
    before = next(file.source for file in files if file.target == "index.json").parents[2]
    store = Store(folder)
    with store.write() as version:
        _copy_all(files, version)
        file = version / "index.json"
        meta = Meta.read(file)
        about = {"model": f"local-dir:../{MODEL}", "catalogue": moved(meta.catalogue, before, place)}
        meta = meta.model_copy(update=about)
        file.write_text(meta.to_json(), encoding="utf-8")
    (folder / "lock").unlink()  # nobody writes here any more


def _copy_all(files: Collection[File], folder: Path) -> None:
    """Copies, and compares what was copied with what was bundled."""
    for file in files:
        _copy(file, folder / file.target)
    if changed := [file for file in files if sha256_file(folder / file.target) != file.sha256]:
        shown = ", ".join(str(file.source) for file in changed[:4])
        raise StoreError(f"{shown}: changed while the release was made; create it again when nothing writes there")


def _copy(file: File, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise  # the store says how much is free
        raise StoreError(
            f"{file.source}: could not be copied to {target} ({error.strerror}); there is no new release"
        ) from error
