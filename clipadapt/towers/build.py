"""A parsed MODEL string -> the library's model as an encoder needs it, and its preprocessing.

open_clip, transformers and timm each build their own model, strictly: weights that do not fit are an error, not a
random layer. What they log and draw while doing so is not shown. Nothing here reads adapters or decides devices.
"""

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipadapt.data.images import Preprocess
from clipadapt.errors import ModelError
from clipadapt.towers import hub
from clipadapt.towers.backend import ModelBackend, OpenClip, Timm, Transformers
from clipadapt.towers.hub import ModelName


def build(name: ModelName, image_size: int | None) -> tuple[ModelBackend, Preprocess]:
    """The model and its preprocessing, on the CPU, in float32, frozen and in evaluation mode.

    Takes open_clip, local-dir, transformers and timm names; a hub repository of open_clip is a local-dir once fetched.

    Raises:
        ModelError: no such model, files that are missing or do not fit, no network (naming the file and the remedy).
    """
    with torch.random.fork_rng(devices=[]):  # constructors draw weights that are then overwritten
        backend, preprocess = _BUILDERS[name.scheme](name, image_size)
    backend.model.float().requires_grad_(False).eval()
    return backend, preprocess


def _open_clip(name: ModelName, image_size: int | None) -> tuple[ModelBackend, Preprocess]:
    import open_clip

    assert name.tag is not None, "parse gives every open_clip name a tag"
    hub.check_open_clip(name.name, name.tag)
    config: Any = open_clip.get_model_config(name.name)
    tag = None if name.tag == "random" else name.tag
    cfg = open_clip.get_pretrained_cfg(name.name, tag) if tag else {}
    repository = os.path.split(cfg.get("hf_hub", ""))[0]  # the rest, if any, is a file in it
    where = repository or cfg.get("url") or name.tag
    with hub.fetching(str(name), f"open_clip_model.safetensors of {where}"):
        if repository:
            hub.reach(repository, (*hub.OPEN_CLIP_FILES, "open_clip_pytorch_model.bin"))
        model = _create(name, name.name, image_size, pretrained=tag)
    with hub.fetching(str(name), f"the tokenizer of {config['text_cfg'].get('hf_tokenizer_name') or name.name}"):
        tokenizer = open_clip.get_tokenizer(name.name)
    return _open_clip_parts(model, tokenizer, config)


def _local_dir(name: ModelName, image_size: int | None) -> tuple[ModelBackend, Preprocess]:
    import open_clip

    folder = Path(name.name).expanduser()
    hub.check_folder(folder)
    with _nested(folder) as readable:
        config: Any = open_clip.get_model_config(f"local-dir:{readable}")
        model = _create(name, f"local-dir:{readable}", image_size)
        try:
            tokenizer = open_clip.get_tokenizer(f"local-dir:{readable}")
        except Exception as error:  # transformers raises OSError, ValueError, TypeError and more for missing files
            wanted = config["text_cfg"].get("hf_tokenizer_name")
            raise ModelError(f"{name}: its tokenizer ({wanted}) is not in the folder; copy its files there") from error
    return _open_clip_parts(model, tokenizer, config)


@contextmanager
def _nested(folder: Path) -> Iterator[Path]:
    """The folder as open_clip's loader wants it; a config written flat, without model_cfg, is nested in a copy."""
    file = folder / "open_clip_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{file}: not valid JSON: {error}") from error
    if "model_cfg" in config:
        yield folder
        return
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= set(config):
        raise ModelError(f"{file}: holds neither model_cfg nor embed_dim, vision_cfg and text_cfg")
    preprocess = config.pop("preprocess_cfg", {})
    with tempfile.TemporaryDirectory() as temporary:
        for other in folder.iterdir():
            if other != file:
                Path(temporary, other.name).symlink_to(other.resolve())
        document = {"model_cfg": config, "preprocess_cfg": preprocess}
        Path(temporary, file.name).write_text(json.dumps(document), encoding="utf-8")
        yield Path(temporary)


