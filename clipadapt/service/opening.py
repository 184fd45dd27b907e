"""INDEX, RELEASE or RUN -> a collection that can be served.

    place = find("runs/shop")                   the index in it, the model of its queries, what it is called
    collection = Opener(serving).open(place)    loads the model; seconds

A folder of releases stands for the one that is promoted. Pictures come from the catalogue that flags name, else from
the one that the index was built from, else from the one that its run was trained on. Nothing here knows of HTTP.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from clipadapt.deploy.bundle import INDEX, PROMPTS
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.deploy.loading import release_folder, serving_encoder
from clipadapt.errors import ClipadaptError, UsageError
from clipadapt.inputs import Inputs, inputs_of, resolve
from clipadapt.search.index import Index
from clipadapt.search.milvus.address import Address
from clipadapt.search.opening import folder_of as index_folder
from clipadapt.search.opening import in_milvus, is_index, located
from clipadapt.search.query import QueryPart
from clipadapt.search.shown import catalogue_of
from clipadapt.search.typed import Known
from clipadapt.service.batching import BatchedEncoder
from clipadapt.service.collection import Collection
from clipadapt.service.pictures import ItemPictures
from clipadapt.service.serving import Serving
from clipadapt.service.tagger import Tagger
from clipadapt.store import Store
from clipadapt.tagging.thresholds import THRESHOLDS
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)

_SCHEMES = ("run:", "release:", "index:")


@dataclass(frozen=True)
class Place:
    """Where what is served lies."""

    index: str | Path
    """A folder, or milvus:URI/COLLECTION."""
    name: str
    """What /info and every answer call it: a release's number, a run's or an index's folder."""
    model: str | None
    """MODEL string of a release or run, which may hold ONNX exports; null: the one that the index remembers."""
    thresholds: Path | None = None
    """Of a release or run that has them."""
    prompts: str | None = None
    config: Path | None = None
    """Of the run that a release was made from, which names the catalogue."""


def find(path: str) -> Place:
    """What a person named.

    Raises:
        UsageError: there is no index; says how to make one.
        ModelError, StoreError: a release that is not there, or was changed.
    """
    if in_milvus(path):
        return Place(path, Address.parse(path).name, None)
    folder = folder_of(path)
    if not folder.is_dir():
        raise UsageError(f"{path}: no such folder; name an index, a run, a release, or a folder of releases")
    if is_releases(folder) or _is_release(folder):
        release = release_folder(folder)
        if not is_index(release / INDEX):
            raise UsageError(f"{release}: a release without an index; create one from a run that has an index")
        prompts, config = (release / name if (release / name).is_file() else None for name in (PROMPTS, "config.yaml"))
        words = str(prompts) if prompts else None
        return Place(release / INDEX, release.name, f"release:{release}", _thresholds(release), words, config)
    if is_index(folder / INDEX):
        trained = (folder / "adapter").is_dir()
        return Place(
            folder / INDEX, folder.resolve().name, f"run:{folder}" if trained else None,
            _thresholds(folder) if trained else None,
        )  # fmt: skip
    place = located(folder)
    if isinstance(place, Address) or (Store(place).exists() and (Store(place).current() / "index.json").is_file()):
        return Place(folder, folder.resolve().name, None)
    if (folder / "adapter").is_dir():
        raise UsageError(
            f"{folder}: a run without an index; build one with: clipadapt index build --model run:{folder} --split "
            f"train --out {folder / INDEX}"
        )
    raise UsageError(f"{folder}: neither an index, a run, a release, nor a folder of releases")


def _thresholds(folder: Path) -> Path | None:
    return folder / THRESHOLDS if (folder / THRESHOLDS).is_file() else None


def folder_of(path: str) -> Path:
    """The folder that a person named, whatever scheme stands before it."""
    bare = next((path.removeprefix(scheme) for scheme in _SCHEMES if path.startswith(scheme)), path)
    return Path(bare).expanduser()


def is_releases(folder: Path) -> bool:
    """Whether a folder holds releases, of which one is promoted."""
    store = Store(folder)
    pointer = store.pointer()
    return pointer is not None and _is_release(folder / "versions" / pointer.version)


