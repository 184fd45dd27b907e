"""One call for every form: a model with adapters in, a folder that servers load out.

    export("run:runs/fashion", "open_clip", "out")      what stock open_clip loads
    export("run:runs/fashion", "onnx", "out")           image.onnx, text.onnx and what they need beside them
    export(model, "triton", "repository")               a model repository for Triton

FORMS is the table of all of them; see `form` for what a row says. Nothing here knows how a form is written.
"""

from collections.abc import Mapping
from pathlib import Path

from clipadapt.errors import UsageError
from clipadapt.export import checkpoint, onnx, triton
from clipadapt.export.calibration import Calibration
from clipadapt.export.form import ExportForm, Options, run
from clipadapt.export.preparation import Exported
from clipadapt.export.strength import Strength
from clipadapt.towers.encoder import TorchEncoder

FORMS: Mapping[str, ExportForm] = {
    form.name: form
    for form in (
        checkpoint.OPEN_CLIP,
        checkpoint.TRANSFORMERS,
        checkpoint.SENTENCE_TRANSFORMERS,
        onnx.FORM,
        triton.FORM,
    )
}


def form_named(name: str) -> ExportForm:
    """A row of the table.

    Raises:
        UsageError: no such form.
    """
    if name not in FORMS:
        raise UsageError(f"no export format {name!r}; there are {', '.join(FORMS)}")
    return FORMS[name]


def export(
    model: str | TorchEncoder,
    to: str,
    out: str | Path,
    *,
    strength: Strength | None = None,
    overwrite: bool = False,
    calibration: Calibration | None = None,
    fp16: bool = False,
) -> Exported:
    """Merges a model's adapters and writes a folder in one of FORMS.

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
    options = Options(calibration, fp16)
    return run(form_named(to), model, out, strength=strength, overwrite=overwrite, options=options)
