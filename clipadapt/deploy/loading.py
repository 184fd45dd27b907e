"""The model of a release, as `load("release:PATH")` gives it, and the form of a model that answers quickest.

    serving_encoder("release:releases", image_space)    its ONNX export in INT8, in float32, or the merged torch model
    serving_encoder("run:runs/shop", image_space)       the same of a run

PATH is a folder of releases, of which the promoted one is meant, or one release in its versions/. Nothing here writes.
"""

import importlib.util
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from clipadapt.deploy.bundle import EXPORTS, MODEL
from clipadapt.deploy.lineage import ReleaseInfo
from clipadapt.errors import ModelError, SpaceError, StoreError, listing
from clipadapt.manifest import MANIFEST
from clipadapt.store import Store, faults_of
from clipadapt.towers.adapter_card import read_adapter_card
from clipadapt.towers.encoder import Encoder, Precision, TorchEncoder
from clipadapt.towers.identity import TOWERS, read_card
from clipadapt.towers.load import load

log = logging.getLogger(__name__)

Runtime = Literal["onnx-int8", "onnx-fp32", "onnx-fp16", "torch"]
_RUNTIMES: dict[str, Runtime] = {"onnx-int8": "onnx-int8", "onnx-fp32": "onnx-fp32", "onnx-fp16": "onnx-fp16"}
"""Precision of an ONNX encoder -> what it is called."""
_ONNX = ("onnx", "onnxruntime")


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
    if faults := faults_of(folder, verify=False):
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


def serving_encoder(model: str, image_space: str, *, device: str = "cpu") -> tuple[Encoder, Runtime]:
    """The quickest form of a model on a CPU, and which it is.

    An ONNX export of a release or run is taken where onnxruntime is installed and it is of the same spaces: its INT8
    files where both towers kept the share of decisions that quantising aims at, else its float files. Anything else,
    and every model on a GPU, runs in torch.

    Raises:
        SpaceError: the model is not of `image_space`.
        ModelError, StoreError: it cannot be loaded, or was changed.
    """
    if device == "cpu" and all(importlib.util.find_spec(name) is not None for name in _ONNX):
        for folder, spaces in _exports(model):
            card = read_card(folder)
            if card is None or card.get("format") != "onnx":
                continue
            if (card.get("image_space"), card.get("text_space")) != spaces or spaces[0] != image_space:
                log.warning("%s: is of another model than %s, so it is not served", folder, model)
                continue
            if _int8_passed(card):
                return load(f"onnx:{folder}@int8"), "onnx-int8"
            return load(f"onnx:{folder}"), "onnx-fp32"
    encoder = load(model, device=device)
    if encoder.image_space != image_space:
        raise SpaceError(
            f"{model}: {encoder.image_space}, but the index: {image_space}; serve the model that the index was built "
            "with, or build the index again"
        )
    return encoder, _RUNTIMES.get(str(getattr(encoder, "precision", "")), "torch")


def _exports(model: str) -> Iterator[tuple[Path, tuple[str, str | None]]]:
    """Folders beside a release's or run's model that may hold another form of it, and the spaces it must be of."""
    scheme, _, path = model.partition(":")
    if scheme == "release":
        release = release_folder(path)
        info = ReleaseInfo.read(release)
        yield from ((folder, (info.image_space, info.text_space)) for folder in _folders(release / EXPORTS))
    elif scheme == "run":
        run = Path(path).expanduser()
        card = read_adapter_card(run / "adapter")
        if card is not None:
            yield from ((folder, (card.image_space, card.text_space)) for folder in _folders(run / "export"))


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _int8_passed(card: Mapping[str, Any]) -> bool:
    from clipadapt.export.quantize import GOAL

    report = card.get("int8")
    return isinstance(report, dict) and all(
        report[tower]["agreement"] >= GOAL for tower in TOWERS if tower == "image" or card.get("text_space") is not None
    )
