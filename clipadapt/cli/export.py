"""`clipadapt export MODEL --to open_clip --out DIR`: merged weights that stock libraries and servers load."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    model: Annotated[str, typer.Argument(help="A MODEL string; run:PATH for what a training left behind.")],
    to: Annotated[
        Literal["open_clip", "transformers", "onnx", "triton"],
        typer.Option(help="What is to load it; triton writes a model repository."),
    ],
    out: Annotated[Path, typer.Option(help="A folder that does not exist, or is empty.")],
    strength: Annotated[
        str | None, typer.Option(help="image=0.8,text=1.0: factors on what the adapters add; 1 where not named.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="onnx: INT8 files too; triton: instead of float ones.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help="INT8: SOURCE whose training pictures ranges are measured on.")
    ] = None,
    prompts: Annotated[
        str, typer.Option(help="INT8: words of the captions and values to measure with.")
    ] = "prompts/generic.yaml",
    attribute: Annotated[
        list[str] | None, typer.Option(help="INT8: column whose decisions are to stay; may be repeated.")
    ] = None,
) -> None:
    """Fold the adapters into the weights, in float32, and prove the result equal to the adapted model."""
    from clipadapt.errors import UsageError
    from clipadapt.export import export
    from clipadapt.export.calibration import Calibration
    from clipadapt.export.strength import parse_strength

    if int8 != (calibrate is not None):
        raise UsageError("--int8 and --calibrate SOURCE go together: INT8 is fitted on pictures of a source")
    calibration = None
    if calibrate is not None:
        calibration = Calibration.of(calibrate, prompts=prompts, attributes=attribute or ())
    done = export(model, to, out, strength=parse_strength(strength), calibration=calibration)
    print(f"wrote {done.path} and compared its vectors with the model's", file=sys.stderr)
    print(json.dumps({"path": str(done.path), "agreement": done.agreement._asdict(), "image_space": done.image_space}))
