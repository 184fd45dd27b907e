"""Merged checkpoints that the stock libraries load: an open_clip folder, a transformers folder.

    export("run:runs/fashion", "open_clip", "runs/fashion/export/open_clip")

The adapters are folded into the weights in float32, split attention is fused back, and the state-dict keys are the
base's. Before the folder appears, the stock library loads it strictly and its vectors are compared with those of the
model that was measured. Nothing here knows of ONNX or quantisation.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from clipadapt.atomic import atomic_folder
from clipadapt.errors import ModelError, UsageError
from clipadapt.export.parity import Agreement, Probe, compare, probe
from clipadapt.towers import hub, identity
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import Lineage, Tower
from clipadapt.towers.load import load
from clipadapt.towers.merge import merge
from clipadapt.towers.packed import fuse_attention

Format = Literal["open_clip", "transformers", "onnx", "triton"]
FORMATS: tuple[Format, ...] = ("open_clip", "transformers")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class Exported(NamedTuple):
    """What was written, and how well it agrees with what was measured."""

    path: Path
    format: Format
    agreement: Agreement
    image_space: str
    text_space: str | None


def export(
    model: str | TorchEncoder,
    to: Format,
    out: str | Path,
    *,
    strength: Mapping[Tower, float] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Merges a model's adapters and writes a folder that `to`'s own library loads.

    Args:
        model: a MODEL string, or an encoder, which is merged in place.
        to: the library that is to load the folder.
        out: a folder that does not exist or is empty.
        strength: "image" and "text" -> factor on what the adapters add; 1 where not named.
        overwrite: replace a folder that is there.

    Raises:
        UsageError: the folder is not empty, or the library has no architecture for this model.
        ParityError: the folder does not give the measured vectors; it is not kept.
        StoreError: the disk refuses.
    """
    out = Path(out)
    writer, reader = _FORMATS.get(to, (None, None))
    if writer is None or reader is None:
        raise UsageError(f"no export format {to!r}; there are {', '.join(FORMATS)}")
    refuse_occupied(out, overwrite)
    encoder = torch_encoder(model)
    if encoder.family != to:
        raise UsageError(_no_architecture(encoder, to))
    measured, lineage = merged(encoder, strength)
    with atomic_folder(out) as staging:
        writer(encoder, staging)
        agreement = reader(staging, measured)
        identity.write_card(staging, lineage, agreement=agreement._asdict(), clipadapt=version("clipadapt"))
    return Exported(out, to, agreement, encoder.image_space, encoder.text_space)


def refuse_occupied(out: Path, overwrite: bool) -> None:
    """Before any work starts.

    Raises:
        UsageError: `out` is a file, or a folder that holds something and is not to be replaced.
    """
    if out.exists() and not overwrite and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and not empty; give another folder")


def torch_encoder(model: str | TorchEncoder) -> TorchEncoder:
    """The model with its torch weights, on the CPU.

    Raises:
        ModelError: it has none, being an export itself.
    """
    encoder = load(model) if isinstance(model, str) else model
    if not isinstance(encoder, TorchEncoder):
        raise ModelError(f"{model}: holds no torch weights to merge and write; name the run or the checkpoint")
    return encoder.cpu()


def merged(encoder: TorchEncoder, strength: Mapping[Tower, float] | None) -> tuple[Probe, Lineage]:
    """Merges and fuses `encoder` in place -> what it says (before merging, at full strength), and what it is now."""
    whole: dict[Tower, float] = {"image": 1.0, "text": 1.0, **(strength or {})}
    unmerged = probe(encoder) if set(whole.values()) == {1.0} else None
    if encoder.attached is not None:
        merge(encoder, whole)
    fuse_attention(encoder.model)
    return unmerged or probe(encoder), encoder.written_lineage()


def _no_architecture(encoder: TorchEncoder, to: Format) -> str:
    if encoder.family == "timm":
        return f"{encoder.name}: an image tower alone; neither open_clip nor transformers has a two-tower model for it"
    return (
        f"{encoder.name}: {to} has no architecture with this model's state-dict keys; "
        f"export it to {encoder.family}, the library it comes from"
    )


def _write_open_clip(encoder: TorchEncoder, folder: Path) -> None:
    document = {"model_cfg": open_clip_config(encoder), "preprocess_cfg": _preprocess(encoder)}
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
             for name, tensor in encoder.model.state_dict().items()}  # fmt: skip
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a server is often somebody else
    inner = getattr(encoder.stock.tokenizer, "tokenizer", None)  # type: ignore[attr-defined]
    if inner is not None:
        inner.save_pretrained(folder)


def open_clip_config(encoder: TorchEncoder) -> dict[str, Any]:
    """The model_cfg that builds this architecture, at the size the encoder was loaded with.

    Raises:
        ModelError: the base's configuration is not at hand any more.
    """
    import open_clip

    name = hub.parse(encoder.lineage.base)
    if name.scheme == "open_clip":
        config = open_clip.get_model_config(name.name)
    else:
        folder = hub.snapshot(name) if name.scheme == "hf-hub" else Path(name.name).expanduser()
        file = folder / CONFIG
        if not file.is_file():
            raise ModelError(f"{file}: not there; the export needs the configuration of the base it was trained on")
        config = json.loads(file.read_text(encoding="utf-8"))
        config = config.get("model_cfg", config)
    if config is None:
        raise ModelError(f"{encoder.lineage.base}: open_clip knows no configuration of that name any more")
    config = {key: value for key, value in config.items() if key != "preprocess_cfg"}
    vision = dict(config["vision_cfg"], image_size=encoder.preprocess.size)
    vision.pop("timm_model_pretrained", None)  # the weights come from this folder, never from timm's hub
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    return config | {"vision_cfg": vision}


def _preprocess(encoder: TorchEncoder) -> dict[str, Any]:
    """open_clip's own description of the preprocessing, without the size, which model_cfg holds."""
    described = dict(encoder.model.visual.preprocess_cfg)  # type: ignore[union-attr, arg-type]
    return {key: described[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in described}


def _read_open_clip(folder: Path, measured: Probe) -> Agreement:
    import open_clip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what open_clip says of any local folder is not about this one
        model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    stock: Any = model.eval()
    return compare(measured, stock.encode_image, stock.encode_text, what="the folder as stock open_clip loads it")


def _write_transformers(encoder: TorchEncoder, folder: Path) -> None:
    from transformers import AutoImageProcessor

    name = hub.parse(encoder.lineage.base)
    model: Any = encoder.model
    model.save_pretrained(folder)
    where = {"revision": name.revision} if name.revision else {}
    AutoImageProcessor.from_pretrained(str(Path(name.name).expanduser()), **where).save_pretrained(folder)
    encoder.stock.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]


def _read_transformers(folder: Path, measured: Probe) -> Agreement:
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()

    def features(output: Any) -> Tensor:
        return output if isinstance(output, Tensor) else output.pooler_output

    return compare(
        measured,
        lambda pixels: features(model.get_image_features(pixel_values=pixels)),
        lambda tokens: features(model.get_text_features(input_ids=tokens)),
        what="the folder as stock transformers loads it",
    )


_FORMATS: Mapping[str, tuple[Callable[[TorchEncoder, Path], None], Callable[[Path, Probe], Agreement]]] = {
    "open_clip": (_write_open_clip, _read_open_clip),
    "transformers": (_write_transformers, _read_transformers),
}
