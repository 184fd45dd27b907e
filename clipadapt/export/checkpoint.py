"""Merged checkpoints that the stock libraries load: a folder for open_clip, transformers, sentence-transformers.

    export("run:runs/fashion", "open_clip", "runs/fashion/export/open_clip")

The adapters are folded into the weights in float32, split attention is fused back, and the state-dict keys are the
base's. Before the folder appears, the stock library loads it strictly and its vectors are compared with those of the
model that was measured. Nothing here knows of ONNX or quantisation.
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from clipadapt.atomic import atomic_folder
from clipadapt.errors import ModelError, UsageError
from clipadapt.export.model_card import describe
from clipadapt.export.parity import TEXTS, Agreement, Probe, compare
from clipadapt.export.preparation import Exported, Format, prepare
from clipadapt.export.strength import Strength
from clipadapt.towers import hub, identity
from clipadapt.towers.backend import Family
from clipadapt.towers.encoder import TorchEncoder

FORMATS: tuple[Format, ...] = ("open_clip", "transformers", "sentence-transformers")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MODULE = "0_CLIPModel"
"""Where sentence-transformers' own CLIP models keep what transformers loads."""


def export(
    model: str | TorchEncoder,
    to: Format,
    out: str | Path,
    *,
    strength: Strength | None = None,
    overwrite: bool = False,
) -> Exported:
    """Merges a model's adapters and writes a folder that `to`'s own library loads.

    Args:
        model: a MODEL string, or an encoder, which is merged in place.
        to: the library that is to load the folder.
        out: a folder that does not exist or is empty.
        strength: "image" and "text" -> factor on what the adapters add, 1 where not named; or a curve.
        overwrite: replace a folder that is there.

    Raises:
        UsageError: the folder is not empty, the library has no architecture for this model, or is not installed.
        ModelError: the model cannot be loaded, or has no torch weights.
        ParityError: the folder does not give the measured vectors; it is not kept.
        StoreError: the disk refuses.
    """
    out = Path(out)
    library = _LIBRARIES.get(to)
    if library is None:
        raise UsageError(f"no export format {to!r}; there are {', '.join(FORMATS)}")
    if importlib.util.find_spec(library.package) is None:
        raise UsageError(f"{to}: not installed, so the folder could not be proven; pip install clipadapt[{to}]")

    ready = prepare(model, out, strength=strength, overwrite=overwrite, check=lambda encoder: check_form(encoder, to))
    with atomic_folder(out) as staging:
        home = staging / library.home
        home.mkdir(exist_ok=True)
        library.write(ready.encoder, home)
        agreement = library.read(staging, ready.measured)
        for place in {staging, home}:
            identity.write_card(place, ready.lineage, agreement=agreement._asdict(), clipadapt=version("clipadapt"))
        describe(staging, ready, to, agreement)
    return ready.exported(out, to, agreement)


def check_form(encoder: TorchEncoder, to: Format) -> None:
    """Before anything is trained or merged.

    Raises:
        UsageError: the library has no architecture for this model.
    """
    library = _LIBRARIES[to]
    if encoder.family != library.family or library.only not in (None, type(encoder.model).__name__):
        raise UsageError(_no_architecture(encoder, to))


def _no_architecture(encoder: TorchEncoder, to: Format) -> str:
    if encoder.family == "timm":
        return f"{encoder.name}: an image tower alone; neither open_clip nor transformers has a two-tower model for it"
    return (
        f"{encoder.name}: {to} has no architecture with this model's state-dict keys ({type(encoder.model).__name__}); "
        f"export it to {encoder.family}, the library it comes from"
    )


def _write_open_clip(encoder: TorchEncoder, folder: Path) -> None:
    document = {"model_cfg": open_clip_config(encoder), "preprocess_cfg": _preprocess(encoder)}
    (folder / CONFIG).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    state = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
             for name, tensor in encoder.model.state_dict().items()}  # fmt: skip
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone; a server is often somebody else
    inner = getattr(encoder.backend.tokenizer, "tokenizer", None)  # type: ignore[attr-defined]
    if inner is not None:
        inner.save_pretrained(folder)


def open_clip_config(encoder: TorchEncoder) -> dict[str, Any]:
    """The model_cfg that builds this architecture, at the size the encoder was loaded with.

    Raises:
        ModelError: the base's configuration is not at hand any more.
    """
    import open_clip

    name = hub.parse(encoder.source)
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
        raise ModelError(f"{encoder.source}: open_clip knows no configuration of that name any more")
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

    name = hub.parse(encoder.source)
    model: Any = encoder.model
    model.save_pretrained(folder)
    where = {"revision": name.revision} if name.revision else {}
    AutoImageProcessor.from_pretrained(str(Path(name.name).expanduser()), **where).save_pretrained(folder)
    encoder.backend.tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]


def _read_transformers(folder: Path, measured: Probe) -> Agreement:
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True).eval()
    return compare(
        measured,
        lambda pixels: _features(model.get_image_features(pixel_values=pixels)),
        lambda tokens: _features(model.get_text_features(input_ids=tokens)),
        what="the folder as stock transformers loads it",
    )


def _features(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else output.pooler_output


def _write_sentence_transformers(encoder: TorchEncoder, home: Path) -> None:
    """The layout of that library's CLIP models: every release since 2.0 loads it."""
    from transformers import CLIPImageProcessor, CLIPProcessor

    _write_transformers(encoder, home)
    processor = CLIPImageProcessor.from_pretrained(home)
    CLIPProcessor(processor, encoder.backend.tokenizer).save_pretrained(home)  # type: ignore[attr-defined]
    modules = [{"idx": 0, "name": "0", "path": MODULE, "type": "sentence_transformers.models.CLIPModel"}]
    settings = {"similarity_fn_name": "cosine"}
    for name, document in (("modules.json", modules), ("config_sentence_transformers.json", settings)):
        (home.parent / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _read_sentence_transformers(folder: Path, measured: Probe) -> Agreement:
    """Texts through all that the library does with them; pixels, which are no pictures, through the model in it."""
    from sentence_transformers import SentenceTransformer  # pyright: ignore[reportMissingImports]

    stock: Any = SentenceTransformer(str(folder), device="cpu")
    return compare(
        measured,
        lambda pixels: _features(stock[0].auto_model.get_image_features(pixel_values=pixels)),
        lambda _: stock.encode(list(TEXTS), convert_to_tensor=True, show_progress_bar=False),
        what="the folder as stock sentence-transformers loads it",
    )


class _Library(NamedTuple):
    """How one library's folder is written and read back."""

    package: str
    family: Family
    """Of the models it has an architecture for."""
    write: Callable[[TorchEncoder, Path], None]
    read: Callable[[Path, Probe], Agreement]
    only: str | None = None
    """The one class of model it takes; null: any of the family."""
    home: str = ""
    """Where in the folder the model lies."""


_LIBRARIES: Mapping[Format, _Library] = {
    "open_clip": _Library("open_clip", "open_clip", _write_open_clip, _read_open_clip),
    "transformers": _Library("transformers", "transformers", _write_transformers, _read_transformers),
    "sentence-transformers": _Library(
        "sentence_transformers",
        "transformers",
        _write_sentence_transformers,
        _read_sentence_transformers,
        "CLIPModel",
        MODULE,
    ),
}
