"""An adapter on disk, in peft's own form, and back.

    adapter/adapter_config.json          peft's; stock peft loads it over split_attention(the base)
    adapter/adapter_model.safetensors    peft's names; trained LayerNorms and the logit scale among them
    adapter/clipadapt.json               the base it belongs to, its size in pixels, the spaces before and after
    adapter/values.safetensors           value vectors, where the run learned them
    adapter/head.safetensors             a linear head, where the run has one; base_probe.safetensors: the base's own

A run of LayerNorms alone, of all weights or of a head alone has no peft config; its tensors have the same form. An
adapter is refused by a base that is not the one it was trained on, and by one whose modules it does not fit: half an
adapter is none.
Nothing here finds bases; `load` does.
"""

import json
from pathlib import Path
from string import Template
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clipadapt import places
from clipadapt.errors import AdapterError, listing
from clipadapt.store import atomic_folder
from clipadapt.towers import hub, tokens
from clipadapt.towers.adapter_card import WEIGHTS, AdapterCard, read_adapter_card
from clipadapt.towers.adapter_state import NAME, Adapters, inject, train_in_place, unwrap
from clipadapt.towers.classifier import HEAD, PROBE, LinearHead
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import CARD
from clipadapt.towers.packed import split_attention
from clipadapt.towers.value_vectors import VALUES, ValueVectors

CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_README = Path(__file__).parent / "adapter_readme.md"
_SCALARS = ("logit_scale", "logit_bias")
_SHOWN = 6


