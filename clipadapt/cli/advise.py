"""clipadapt advise RUN: what to try next, with the numbers behind it."""

import json
from pathlib import Path
from typing import Annotated

import typer


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Say what to try next, from the run's curves and its report."""
    from clipadapt.evaluation.advice import advice
    from clipadapt.evaluation.results import RESULTS, Results
    from clipadapt.runs import Run

    opened = Run.open(run)
    found = advice(opened, Results.load(opened.report).rows if (opened.report / RESULTS).is_file() else ())
    if as_json:
        typer.echo(json.dumps([one._asdict() for one in found], ensure_ascii=False, indent=1))
        return
    for number, one in enumerate(found, start=1):
        typer.echo(f"{number}. {one.text}\n   {one.why}")
    if not found:
        typer.echo("no rule applies: nothing that was measured of this run says what to change", err=True)
