"""What an export form is: what it requires of a model, how it is written, and how the written folder is verified.

    ExportForm("onnx", requires=..., writes=..., verifies=..., narrow=("int8", "fp16"), hub="onnx")

`run` is the one order in which every form is exported: refuse, load and merge, write, verify, describe; the folder
appears when all of that went well. The table of forms is `clipadapt.export.formats.FORMS`: a new form is a module that
makes one of these, and an entry there. Nothing here knows any form.
"""

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from clipadapt.atomic import atomic_folder
from clipadapt.errors import UsageError
from clipadapt.export.calibration import Calibration
from clipadapt.export.model_card import describe
from clipadapt.export.parity import Agreement, Probe
from clipadapt.export.preparation import Exported, Prepared, prepare
from clipadapt.export.strength import Strength
from clipadapt.towers import identity
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.identity import CARD
from clipadapt.towers.value_vectors import VALUES


class Options(NamedTuple):
    """What a form may hold beyond float32."""

    calibration: Calibration | None = None
    """What to fit INT8 files on; null: none."""
    fp16: bool = False

    def share(self) -> float:
        """About how many bytes are written for each byte of weights."""
        return 1.05 + (0.35 if self.calibration is not None else 0.0) + (0.55 if self.fp16 else 0.0)


@dataclass(frozen=True)
class ExportForm:
    """One row of the table."""

    name: str
    requires: Callable[[TorchEncoder], None]
    """Before anything is merged: raises UsageError for a model that it has no architecture for."""
    writes: Callable[[Prepared, Path, Options], None]
    """Fills an empty folder from a merged model."""
    verifies: Callable[[Path, Probe], Agreement]
    """Runs the written folder on the probe, as those who use it would; raises ParityError."""
    package: str | None = None
    """What has to be installed, or the folder could not be verified."""
    narrow: tuple[str, ...] = ()
    """Of int8 and fp16, those it has."""
    use: str = ""
    """Lines for README.md that load FOLDER; empty: the form writes a README.md of its own."""
    hub: str | None = None
    """MODEL scheme of what `--push` uploads, "" where none loads it from the hub; null: served from a folder."""


def run(
    form: ExportForm,
    model: str | TorchEncoder,
    out: str | Path,
    *,
    strength: Strength | None = None,
    overwrite: bool = False,
    options: Options = Options(),  # noqa: B008 - immutable
) -> Exported:
    """Exports a model in one form; see clipadapt.export.export.

    Raises:
        UsageError, ModelError, ExportError, ParityError, StoreError: as export.
    """
    out = Path(out)
    _refuse(form, options)
    ready = prepare(model, out, strength=strength, overwrite=overwrite, share=options.share(), check=form.requires)
    with atomic_folder(out) as staging:
        form.writes(ready, staging, options)
        agreement = form.verifies(staging, ready.measured)
        if not (staging / CARD).is_file():
            identity.write_card(staging, ready.lineage)
        for card in staging.rglob(CARD):
            if ready.encoder.value_vectors is not None:
                ready.encoder.value_vectors.save(card.with_name(VALUES))
            _add(card, agreement=agreement._asdict(), clipadapt=version("clipadapt"))
        if ready.curve is not None:
            ready.curve.save(staging)
        if form.use:
            describe(staging, ready, form, agreement)
    return ready.exported(out, form.name, agreement)


def _refuse(form: ExportForm, options: Options) -> None:
    if form.package is not None and importlib.util.find_spec(form.package) is None:
        raise UsageError(
            f"{form.name}: not installed, so the folder could not be proven; pip install clipadapt[{form.name}]"
        )
    demands: Sequence[tuple[str, bool, str]] = (
        ("int8", options.calibration is not None, "has no INT8 form"),
        ("fp16", options.fp16, "has no fp16 form, its library casts on loading"),
    )
    for narrow, wanted, reason in demands:
        if wanted and narrow not in form.narrow:
            raise UsageError(f"{form.name} {reason}; export to onnx or triton")


def _add(card: Path, **more: object) -> None:
    document = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(document | more, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
