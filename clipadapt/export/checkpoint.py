"""Merged checkpoints that the stock libraries load: a folder for open_clip, transformers, sentence-transformers.

    export("run:runs/fashion", "open_clip", "runs/fashion/export/open_clip")

The adapters are folded into the weights in float32, split attention is fused back, and the state-dict keys are the
base's. Before the folder appears, the stock library loads it strictly and its vectors are compared with those of the
model that was measured. Nothing here knows of ONNX or quantisation.
"""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from clipadapt.errors import ModelError, UsageError
from clipadapt.export.form import ExportForm, Options
from clipadapt.export.parity import TEXTS, Agreement, Probe, compare
from clipadapt.export.preparation import Prepared
from clipadapt.towers import hub, identity
from clipadapt.towers.backend import Family
from clipadapt.towers.encoder import TorchEncoder

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MODULE = "0_CLIPModel"
"""Where sentence-transformers' own CLIP models keep what transformers loads."""


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

    def form(self, name: str, use: str, hub: str) -> ExportForm:
        """The library as a row of the table of forms."""

        def requires(encoder: TorchEncoder) -> None:
            if encoder.family != self.family or self.only not in (None, type(encoder.model).__name__):
                raise UsageError(_no_architecture(encoder, name))

        def writes(ready: Prepared, folder: Path, _: Options) -> None:
            home = folder / self.home
            home.mkdir(exist_ok=True)
            self.write(ready.encoder, home)
            identity.write_card(home, ready.lineage)

        return ExportForm(name, requires, writes, self.read, package=self.package, use=use, hub=hub)


def _no_architecture(encoder: TorchEncoder, to: str) -> str:
    if encoder.family == "timm":
        return f"{encoder.name}: an image tower alone; neither open_clip nor transformers has a two-tower model for it"
    return (
        f"{encoder.name}: {to} has no architecture with this model's state-dict keys ({type(encoder.model).__name__}); "
        f"export it to {encoder.family}, the library it comes from"
    )


OPEN_CLIP = _Library("open_clip", "open_clip", _write_open_clip, _read_open_clip).form(
    "open_clip",
    """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")  # or "hf-hub:ORG/NAME"
tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")""",
    hub="hf-hub:",
)
TRANSFORMERS = _Library("transformers", "transformers", _write_transformers, _read_transformers).form(
    "transformers",
    """from transformers import AutoModel, AutoProcessor

model, processor = AutoModel.from_pretrained("FOLDER"), AutoProcessor.from_pretrained("FOLDER")""",
    hub="transformers:",
)
SENTENCE_TRANSFORMERS = _Library(
    "sentence_transformers",
    "transformers",
    _write_sentence_transformers,
    _read_sentence_transformers,
    "CLIPModel",
    MODULE,
).form(
    "sentence-transformers",
    """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
vectors = model.encode(["a striped cotton shirt"], normalize_embeddings=True)  # or PIL pictures""",
    hub="",
)