@dataclass(frozen=True)
class Opener:
    """What flags say, for every collection that is opened."""

    serving: Serving
    catalogue: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `resolve` that name the catalogue of the pictures."""
    split: str | None = None
    thresholds: Path | None = None
    """In place of the release's own."""
    prompts: str | None = None
    """That the thresholds were fitted with; null: the release's or run's own."""

    def open(self, place: Place, *, model: str | None = None) -> Collection:
        """Loads index, encoder and pictures, and asks once, so that the first request finds all of it warm.

        Args:
            model: a MODEL in place of the index's own.

        Raises:
            SpaceError, ModelError, StoreError: index and model do not go together, or cannot be read.
            CatalogueError: the catalogue that flags name cannot be read.
        """
        settings, limits = self.serving.settings, self.serving.settings.limits
        index = Index.open(place.index)
        name = _model(place, index, model)
        encoder, runtime = serving_encoder(name, index.meta.image_space)
        batched = BatchedEncoder(
            encoder, gather_ms=settings.gather_ms, remembered=limits.remembered_queries,
            observe=self.serving.metrics.batch,
        )  # fmt: skip
        try:
            known = Known.find(place.index, prompts=self.prompts)
            index = Index.open(place.index, encoder=batched, signals=known.signals, verify=False)
            pictures = self._pictures(name, place, index)
            tagger = self._tagger(place, name, encoder)
            made = Collection(
                place.name, index, batched, runtime, pictures, tagger,
                known=known, remembered=limits.remembered_queries,
            )  # fmt: skip
            _warm(made)
        except BaseException:
            batched.close()
            raise
        return made

    def renewed(
        self, collection: Collection, place: Place | Callable[[], Place], *, model: str | None = None
    ) -> Collection | None:
        """What was opened from a place, with what its index became since; None where it did not change.

        The catalogue is read again where items are new to it.

        Raises:
            SpaceError, StoreError: the index was built anew with another model, or cannot be read.
            CatalogueError: the catalogue that flags name cannot be read.
        """
        index = collection.index.newer()
        if index is None:
            return None
        place = place if isinstance(place, Place) else place()
        ids, pictures = index.ids(), collection.pictures
        if pictures is not None:
            known = pictures.looked_for(ids)
            pictures = pictures.afresh() if known else self._pictures(_model(place, index, model), place, index)
        if ids:
            index.search(index.vector(ids[0]), 1)  # a fault shows before it serves, and the next search is a quick one
        return collection.over(index, pictures)

    def _pictures(self, model: str, place: Place, index: Index) -> ItemPictures | None:
        named = self.catalogue.get("source") is not None or self.catalogue.get("config") is not None
        limits = self.serving.settings.limits
        try:
            inputs = _inputs(model, place, index, self.catalogue)
            if inputs is None:
                self.serving.set_fault("pictures", "no pictures: name the catalogue with --source or --config")
                return None
            pictures = ItemPictures.of(
                inputs, index.ids(), self.split, remembered=limits.remembered_thumbnails, decoding=limits.decoding
            )
        except UsageError as error:
            if named:
                raise
            log.warning("searching on without pictures: %s", str(error))
            self.serving.set_fault("pictures", "no pictures: their catalogue cannot be read; name it with --source")
            return None
        self.serving.set_fault("pictures", None)
        return pictures

    def _tagger(self, place: Place, model: str, encoder: Encoder) -> Tagger | None:
        thresholds = self.thresholds or place.thresholds
        if thresholds is None:
            return None
        prompts = self.prompts or place.prompts or resolve(model=model, **self.catalogue).words
        return Tagger(thresholds, prompts, encoder)


def _model(place: Place, index: Index, named: str | None) -> str:
    """The MODEL of queries: one that a person named, else the run's or release's, else the index's."""
    return named or place.model or index.model


def _warm(collection: Collection) -> None:
    """One search by words and one by a picture: what is loaded late is loaded now, and faults show before it serves."""
    size = collection.encoder.preprocess.size
    queries: list[QueryPart] = [Image.new("RGB", (size, size), "white")]
    if collection.encoder.context_length is not None:
        queries.append("a")
    if len(collection.index):
        collection.index.search(queries, 1)


def _inputs(model: str, place: Place, index: Index, catalogue: Mapping[str, Any]) -> Inputs | None:
    """The catalogue that flags name, else the index's, else that of the run which index or release was made from."""
    named = catalogue.get("source") is not None or catalogue.get("config") is not None
    if not named and (data := catalogue_of(index.meta.catalogue, index_folder(place.index))) is not None:
        return inputs_of(data)
    run = next((one for one in (model, _remembered(index)) if one is not None and one.startswith("run:")), None)
    if run is None and not named:
        return _near(place.config) if place.config is not None else None
    return resolve(model=run, **catalogue)


def _near(config: Path) -> Inputs | None:
    """The catalogue of a release's config where it lies on this machine; a service asks no other unasked."""
    inputs = resolve(config=config)
    source = inputs.data.source
    return inputs if source.startswith("drawn:") or Path(source).expanduser().exists() else None


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
