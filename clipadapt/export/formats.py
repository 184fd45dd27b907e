"""One call for every format: a model with adapters in, a folder that servers load out.

    export("run:runs/fashion", "open_clip", "out")      what stock open_clip loads
    export("run:runs/fashion", "onnx", "out")           image.onnx, text.onnx and what they need beside them
    export(model, "triton", "repository")               a model repository for Triton

Nothing here knows how a format is written.
"""

from pathlib import Path

from clipadapt.errors import UsageError
from clipadapt.export import checkpoint
from clipadapt.export.calibration import Calibration
from clipadapt.export.onnx import export_onnx
from clipadapt.export.preparation import Exported, Format
from clipadapt.export.strength import Strength
from clipadapt.export.triton import export_triton
from clipadapt.towers.encoder import TorchEncoder

FORMATS: tuple[Format, ...] = (*checkpoint.FORMATS, "onnx", "triton")


def export(
    model: str | TorchEncoder,
    to: Format,
    out: str | Path,
    *,
    strength: Strength | None = None,
    overwrite: bool = False,
    calibration: Calibration | None = None,
    fp16: bool = False,
) -> Exported:
    """Merges a model's adapters and writes a folder in one of FORMATS.

    Args:
        model: a MODEL string, or an encoder, which is merged in place.
        to: open_clip, transformers or sentence-transformers (what that library loads), onnx, or triton (a model
            repository).
        out: a folder that does not exist or is empty.
        strength: "image" and "text" -> factor on what the adapters add, 1 where not named; or a curve, as
            clipadapt.export.strength_search.find_strength gives it.
        overwrite: replace a folder that is there.
        calibration: what to fit INT8 files on (onnx: beside the float ones; triton: instead of them); null: none.
        fp16: fp16 files for GPUs (onnx: beside the float ones; triton: instead of them).

    Raises:
        UsageError: the folder is not empty, the format has no architecture for this model, or not that form.
        ModelError: the model cannot be loaded, or has no torch weights.
        ExportError: the format cannot hold the model.
        ParityError: the folder does not give the measured vectors; it is not kept.
        StoreError: the disk refuses.
    """
    if to not in FORMATS:
        raise UsageError(f"no export format {to!r}; there are {', '.join(FORMATS)}")
    if to in checkpoint.FORMATS:
        if calibration is not None:
            raise UsageError(f"{to} has no INT8 form; export to onnx or triton")
        if fp16:
            raise UsageError(f"{to} has no fp16 form, its library casts on loading; export to onnx or triton")
        return checkpoint.export(model, to, out, strength=strength, overwrite=overwrite)
    write = export_onnx if to == "onnx" else export_triton
    return write(model, out, strength=strength, overwrite=overwrite, calibration=calibration, fp16=fp16)
