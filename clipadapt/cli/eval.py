"""clipadapt eval: a model measured on one split, alone or against another, with a report and a gate.

The table goes to stdout; results.json, report.md and report.html to --out. A gate that is not passed ends the command
with 3 after the report is written.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    model: Annotated[str, typer.Option("--model", help="MODEL to report, such as run:runs/fashion.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for results.json, report.md and report.html.")],
    against: Annotated[str | None, typer.Option("--against", help="MODEL it is compared with.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Catalogue; default: the run's or config's.")] = None,
    split: Annotated[str, typer.Option("--split", help="Split that is reported.")] = "validation",
    suite: Annotated[str, typer.Option("--suite", help="What is measured: a suite file.")] = "eval/attributes.yaml",
    gate: Annotated[str | None, typer.Option("--gate", help="Conditions; exit 3 when one does not hold.")] = None,
    prompts: Annotated[str | None, typer.Option("--prompts", help="Prompts file; default: the run's, generic.")] = None,
    train_split: Annotated[
        str | None, typer.Option("--train-split", help="Split whose counts tell rare values.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Config that names source, columns, prompts.")] = None,
    attribute: Annotated[list[str] | None, typer.Option("--attribute", help="Only this one; may be repeated.")] = None,
    product: Annotated[str | None, typer.Option("--product", help="Column whose items are one product.")] = None,
    precision: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="Of matrix products.")] = "fp32",
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto takes a GPU where there is one.")] = "auto",
    broken: Annotated[
        Literal["error", "count"], typer.Option(help="Broken pictures: stop, or count and go on.")
    ] = "error",
    cache: Annotated[Path | None, typer.Option("--cache", help="Folder of kept vectors; default: the user's.")] = None,
) -> None:
    """Measure a model, against another, with intervals clustered by product."""
    from clipadapt.cli.console import stdout_console
    from clipadapt.cli.subject import find
    from clipadapt.evaluation.evaluate import evaluate
    from clipadapt.evaluation.gate import Gate, require
    from clipadapt.evaluation.results import PAGE
    from clipadapt.evaluation.suite import Retention, Suite
    from clipadapt.evaluation.tasks import retention
    from clipadapt.recognition.vectors import VectorCache, default_folder
    from clipadapt.towers.load import load

    loaded = Suite.load(suite)
    conditions = Gate.load(gate) if gate is not None else None
    subject = find(
        model=model,
        source=source,
        split=split,
        config=config,
        prompts=prompts,
        train_split=train_split,
        attributes=attribute or (),
        product=product,
    )
    loaded.check(subject.catalogue)
    for task in loaded.tasks:
        if isinstance(task, Retention):  # a set that is not there should not be found out after an hour of encoding
            retention.load(task, loaded.statistics.seed)
    where = _device(device)
    results = evaluate(
        load(model, device=where, precision=precision),
        subject.catalogue,
        subject.prompts,
        loaded,
        split=subject.split,
        against=load(against, device=where, precision=precision) if against is not None else None,
        train_counts=subject.counts,
        headline=subject.headline,
        out=out,
        holdout_pairs=subject.holdout_pairs,
        tune=subject.tune,
        fitted_on=subject.fitted_on,
        cache=VectorCache(cache or default_folder() / "vectors"),
        broken=broken,
    )
    console = stdout_console()
    console.print(results.table(console.width))
    typer.echo(f"wrote {out / PAGE}", err=True)
    if conditions is not None:
        for outcome in require(conditions, results.rows):
            typer.echo(f"gate: {outcome.reason}", err=True)


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
