"""clipadapt experiment: what people clicked, candidate against current, from a service's event log.

    clipadapt experiment logs --flag flag.yaml --since 2030-03-01
    clipadapt experiment logs --share 5% --metric success --lift 5% --out experiment

May be read every day: intervals are always valid. Writes OUT/experiment.json and experiment.html; the table goes to
stdout. 3 where the candidate is worse, or where users of one arm are missing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.deploy.experiment.readout import Readout


def command(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Folder that clipadapt serve --log wrote, or a file.")],
    flag: Annotated[Path | None, typer.Option("--flag", help="The flag file, for the share it gives.")] = None,
    share: Annotated[
        str | None, typer.Option("--share", help="Of users that the candidate got, as 5% or 0.05.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="First day, as 2030-03-01; UTC.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last day.")] = None,
    current: Annotated[str | None, typer.Option("--current", help="Release, where that arm had several.")] = None,
    candidate: Annotated[str | None, typer.Option("--candidate", help="Release, where that arm had several.")] = None,
    metric: Annotated[
        Literal["click_through", "click_through_by_position", "success", "reciprocal_rank"],
        typer.Option("--metric", help="What decides; fix it before the first look."),
    ] = "click_through",
    lift: Annotated[str, typer.Option("--lift", help="Difference hoped for, relative; fix it before.")] = "10%",
    level: Annotated[float, typer.Option("--level", help="Chance of a wrong verdict over all looks.")] = 0.05,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for JSON and a page; default: none.")] = None,
) -> None:
    """Compare two releases by what their users clicked."""
    from clipadapt.atomic import atomic_write
    from clipadapt.deploy.event_log.read import read
    from clipadapt.deploy.experiment.exposures import Exposures
    from clipadapt.deploy.experiment.readout import measure
    from clipadapt.deploy.experiment.report import as_json, as_page
    from clipadapt.errors import GateError, UsageError
    from clipadapt.service.traffic.flag import Flag

    if not 0.0 < level < 1.0:
        raise UsageError(f"--level {level}: a fraction between 0 and 1, such as 0.05")
    if flag is not None and share is not None:
        raise UsageError("--flag names a share and --share another; give one of them")
    planned = Flag.load(flag).share if flag is not None else _fraction("--share", share) if share is not None else None
    events = read(log, "events")
    first, last = options.day_of("--since", since), options.day_of("--until", until)
    exposures = Exposures.of(events.table, since=first, until=last, releases=(current, candidate))
    readout = measure(exposures, share=planned, decides=metric, lift=_fraction("--lift", lift), level=level)
    readout = readout._replace(notes=(*events.notes(), *readout.notes))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        atomic_write(out / "experiment.json", as_json(readout))
        atomic_write(out / "experiment.html", as_page(readout))
        typer.echo(f"wrote experiment.json and experiment.html in {out}", err=True)
    _print(readout)
    if readout.verdict in ("worse", "invalid"):
        raise GateError(readout.sentence())
    typer.echo(readout.sentence())


def _print(readout: "Readout") -> None:
    from rich.markup import escape
    from rich.table import Table

    from clipadapt.cli.console import stdout_console
    from clipadapt.deploy.experiment.readout import METRICS
    from clipadapt.deploy.experiment.report import points

    current, candidate = map(escape, readout.releases)
    table = Table("figure", f"{current}, %", f"{candidate}, %", "difference, points", "interval", "detectable now")
    for one in readout.figures:
        found = one.difference
        shown = ("–", "too few clicks", "–") if found is None else (
            points(found.delta, signed=True),
            f"[{points(found.low, signed=True)}, {points(found.high, signed=True)}]",
            points(found.minimum_detectable),
        )  # fmt: skip
        name = METRICS[one.metric] + (" (decides)" if one.metric == readout.decides else "")
        table.add_row(name, points(one.current.mean), points(one.candidate.mean), *shown)
    stdout_console().print(table)
    for note in readout.notes:
        typer.echo(note, err=True)
    if readout.mismatch_p is None:
        typer.echo(
            "whether users of one arm are missing was not checked; name the share with --flag or --share", err=True
        )


def _fraction(option: str, text: str) -> float:
    from clipadapt.errors import UsageError
    from clipadapt.sections import as_fraction

    try:
        found = as_fraction(text)
    except ValueError as error:
        raise UsageError(f"{option} {text}: {error}") from None
    if not 0 < found <= 1:
        raise UsageError(f"{option} {text}: has to be above 0, and 100% at most")
    return found
