"""`clipadapt export MODEL --to open_clip --out DIR`: merged weights that stock libraries load."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(
    model: Annotated[str, typer.Argument(help="A MODEL string; run:PATH for what a training left behind.")],
    to: Annotated[str, typer.Option(help="open_clip, transformers or onnx.")],
    out: Annotated[Path, typer.Option(help="A folder that does not exist, or is empty.")],
    strength: Annotated[
        str | None, typer.Option(help="image=0.8,text=1.0: factors on what the adapters add; 1 where not named.")
    ] = None,
) -> None:
    """Fold the adapters into the weights, in float32, and prove the result equal to the adapted model."""
    from clipadapt.export import export
    from clipadapt.export.strength import parse_strength

    done = export(model, to, out, strength=parse_strength(strength))  # type: ignore[arg-type]
    print(f"wrote {done.path}, ran it with {done.format} itself, and compared vectors", file=sys.stderr)
    print(json.dumps({"path": str(done.path), "agreement": done.agreement._asdict(), "image_space": done.image_space}))