def save_adapter(encoder: TorchEncoder, folder: str | Path) -> Path:
    """Writes what was put on the encoder; the folder appears whole, in place of one that was there.

    Raises:
        AdapterError: nothing was put on it.
        StoreError: the disk refuses; an earlier adapter is as it was.
    """
    adapters = _adapters(encoder)
    lineage = encoder.lineage
    card = AdapterCard(
        kind=adapters.kind,
        base=encoder.source,
        image_size=encoder.preprocess.size,
        base_image_space=lineage.image_space,
        base_text_space=lineage.text_space,
        image_space=encoder.image_space,
        text_space=encoder.text_space,
    )
    tensors = adapters.tensors() | {name: value.detach() for name, value in _scalars(encoder).items()}
    kept = {_PREFIX + name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    config = adapters.saved_config()
    base = places.portable(card.base, Path(folder))
    if config is not None:
        config.base_model_name_or_path = base
    with atomic_folder(folder) as staging:
        save_file(kept, staging / WEIGHTS, metadata={"format": "pt"})
        if config is not None:
            config.save_pretrained(str(staging))
            (staging / "README.md").write_text(_readme(encoder), encoding="utf-8")
        document = {"schema_version": 1, "adapter": card._replace(base=base)._asdict()}
        (staging / CARD).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        for name, part in ((HEAD, encoder.head), (PROBE, encoder.base_probe), (VALUES, encoder.value_vectors)):
            if part is not None:
                part.save(staging / name)
    return Path(folder)


def _readme(encoder: TorchEncoder) -> str:
    """How stock libraries load the adapter, and how a load that lost tensors is noticed."""
    base = hub.parse(places.public(encoder.source))
    imports = {"open_clip": "import open_clip", "transformers": "from transformers import AutoModel"}
    model = f'timm.create_model("{base.name}", pretrained=True, num_classes=0)'
    if encoder.family == "transformers":
        model = f'AutoModel.from_pretrained("{base.name}")'
    elif encoder.family == "open_clip":
        named = f'"{base.name}", pretrained="{base.tag}"' if base.scheme == "open_clip" else f'"{base}"'
        model = f"open_clip.create_model_and_transforms({named})[0]"
    values = {"base": str(base), "imports": imports.get(encoder.family, "import timm"), "model": model}
    return Template(_README.read_text(encoding="utf-8")).substitute(values)


def load_adapter(encoder: TorchEncoder, folder: str | Path) -> None:
    """Puts a saved adapter on its base, frozen; splits attention first.

    Raises:
        AdapterError: no adapter there, another base, or tensors that do not fit; the encoder's weights are then as they
            were, though its attention may be split.
    """
    if encoder.adapters is not None:
        raise AdapterError(f"{encoder.name} already carries adapters; load its base anew")
    card = read_adapter_card(folder)
    tensors = _read(Path(folder))
    if card is not None:
        _refuse_other_base(encoder, card, folder)
    scalars = {name: tensors.pop(name) for name in _SCALARS if name in tensors}
    adapters = _attach(encoder, Path(folder), card, tensors)
    try:
        _fill(encoder, adapters, tensors, folder)
    except AdapterError:
        unwrap(encoder.model)
        raise
    _set_scalars(encoder, scalars)
    encoder.requires_grad_(False)
    encoder.adapters = adapters
    encoder.head, encoder.base_probe = (
        LinearHead.load(Path(folder, name)) if Path(folder, name).is_file() else None for name in (HEAD, PROBE)
    )
    if encoder.head is not None:
        encoder.head.require(encoder.image_space, encoder.name)
    encoder.value_vectors = ValueVectors.beside(Path(folder))
    if encoder.value_vectors is not None:
        encoder.value_vectors.require(encoder.image_space, encoder.name)


def refill_adapter(encoder: TorchEncoder, folder: str | Path) -> None:
    """Puts a saved adapter's values into the adapters of the same form that an encoder carries already.

    Raises:
        AdapterError: no adapter there, or tensors that do not fit.
    """
    adapters, tensors = _adapters(encoder), _read(Path(folder))
    scalars = {name: tensors.pop(name) for name in _SCALARS if name in tensors}
    _fill(encoder, adapters, tensors, folder)
    _set_scalars(encoder, scalars)


def _set_scalars(encoder: TorchEncoder, scalars: dict[str, Tensor]) -> None:
    for name, value in scalars.items():
        parameter = getattr(encoder.model, name, None)
        if parameter is not None:
            parameter.data = value.reshape(parameter.shape).to(parameter)


def _attach(encoder: TorchEncoder, folder: Path, card: AdapterCard | None, tensors: dict[str, Tensor]) -> Adapters:
    """Adapters of the right shape, still empty, once it is known that every tensor has its place."""
    known = _shapes(encoder)
    in_place = [name for name in tensors if ".lora_" not in name and not name.endswith(tokens.SAVED)]
    if card is not None and card.kind != "adapters":
        _refuse_misfit(folder, in_place, [name for name in in_place if known.get(name) != tensors[name].shape], [])
        adapters = Adapters(encoder, card.kind, None)
        train_in_place(encoder, adapters, in_place)
        return adapters
    config = _config(folder)
    split_attention(encoder.model)
    known = _shapes(encoder)
    wrong = [
        name for name in tensors if not _fits(name, tensors[name], known) and known.get(name) != tensors[name].shape
    ]
    _refuse_misfit(folder, tensors, wrong, [])
    _refuse_tokens(config.trainable_token_indices, known, folder)
    config.inference_mode = False
    config.init_lora_weights = True
    adapters = inject(encoder, config)
    train_in_place(encoder, adapters, in_place)
    return adapters


def _refuse_tokens(indices: Any, known: dict[str, torch.Size], folder: Path) -> None:
    """peft also takes a list, of an embedding that it looks for, and answers a token beyond the last with IndexError.

    Raises:
        AdapterError: it is not said of which embedding tokens are, or it has fewer.
    """
    where = f"{folder}/{CONFIG}: trainable_token_indices"
    if indices and not isinstance(indices, dict):
        raise AdapterError(
            f"{where}: a list does not say of which embedding; write {{PATH: [...]}} with its module's path"
        )
    for path, ids in (indices or {}).items():
        sizes = [shape[0] for name, shape in known.items() if f".{name}".endswith(f".{path}.weight")]
        if not sizes:
            raise AdapterError(f"{where}: this model has no {path}; load the base it was trained on")
        if ids and max(ids) >= sizes[0]:
            raise AdapterError(
                f"{where} has token {max(ids)}, and {path} of this model has {sizes[0]} tokens; load the base it was "
                "trained on"
            )


def trained_tokens(folder: Path) -> dict[str, list[int]]:
    """Path of an embedding -> the tokens that an adapter on disk has rows for; empty where it has none.

    Raises:
        AdapterError: peft cannot read it.
    """
    return {} if not (folder / CONFIG).is_file() else dict(_config(folder).trainable_token_indices or {})


def _config(folder: Path) -> Any:
    try:
        return LoraConfig.from_pretrained(str(folder))
    except (ValueError, TypeError, OSError) as error:
        raise AdapterError(f"{folder}/{CONFIG}: peft cannot read it: {error}") from error


def _shapes(encoder: TorchEncoder) -> dict[str, torch.Size]:
    return {name: parameter.shape for name, parameter in encoder.model.named_parameters()}


def _fits(name: str, tensor: Tensor, known: dict[str, torch.Size]) -> bool:
    """Whether a LoRA tensor belongs to a Linear of the model and has its width, or rows of tokens to an embedding."""
    if name.endswith(tokens.SAVED):
        return known.get(f"{name.removesuffix(tokens.SAVED)}.weight", torch.Size())[1:] == tensor.shape[1:]
    path, adapted, part = name.partition(".lora_")
    weight = known.get(f"{path}.weight", torch.Size())
    if not adapted or len(weight) != 2:
        return False
    return weight[1] == tensor.shape[-1] if part.startswith("A") else weight[0] == tensor.shape[0]


def _fill(encoder: TorchEncoder, adapters: Adapters, tensors: dict[str, Tensor], folder: str | Path) -> None:
    """Copies the tensors in; none may be missing or left over."""
    state = dict(encoder.model.named_parameters())
    places: dict[str, Tensor] = {name: state[name] for name in adapters.base}
    for path in adapters.layers():
        for name, parameter in encoder.model.get_submodule(path).named_parameters():
            if name.startswith("lora_"):
                places[f"{path}.{_saved(name)}"] = parameter
    places |= {f"{path}{tokens.SAVED}": rows for path, rows in adapters.token_rows().items()}
    unknown = [name for name in tensors if name not in places or places[name].shape != tensors[name].shape]
    _refuse_misfit(folder, tensors, unknown, [name for name in places if name not in tensors])
    with torch.no_grad():
        for name, value in tensors.items():
            places[name].copy_(value)


def _saved(name: str) -> str:
    """peft's name on disk of a parameter inside its layer: without the adapter's name, nor DoRA's last `weight`."""
    name = name.replace(f".{NAME}", "", 1)
    return name.removesuffix(".weight") if name.startswith("lora_magnitude_vector") else name


def _read(folder: Path) -> dict[str, Tensor]:
    file = folder / WEIGHTS
    if not file.is_file():
        raise AdapterError(f"{folder}: holds no {WEIGHTS}; give the folder that a run wrote as adapter/")
    try:
        return {name.removeprefix(_PREFIX): value for name, value in load_file(file).items()}
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{file}: cannot be read ({error}); copy it again from where it was trained") from error


def _refuse_other_base(encoder: TorchEncoder, card: AdapterCard, folder: str | Path) -> None:
    lineage = encoder.lineage
    pairs = {
        "image_space": (card.base_image_space, lineage.image_space),
        "text_space": (card.base_text_space, lineage.text_space),
    }
    faults = [f"{name}: {wanted} wanted, {given} found" for name, (wanted, given) in pairs.items() if wanted != given]
    if faults:
        size = f" at image_size {card.image_size}" if card.image_size != encoder.preprocess.size else ""
        raise AdapterError(
            f"{folder}: was trained on {card.base}{size}, and {encoder.name} is not that model{listing(faults)}"
        )


def _refuse_misfit(folder: str | Path, known: Any, wrong: list[str], missing: list[str]) -> None:
    if not wrong and not missing:
        return
    faults = [f"{name}: no such module in this model, or of another shape" for name in wrong[:_SHOWN]]
    faults += [f"{name}: missing from the adapter" for name in missing[:_SHOWN]]
    raise AdapterError(
        f"{folder}: does not fit this base: {len(wrong)} of {len(known)} tensors have no place and {len(missing)} are "
        f"missing; load the base it was trained on{listing(faults)}"
    )


def _adapters(encoder: TorchEncoder) -> Adapters:
    if not isinstance(encoder.adapters, Adapters):
        raise AdapterError(f"{encoder.name}: nothing was adapted, so there is no adapter to save")
    return encoder.adapters


def _scalars(encoder: TorchEncoder) -> dict[str, Tensor]:
    if encoder.context_length is None:
        return {}
    scalars = {"logit_scale": encoder.logit_scale, "logit_bias": encoder.logit_bias}
    return {name: value for name, value in scalars.items() if value is not None}
