"""INDEX, RELEASE or RUN -> a collection that can be served.

    place = find("runs/shop")                      the index in it, the model of its queries, what it is called
    collection = open_collection(place, settings)  loads the model; seconds

A folder of releases stands for the one that is promoted. Pictures come from the catalogue that flags name, else from
the one that the run of the index was trained on. Nothing here knows of HTTP.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipadapt.deploy.bundle import INDEX
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.loading import release_folder, serving_encoder
from clipadapt.errors import ClipadaptError, UsageError
from clipadapt.inputs import Inputs, resolve
from clipadapt.search.index import Index
from clipadapt.service.batching import BatchedEncoder
from clipadapt.service.collection import Collection
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.settings import Settings
from clipadapt.store import Store

log = logging.getLogger(__name__)

_SCHEMES = ("run:", "release:", "index:")


@dataclass(frozen=True)
class Place:
    """Where what is served lies."""

    index: Path
    name: str
    """What /info and every answer call it: a release's number, a run's or an index's folder."""
    model: str | None
    """MODEL string of a release or run, which may hold ONNX exports; null: the one that the index remembers."""


def find(path: str) -> Place:
    """What a person named.

    Raises:
        UsageError: there is no index; says how to make one.
        ModelError, StoreError: a release that is not there, or was changed.
    """
    bare = next((path.removeprefix(scheme) for scheme in _SCHEMES if path.startswith(scheme)), path)
    folder = Path(bare).expanduser()
    if not folder.is_dir():
        raise UsageError(f"{path}: no such folder; name an index, a run, a release, or a folder of releases")
    if is_releases(folder) or _is_release(folder):
        release = release_folder(folder)
        if not Store(release / INDEX).exists():
            raise UsageError(f"{release}: a release without an index; create one from a run that has an index")
        return Place(release / INDEX, release.name, f"release:{release}")
    if Store(folder / INDEX).exists():
        return Place(folder / INDEX, folder.resolve().name, f"run:{folder}" if (folder / "adapter").is_dir() else None)
    if Store(folder).exists() and (Store(folder).current() / "index.json").is_file():
        return Place(folder, folder.resolve().name, None)
    if (folder / "adapter").is_dir():
        raise UsageError(
            f"{folder}: a run without an index; build one with: clipadapt index build --model run:{folder} --split "
            f"train --out {folder / INDEX}"
        )
    raise UsageError(f"{folder}: neither an index, a run, a release, nor a folder of releases")


def is_releases(folder: Path) -> bool:
    """Whether a folder holds releases, of which one is promoted."""
    store = Store(folder)
    pointer = store.pointer()
    return pointer is not None and _is_release(folder / "versions" / pointer.version)


def open_collection(
    place: Place,
    settings: Settings,
    catalogue: Mapping[str, Any],
    split: str | None = None,
    *,
    model: str | None = None,
) -> tuple[Collection, list[str]]:
    """Loads index, encoder and pictures; also gives what has to be left out, in words.

    Args:
        catalogue: what flags say of a catalogue, as arguments of `resolve`.
        model: a MODEL in place of the index's own.

    Raises:
        SpaceError, ModelError, StoreError: index and model do not go together, or cannot be read.
        CatalogueError: the catalogue that flags name cannot be read.
    """
    index = Index.open(place.index)
    name = model or place.model or index.model
    encoder, runtime = serving_encoder(name, index.meta.image_space)
    limits = settings.limits
    batched = BatchedEncoder(encoder, gather_ms=settings.gather_ms, remembered=limits.remembered_queries)
    try:
        index = Index.open(place.index, encoder=batched, verify=False)
        pictures, faults = _pictures(name, index, settings, catalogue, split)
    except ClipadaptError:
        batched.close()
        raise
    made = Collection(place.name, index, batched, runtime, pictures, remembered=limits.remembered_queries)
    return made, faults


def _pictures(
    model: str, index: Index, settings: Settings, catalogue: Mapping[str, Any], split: str | None
) -> tuple[ItemPictures | None, list[str]]:
    named = catalogue.get("source") is not None or catalogue.get("config") is not None
    limits = settings.limits
    try:
        inputs = _inputs(model, index, catalogue)
        if inputs is None:
            return None, ["no pictures: name the catalogue with --source or --config"]
        pictures = ItemPictures.of(
            inputs, index.items, split, remembered=limits.remembered_thumbnails, decoding=limits.decoding
        )
    except ClipadaptError as error:
        if named or not isinstance(error, UsageError):
            raise
        log.warning("searching without pictures: %s", error)
        return None, [f"no pictures: {error}"]
    return pictures, []


def _inputs(model: str, index: Index, catalogue: Mapping[str, Any]) -> Inputs | None:
    """The catalogue that flags name, else that of the run which the index belongs to."""
    run = next((one for one in (model, _remembered(index)) if one is not None and one.startswith("run:")), None)
    if run is None and catalogue.get("source") is None and catalogue.get("config") is None:
        return None
    return resolve(model=run, **catalogue)


def _remembered(index: Index) -> str | None:
    try:
        return index.model
    except UsageError:
        return None


def _is_release(folder: Path) -> bool:
    try:
        ReleaseInfo.read(folder)
    except ClipadaptError:
        return False
    return True
