"""`clipadapt export MODEL --to open_clip --out DIR`: merged weights that stock libraries and servers load."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli.options import Image, Product, Prompts

if TYPE_CHECKING:
    from clipadapt.export.strength import Curve


def command(
    model: Annotated[str, typer.Argument(help="A MODEL string; run:PATH for what a training left behind.")],
    to: Annotated[
        str,
        typer.Option(
            help="What is to load it: open_clip, transformers, sentence-transformers, onnx or triton (a repository)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="A folder that does not exist, or is empty.")],
    strength: Annotated[
        str | None,
        typer.Option(
            help="image=0.8,text=1.0: factors on what the adapters add, 1 where not named; auto: the best on tune."
        ),
    ] = None,
    retain: Annotated[
        list[str] | None,
        typer.Option(help="--strength auto: column the base can tell and must go on telling; may be repeated."),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="onnx: INT8 files too; triton: instead of float ones.")] = False,
    calibrate: Annotated[
        str | None, typer.Option(help="INT8: SOURCE whose training pictures ranges are measured on.")
    ] = None,
    image: Image = None,
    product: Product = None,
    prompts: Prompts = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(help="INT8: column whose decisions are to stay; may be repeated. Default: the run's attributes."),
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="onnx: fp16 files too; triton: instead of float ones.")] = False,
    push: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Upload it to this hub repository, private when new.")
    ] = None,
) -> None:
    """Fold the adapters into the weights, in float32, and prove the result equal to the adapted model."""
    from clipadapt.errors import UsageError
    from clipadapt.export import export
    from clipadapt.export import push as hub
    from clipadapt.export.calibration import Calibration
    from clipadapt.export.formats import form_named
    from clipadapt.export.preparation import refuse_occupied, run_of
    from clipadapt.export.strength import AUTO, PAGE, Curve, parse_strength
    from clipadapt.export.strength_search import find_strength

    if int8 != (calibrate is not None):
        raise UsageError("--int8 and --calibrate SOURCE go together: INT8 is fitted on pictures of a source")
    if retain and strength != AUTO:
        raise UsageError("--retain says what --strength auto must not lose; give both")
    form_named(to)
    refuse_occupied(out)
    if push is not None:
        hub.check(push, to)
    calibration = None
    if calibrate is not None:
        calibration = Calibration.of(
            calibrate, model=model, image=image, product=product, prompts=prompts, attributes=attribute or ()
        )
    chosen = find_strength(model, retain=retain or ()) if strength == AUTO else parse_strength(strength)
    done = export(model, to, out, strength=chosen, calibration=calibration, fp16=fp16)
    typer.echo(f"wrote {done.path} and compared its vectors with the model's", err=True)
    summary = {"path": str(done.path), "agreement": done.agreement._asdict(), "image_space": done.image_space}
    if calibration is not None:
        summary["int8"] = _int8(done.path)
    if isinstance(chosen, Curve):
        _keep_curve(chosen, run_of(model).report)
        summary["strength"] = chosen.chosen
        typer.echo(
            f"strength image {chosen.best.image:g}, text {chosen.best.text:g}: {done.path / PAGE}\n"
            f"it was chosen on tune; now measure it: clipadapt eval --model {done.path} --against BASE "
            f"--config {run_of(model).path / 'config.yaml'} --out {run_of(model).report}",
            err=True,
        )
    if push is not None:
        summary["pushed"] = hub.push(done, push)
        typer.echo(f"uploaded; this very version is {summary['pushed']}", err=True)
    typer.echo(json.dumps(summary))


def _keep_curve(curve: "Curve", report: Path) -> None:
    """The curve beside the run's report too; an export from a run that is read-only holds it alone."""
    from clipadapt.errors import StoreError

    try:
        curve.save(report)
    except StoreError as error:
        typer.echo(f"the curve is in the export alone: {error}", err=True)


def _int8(folder: Path) -> dict:
    """What INT8 keeps of the float files' decisions and vectors, printed in a line and returned for the JSON."""
    from clipadapt.towers.identity import read_card

    card = read_card(folder) or {}
    report = card["int8"]
    towers = [tower for tower in ("image", "text") if tower in report]
    together = report.get("agreement", {}).get("all")
    cosines = ", ".join(f"{tower} {report[tower]['cosine']:.5f}" for tower in towers)
    decisions = "" if together is None else f"{together:.2%} of the decisions on pictures kept aside stay; "
    typer.echo(f"INT8: {decisions}mean cosine with the float vectors: {cosines}", err=True)
    return {"agreement": together, "cosine": {tower: report[tower]["cosine"] for tower in towers}}
