"""clipadapt eval: a model measured on one split, alone or against another, with a report and a gate.

The table goes to stdout; results.json, report.md and report.html to --out. A gate that is not passed ends the command
with 3 after the report is written.
"""

from pathlib import Path
from typing import Annotated

import typer

from clipadapt.cli import options


@options.with_catalogue
def command(
    model: Annotated[str, typer.Option("--model", help="MODEL to report, such as run:runs/fashion.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for results.json, report.md and report.html.")],
    catalogue: options.Catalogue,
    against: options.Against = None,
    split: options.Split = None,
    suite: Annotated[str, typer.Option("--suite", help="What is measured: a suite file.")] = "eval/attributes.yaml",
    gate: Annotated[str | None, typer.Option("--gate", help="Conditions; exit 3 when one does not hold.")] = None,
    prompts: options.Prompts = None,
    train_split: Annotated[
        str | None, typer.Option("--train-split", help="Split whose counts decide which values are rare.")
    ] = None,
    attribute: options.Attributes = None,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
    broken: options.Broken = "error",
    cache: options.Cache = None,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="No thumbnails in report.html, for pictures that may not leave.")
    ] = False,
) -> None:
    """Measure a model, against another, with intervals clustered by product."""
    from clipadapt.cli.console import stdout_console
    from clipadapt.evaluation.evaluate import evaluate
    from clipadapt.evaluation.gate import Gate, require
    from clipadapt.evaluation.results import PAGE
    from clipadapt.evaluation.suite import Suite
    from clipadapt.inputs import resolve, run_of
    from clipadapt.places import default_folder
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.towers.load import load

    loaded = Suite.load(suite)
    conditions = Gate.load(gate) if gate is not None else None
    inputs = resolve(model=model, **catalogue, attributes=attribute or (), prompts=prompts)
    split = split or inputs.default_split
    items = inputs.catalogue(split)
    loaded.check(items)
    loaded.require_sources()  # a set that is not there should not be found out after an hour of encoding
    where = options.device_of(device)
    results = evaluate(
        load(model, device=where, precision=precision),
        items,
        inputs.prompts,
        loaded,
        split=split,
        against=load(against, device=where, precision=precision) if against is not None else None,
        train_counts=inputs.training_counts(train_split),
        headline=inputs.headline,
        out=out,
        holdout_pairs=inputs.holdout_pairs,
        tune=inputs.tune_beside(split),
        fitted_on=inputs.fitted_on,
        cache=VectorCache(cache or default_folder() / "vectors"),
        broken=broken,
        run=run_of(model),
        show_pictures=not no_pictures,
    )
    console = stdout_console()
    console.print(results.table(console.width))
    typer.echo(f"wrote {out / PAGE}", err=True)
    if conditions is not None:
        for outcome in require(conditions, results.rows):
            typer.echo(f"gate: {outcome.reason}", err=True)
