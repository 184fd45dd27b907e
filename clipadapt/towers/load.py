"""One MODEL string -> an encoder.

    load("EVA02-B-16:merged2b_s8b_b131k")          from the hub, through open_clip
    load("runs/fashion", device="cuda")            a run: its base with its adapters
    load("local-dir:export", precision="bf16")     matrix products in bf16, weights and vectors in float32
    load("timm:vit_large_patch16_224", image_size=384)

A loaded model is in evaluation mode with every weight frozen: nothing trains that was not asked to. Weights are read
and identified in float32 on the CPU, then moved. Schemes of higher floors (onnx, release) are looked up by name when
they are first used. Nothing here merges: a run keeps its adapters, so that a strength can still be chosen.
"""

import importlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from clipadapt.data.images import Preprocess
from clipadapt.errors import ModelError
from clipadapt.runs import Run
from clipadapt.towers import hub, identity
from clipadapt.towers.adapter_card import WEIGHTS, read_adapter_card
from clipadapt.towers.backend import ModelBackend, weights
from clipadapt.towers.build import build
from clipadapt.towers.encoder import Encoder, Precision, TorchEncoder
from clipadapt.towers.hub import ModelName
from clipadapt.towers.identity import Lineage
from clipadapt.towers.value_vectors import VALUES, ValueVectors


@runtime_checkable
class Loader(Protocol):
    """Loads what follows `SCHEME:`; raises ModelError."""

    def __call__(self, name: str, *, device: str, precision: Precision, image_size: int | None) -> Encoder: ...


log = logging.getLogger(__name__)

_ELSEWHERE: dict[str, str] = {
    "onnx": "clipadapt.export.onnx_encoder:load_encoder",
    "release": "clipadapt.deploy.loading:load_encoder",
}
"""Loaders of higher floors, by name, so that nothing here imports upwards."""

_REGISTERED: dict[str, Loader] = {}


def register(scheme: str, loader: Loader) -> None:
    """Makes `load("SCHEME:...")` call `loader`; used by floors above this one and by tests."""
    _REGISTERED[scheme] = loader


def load(
    model: str,
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    image_size: int | None = None,
) -> Encoder:
    """Loads what a MODEL string names.

    `precision` is what matrix products run in; weights stay float32 (see TorchEncoder.cast_frozen). `image_size` is in
    pixels per side; null is the model's own, another resamples its position embeddings.

    Raises:
        ModelError: no such model, files that are missing or do not fit, no network (naming the file and the remedy),
            no such device.
    """
    name = hub.parse(model)
    elsewhere = _elsewhere(name.scheme)
    if elsewhere is not None:
        return elsewhere(name.name, device=str(device), precision=precision, image_size=image_size)
    encoder = load_torch(name, image_size)
    encoder.precision = precision
    try:
        return encoder.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ModelError(f"{model}: cannot be put on device {device}: {error}") from error


def load_torch(name: ModelName, image_size: int | None = None) -> TorchEncoder:
    """The torch encoder of a parsed MODEL string, on the CPU in float32.

    Raises:
        ModelError: as `load`.
    """
    if name.scheme == "run":
        return _run(name, image_size)
    folder = hub.snapshot(name) if name.scheme == "hf-hub" else Path(name.name).expanduser()
    local = ModelName("local-dir", str(folder)) if name.scheme == "hf-hub" else name
    backend, preprocess = build(local, image_size)
    lineage = _lineage(str(_from_anywhere(name)), backend, preprocess)
    encoder = TorchEncoder(str(name), backend, preprocess, lineage).eval()
    if folder.is_dir():
        encoder.lineage = identity.inherit(lineage, folder)
        learned = ValueVectors.beside(folder)
        if learned is not None and image_size is None:
            learned.require(encoder.image_space, encoder.name)
            encoder.value_vectors = learned
        elif learned is not None:
            log.warning(
                "%s at %d px: %s was learned at another size, values go by texts alone", name, image_size, VALUES
            )
    return encoder


def _run(name: ModelName, image_size: int | None) -> TorchEncoder:
    """The base that an adapter names, with the adapter on it; PATH is a run, or the adapter's own folder."""
    folder = Path(name.name).expanduser()
    folder = folder / "adapter" if (folder / "adapter").is_dir() else folder
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{name}: no adapter in {folder}; the run has not finished an epoch, or the path is wrong")
    card = read_adapter_card(folder)
    if card is None:
        raise ModelError(f"{folder}: no {identity.CARD}, so its base is not known; load the base and use load_adapter")
    if image_size not in (None, card.image_size):
        raise ModelError(f"{name}: was trained at {card.image_size} pixels; another image_size needs another run")
    base = _base_of(folder, card.base)
    try:
        encoder = load_torch(hub.parse(base))
        if encoder.preprocess.size != card.image_size:
            encoder = load_torch(hub.parse(base), card.image_size)
    except ModelError as error:
        raise ModelError(
            f"{name}: its base cannot be loaded: {error}. A base that is a folder is looked for beside the run, as it "
            f"lay when the run was trained, and as {folder.parent / 'config.yaml'} says (model.name)"
        ) from error
    from clipadapt.towers.adapter import load_adapter  # peft takes a second, and nothing else here needs it

    load_adapter(encoder, folder)
    encoder.name = str(name)
    return encoder.eval()


def _base_of(adapter: Path, base: str) -> str:
    """The base that an adapter names; where it does not lie there any more, what the run's own config finds."""
    path = Path(base.partition(":")[2])
    if not path.is_absolute() or path.exists() or not (adapter.parent / "config.yaml").is_file():
        return base
    return Run(adapter.parent).config.model.name


def _from_anywhere(name: ModelName) -> ModelName:
    """The same model from any working directory: folders and weights files in full."""
    folder, file = Path(name.name).expanduser(), Path(name.tag or "").expanduser()
    if name.scheme == "open_clip":
        return name._replace(tag=str(file.resolve())) if file.is_file() else name
    return name._replace(name=str(folder.resolve())) if folder.is_dir() and name.scheme != "hf-hub" else name


def _elsewhere(scheme: str) -> Loader | None:
    if scheme not in _REGISTERED and scheme in _ELSEWHERE:
        module, _, function = _ELSEWHERE[scheme].partition(":")
        _REGISTERED[scheme] = getattr(importlib.import_module(module), function)
    return _REGISTERED.get(scheme)


def _lineage(base: str, backend: ModelBackend, preprocess: Preprocess) -> Lineage:
    digests = weights(backend)
    tokens = None
    if backend.context_length is not None:
        tokens = identity.tokenizer_digest(backend.tokens, backend.vocabulary(), backend.context_length)
    return Lineage(
        base=base,
        image_space=identity.base_space("image", digests["image"], asdict(preprocess)),
        text_space=None if tokens is None else identity.base_space("text", digests["text"], tokens),
        image_weights=digests["image"],
        text_weights=digests.get("text"),
        image_size=preprocess.size,
    )
