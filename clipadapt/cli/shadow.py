"""clipadapt shadow: a candidate's answers beside those of the current release, before anybody sees them.

    clipadapt shadow logs --out shadow                                   queries that a service mirrored (flag: shadow)
    clipadapt shadow releases --queries logs --candidate 000005          asked again, of the promoted one and another
    clipadapt shadow releases --queries queries.jsonl --source shop      one body of POST /search a line; with pictures

Writes OUT/shadow.json and shadow.html; the table goes to stdout. 3 where the gate is not passed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.deploy.shadow.measure import Shadow
    from clipadapt.deploy.shadow.pairs import Pairs
    from clipadapt.service.traffic.flag import Arm


@options.with_catalogue
def command(
    place: Annotated[Path, typer.Argument(metavar="LOG|RELEASES", help="A service's log; with --queries: releases.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="Log with kept queries, or a file, to ask again.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Release; default: the only one mirrored to, or the newest.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="First day of the log, as 2030-03-01; UTC.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="How many best items are compared.")] = 10,
    gate: Annotated[str, typer.Option("--gate", help="Conditions; exit 3 when one does not hold.")] = (
        "eval/shadow_gate.yaml"
    ),
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("shadow"),
) -> None:
    """Compare a candidate's answers with the current release's; pictures on the page with --source."""
    from clipadapt.atomic import atomic_write
    from clipadapt.deploy.shadow.measure import measure
    from clipadapt.deploy.shadow.report import as_json, as_page, pictured, sentence
    from clipadapt.deploy.thumbnails import thumbnails
    from clipadapt.errors import GateError, UsageError, listing
    from clipadapt.evaluation.gate import Gate, judge
    from clipadapt.inputs import resolve

    conditions = Gate.load(gate)
    if queries is not None and since is not None:
        raise UsageError("--since chooses days of mirrored queries; with --queries, choose the queries themselves")
    pairs = _mirrored(place, since, candidate) if queries is None else _replayed(place, queries, candidate)
    shadow = measure(pairs, k=k)
    outcomes = judge(conditions, shadow.rows)
    pictures = {}
    if catalogue["source"] is not None or catalogue["config"] is not None:
        inputs = resolve(**catalogue)
        pictures = thumbnails(inputs.items(split or inputs.data.splits.train), pictured(shadow))
    out.mkdir(parents=True, exist_ok=True)
    atomic_write(out / "shadow.json", as_json(shadow, outcomes))
    atomic_write(out / "shadow.html", as_page(shadow, outcomes, pictures))
    _print(shadow)
    typer.echo(f"wrote shadow.json and shadow.html in {out}", err=True)
    if failed := [one.reason for one in outcomes if not one.passed]:
        raise GateError(f"{sentence(shadow, outcomes)}{listing(failed)}")
    typer.echo(sentence(shadow, outcomes))


def _mirrored(log: Path, since: str | None, candidate: str | None) -> "Pairs":
    from clipadapt.deploy.event_log.read import read
    from clipadapt.deploy.shadow.pairs import mirrored
    from clipadapt.errors import UsageError

    answers = read(log, "answers")
    notes = answers.notes()
    try:
        events = read(log, "events")
        notes += events.notes()
    except UsageError:
        events = None
        notes.append("no events in the log, so what was clicked is not known")
    found = mirrored(
        answers.table, events and events.table, since=options.day_of("--since", since), candidate=candidate
    )
    return found._replace(notes=[*notes, *found.notes])


def _replayed(releases: Path, queries: Path, candidate: str | None) -> "Pairs":
    from clipadapt.deploy.releases import Releases
    from clipadapt.errors import UsageError
    from clipadapt.service.opening import Opener, find
    from clipadapt.service.replay import logged, replay
    from clipadapt.service.serving import Serving
    from clipadapt.service.settings import Settings

    asked = logged(queries)
    known = Releases(releases).all()
    current = next((one for one in known if one.current), None)
    if current is None:
        raise UsageError(f"{releases}: no release is promoted; name a folder of releases, with one promoted")
    wanted = candidate.zfill(6) if candidate is not None else known[-1].version
    other = next((one for one in known if one.version == wanted), None)
    if other is None or other.current:
        is_it = "is the current one" if other is not None else "is not there"
        raise UsageError(f"{releases}: release {wanted} {is_it}; name another with --candidate")
    serving = Serving(Settings(gather_ms=0), releases.name)  # one query after the other: nothing to wait for
    opener = Opener(serving)
    try:
        arms: tuple[Arm, Arm] = ("current", "candidate")
        for one, arm in zip((current, other), arms, strict=True):
            serving.replace(opener.open(find(str(one.folder))), arm)
        with serving.using("current") as first, serving.using("candidate") as second:
            return replay(asked, first, second, serving.uploads)
    finally:
        serving.close()


def _print(shadow: "Shadow") -> None:
    from rich.markup import escape
    from rich.table import Table

    from clipadapt.cli.console import stdout_console
    from clipadapt.deploy.shadow.report import figure, name

    table = Table("queries", "figure", "mean", "95% interval", "n", "users")
    for row in shadow.rows:
        interval = "no interval" if row.low is None else f"[{figure(row, row.low)}, {figure(row, row.high)}]"
        table.add_row(
            escape(row.segment or "all"),
            escape(name(row)),
            figure(row, row.mean),
            interval,
            f"{row.n:,}",
            f"{row.products:,}",
        )
    stdout_console().print(table)
    for release, (p50, p99) in shadow.percentiles.items():
        typer.echo(f"{release}: median {p50:.1f} ms, 99th percentile {p99:.1f} ms")
    for note in shadow.notes:
        typer.echo(note, err=True)