def _create(name: ModelName, spec: str, image_size: int | None, pretrained: str | None = None) -> nn.Module:
    """open_clip's own constructor, strict; its log of what it does is not ours to print."""
    import open_clip

    from clipadapt.towers import small  # noqa: F401 - registers the small EVA with timm

    with _quiet():
        torch.manual_seed(0)  # weights of NAME:random
        try:
            model = open_clip.create_model(spec, pretrained=pretrained, force_image_size=image_size)
        except (RuntimeError, ValueError, KeyError, TypeError, AssertionError) as error:
            if "download" in str(error):
                raise
            raise ModelError(f"{name}: open_clip cannot build it: {str(error)[:600]}") from error
    if not isinstance(model, open_clip.CLIP | open_clip.CustomTextCLIP):
        raise ModelError(f"{name}: {type(model).__name__} is not a two-tower model that can be adapted here")
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    before, bars = logging.root.manager.disable, transformers_logging.is_progress_bar_enabled()
    logging.disable(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.disable(before)
        if bars:
            transformers_logging.enable_progress_bar()


def _open_clip_parts(model: Any, tokenizer: Any, config: dict[str, Any]) -> tuple[ModelBackend, Preprocess]:
    preprocess = Preprocess.from_open_clip(model.visual.preprocess_cfg)
    return OpenClip(model, tokenizer, config), preprocess


def _transformers(name: ModelName, image_size: int | None) -> tuple[ModelBackend, Preprocess]:
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    where: dict[str, Any] = {"revision": name.revision} if name.revision else {}
    local = Path(name.name).expanduser()
    source = str(local) if local.is_dir() else name.name
    with hub.fetching(str(name), f"config.json and model.safetensors of {name.name}"), _quiet():
        if not local.is_dir():
            hub.reach(source, ("config.json",), name.revision)
        try:
            config = AutoConfig.from_pretrained(source, **where)
            if config.model_type not in ("clip", "siglip"):
                raise ModelError(f"{name}: a {config.model_type} model; only clip and siglip are two-tower models here")
            model = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True, **where)
            processor = AutoImageProcessor.from_pretrained(source, **where)
            tokenizer = AutoTokenizer.from_pretrained(source, **where)
        except (OSError, ValueError, KeyError) as error:
            if not local.is_dir():
                raise
            raise ModelError(f"{name}: transformers cannot load it: {str(error)[:600]}") from error
    if image_size is not None:
        resize_positions(model, image_size)
    return Transformers(model, tokenizer, processor), Preprocess.from_processor(processor, size=image_size)


def resize_positions(model: Any, image_size: int) -> None:
    """Resamples the picture positions of a transformers CLIP or SigLIP for another size, as it would itself, in place.

    Raises:
        ModelError: the size is not a multiple of the patch size.
    """
    embeddings = model.vision_model.embeddings
    patch = int(embeddings.patch_size)
    if image_size % patch:
        raise ModelError(f"image_size {image_size} is not a multiple of the patch size {patch}")
    table, grid = embeddings.position_embedding.weight.data, image_size // patch
    extra = 1 if hasattr(embeddings, "class_embedding") else 0
    side = round((len(table) - extra) ** 0.5)
    if side == grid:
        return
    patches = table[extra:].T.reshape(1, -1, side, side)
    resized = torch.nn.functional.interpolate(patches, (grid, grid), mode="bicubic")
    table = torch.cat([table[:extra], resized.reshape(table.shape[1], -1).T])
    embeddings.position_embedding = nn.Embedding.from_pretrained(table.contiguous())
    embeddings.position_ids = torch.arange(len(table)).expand(1, -1)
    embeddings.num_positions, embeddings.num_patches, embeddings.image_size = len(table), grid * grid, image_size
    model.config.vision_config.image_size = image_size


def _timm(name: ModelName, image_size: int | None) -> tuple[ModelBackend, Preprocess]:
    import timm
    from timm.data import resolve_model_data_config

    from clipadapt.towers import small  # noqa: F401 - registers the small EVA with timm

    schemed = ":" in name.name or Path(name.name).expanduser().is_dir()
    spec = f"local-dir:{name.name}" if Path(name.name).expanduser().is_dir() else name.name
    if not schemed and not timm.is_model(name.name):
        raise ModelError(f"{name}: timm knows no model of that name{hub.near(name.name, timm.list_models())}")
    with hub.fetching(str(name), f"model.safetensors of timm/{name.name}"), _quiet():
        repository = None if schemed else getattr(timm.get_pretrained_cfg(name.name), "hf_hub_id", None)
        if repository:
            hub.reach(repository, ("model.safetensors", "pytorch_model.bin"))
        try:
            model: Any = timm.create_model(spec, pretrained=True, num_classes=0)
        except RuntimeError as error:
            if "No pretrained weights" in str(error):
                raise ModelError(f"{name}: timm publishes no weights for it") from error
            raise
    if image_size is not None and hasattr(model, "set_input_size"):  # convolutions take any size as they are
        try:
            model.set_input_size(img_size=image_size)
        except (AssertionError, ValueError, TypeError) as error:
            raise ModelError(f"{name}: image_size {image_size} does not fit this model: {error}") from error
    return Timm(model), _timm_preprocess(resolve_model_data_config(model), image_size)


def _timm_preprocess(data: dict[str, Any], image_size: int | None) -> Preprocess:
    """timm's evaluation transform: the short side to size / crop_pct, then the middle."""
    size = image_size or int(data["input_size"][-1])
    edge = int(size / data.get("crop_pct", 1.0))
    modes = {"center": "shortest", "squash": "squash", "border": "longest"}
    described = {
        "size": size,
        "mean": data["mean"],
        "std": data["std"],
        "interpolation": data["interpolation"],
        "resize_mode": modes[data.get("crop_mode", "center")],
    }
    plain = Preprocess.from_open_clip(described)
    return plain if edge == size else replace(plain, edge=edge)


_BUILDERS: Mapping[str, Callable[[ModelName, int | None], tuple[ModelBackend, Preprocess]]] = {
    "open_clip": _open_clip,
    "local-dir": _local_dir,
    "transformers": _transformers,
    "timm": _timm,
}
