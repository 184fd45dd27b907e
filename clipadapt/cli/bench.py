"""clipadapt bench: how long a model's towers take, in every form, against a budget.

The table goes to stderr and one JSON list to stdout, so that a script reads what a person sees.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from clipadapt.export.latency import Figure


def command(
    model: Annotated[str, typer.Argument(help="A MODEL string; run:PATH shows adapters on and merged.")],
    budget_ms: Annotated[float, typer.Option("--budget-ms", help="Milliseconds that p50 may take.")] = 20.0,
    batch: Annotated[list[int] | None, typer.Option(help="Inputs per call; may be repeated. Default 1 and 8.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="Of each call; may be repeated.")] = None,
    rounds: Annotated[int, typer.Option(help="Timed calls of each form.")] = 50,
) -> None:
    """Print p50, p95, p99 and throughput per tower, form, batch and threads; forms take turns in one process."""
    from rich.console import Console
    from rich.markup import escape

    from clipadapt.export.latency import bench

    figures = bench(model, batches=batch or (1, 8), threads=threads or (), rounds=rounds, budget_ms=budget_ms)
    title = escape(f"{model}, milliseconds per call, budget {budget_ms:g}")
    Console(stderr=True, emoji=False).print(table(figures, title))
    typer.echo(json.dumps([one._asdict() for one in figures]))


def table(figures: "Sequence[Figure]", title: str) -> "Table":
    """One line per figure; whole in 80 columns, for a number that is cut is a wrong one."""
    from rich.table import Table

    made = Table(title=title, padding=0)
    for name in ("tower", "form", "n", "threads", "p50", "p95", "p99", "per s", "budget"):
        words = name in ("tower", "form", "budget")
        made.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for one in figures:
        times = [f"{value:.2f}" for value in (one.p50, one.p95, one.p99)]
        verdict = "met" if one.met else "missed"
        made.add_row(one.tower, one.form, str(one.batch), str(one.threads), *times, f"{one.throughput:,.0f}", verdict)
    return made
