"""One call for every format: a model with adapters in, a folder that servers load out.

    export("run:runs/fashion", "open_clip", "out")      what stock open_clip loads
    export("run:runs/fashion", "onnx", "out")           image.onnx, text.onnx and what they need beside them

Nothing here knows how a format is written.
"""

from collections.abc import Mapping
from pathlib import Path

from clipadapt.errors import UsageError
from clipadapt.export import checkpoint
from clipadapt.export.checkpoint import Exported, Format
from clipadapt.export.onnx import export_onnx
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import Tower

FORMATS: tuple[Format, ...] = (*checkpoint.FORMATS, "onnx")


def export(
    model: str | TorchEncoder,
    to: Format,
    out: str | Path,
    *,
    strength: Mapping[Tower, float] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Merges a model's adapters and writes a folder in one of FORMATS.

    Args:
        model: a MODEL string, or an encoder, which is merged in place.
        to: open_clip or transformers (what that library loads), or onnx.
        out: a folder that does not exist or is empty.
        strength: "image" and "text" -> factor on what the adapters add; 1 where not named.
        overwrite: replace a folder that is there.

    Raises:
        UsageError: the folder is not empty, or the format has no architecture for this model.
        ExportError: the format cannot hold the model.
        ParityError: the folder does not give the measured vectors; it is not kept.
        StoreError: the disk refuses.
    """
    if to in checkpoint.FORMATS:
        return checkpoint.export(model, to, out, strength=strength, overwrite=overwrite)
    if to == "onnx":
        return export_onnx(model, out, strength=strength, overwrite=overwrite)
    raise UsageError(f"no export format {to!r}; there are {', '.join(FORMATS)}")
