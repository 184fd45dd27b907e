"""clipadapt drift: whether new pictures still look like those that the model was measured on; 3 where they do not.

    clipadapt embed --model run:runs/fashion --split validation --out vectors/reference      # once
    clipadapt embed --model run:runs/fashion --source arrivals --split train --out vectors/new
    clipadapt drift vectors/new --reference vectors/reference --segment articleType --time captured --out drift

Writes OUT/drift.json, drift.html and drift.prom; the table goes to stdout. Made for cron: exit 0 without drift, 3 with.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from clipadapt.cli import options


@options.with_catalogue
def command(
    new: Annotated[Path, typer.Argument(metavar="VECTORS", help="Folder that clipadapt embed wrote of new items.")],
    reference: Annotated[Path, typer.Option("--reference", help="Such a folder of what the model was measured on.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="The new items by the base: how far the adaptation moves them.")
    ] = None,
    base_reference: Annotated[
        Path | None, typer.Option("--base-reference", help="The reference by the base; needs --base.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("drift"),
    segment: Annotated[str | None, typer.Option("--segment", help="Column whose values are compared apart.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Column of dates that windows are made of.")] = None,
    window: Annotated[Literal["day", "week", "month"], typer.Option("--window", help="Of the dates.")] = "week",
    level: Annotated[float, typer.Option("--level", help="Chance of any false alarm in a report.")] = 0.05,
    effect: Annotated[float, typer.Option("--effect", help="Least effect that alarms.")] = 0.001,
    permutations: Annotated[int, typer.Option("--permutations", min=19, help="Of products.")] = 999,
    seed: Annotated[int, typer.Option("--seed", help="Of permutations.")] = 0,
) -> None:
    """Compare new vectors with a reference, per segment and time window; pictures on the page with --source."""
    from rich.table import Table

    from clipadapt.atomic import atomic_write
    from clipadapt.cli.console import stdout_console
    from clipadapt.deploy.drift.measure import measure
    from clipadapt.deploy.drift.report import as_json, as_page, as_prometheus
    from clipadapt.deploy.drift.shift import shift
    from clipadapt.errors import ConfigError, GateError
    from clipadapt.inputs import resolve
    from clipadapt.search.vectors import Vectors

    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level {level}: a fraction between 0 and 1, such as 0.05")
    pictured = None
    if catalogue["source"] is not None or catalogue["config"] is not None:
        inputs = resolve(**catalogue)
        pictured = inputs.items(split or inputs.data.splits.train)
    if base_reference is not None and base is None:
        raise ConfigError("--base-reference needs --base, the new items by the same model")
    old, arrived = Vectors.open(reference), Vectors.open(new)
    moved = {
        whose: shift(own, Vectors.open(folder))
        for whose, own, folder in (("new", arrived, base), ("reference", old, base_reference))
        if folder is not None
    }
    report = measure(
        old, arrived, segment=segment, time=time, window=window, level=level,
        least_effect=effect, permutations=permutations, seed=seed,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("drift.json", as_json(report, moved)),
        ("drift.prom", as_prometheus(report)),
        ("drift.html", as_page(report, pictured)),
    ):
        atomic_write(out / name, text)
    table = Table("segment", "window", "verdict", "effect", "p, corrected", "p", "products", "items", "reference")
    for one in report.drifts:
        table.add_row(
            one.segment, one.window, "drifted" if one.alarm else "", f"{one.effect:.4f}", f"{one.p_corrected:.3f}",
            f"{one.p:.3f}", f"{one.products:,}", f"{one.items:,}", f"{one.reference_products:,}",
        )  # fmt: skip
    stdout_console().print(table)
    for whose, one in moved.items():
        typer.echo(one.sentence(whose))
    for note in report.notes:
        typer.echo(note, err=True)
    typer.echo(f"wrote drift.json, drift.html and drift.prom in {out}", err=True)
    if report.alarmed:
        raise GateError(report.sentence())
    typer.echo(report.sentence())
