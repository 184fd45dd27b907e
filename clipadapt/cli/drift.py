"""clipadapt drift: whether what comes in still looks like what the model was measured on; 3 where it does not.

    clipadapt embed --model run:runs/fashion --split validation --out vectors/reference      # once
    clipadapt embed --model run:runs/fashion --source arrivals --split train --out vectors/new
    clipadapt drift vectors/new --reference vectors/reference --segment articleType --time captured --out drift
    clipadapt drift --queries logs --since 2026-03-23 --model run:runs/fashion       # what people search for
    clipadapt drift --tags new.csv --tags-reference tags.csv                         # what new items are tagged as

Any of the three, or all at once. Writes OUT/drift.json, drift.html and drift.prom; tables go to stdout. Made for cron:
exit 0 without drift, 3 with. The words of queries are compared where a model is named and the service kept them
(--log-queries); what was understood, filtered by and answered is compared in any case.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.deploy.drift.findings import Findings
    from clipadapt.deploy.drift.queries import Queries
    from clipadapt.deploy.drift.shift import Shift
    from clipadapt.search.vectors import Vectors

_SHOWN = 5
"""Shares of values in the terminal, where none alarms."""


@options.with_catalogue
def command(
    new: Annotated[
        Path | None, typer.Argument(metavar="[VECTORS]", help="Folder that clipadapt embed wrote of new items.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Such a folder of what the model was measured on.")
    ] = None,
    *,
    catalogue: options.Catalogue,
    split: options.Split = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="The new items by the base: how far the adaptation moves them.")
    ] = None,
    base_reference: Annotated[
        Path | None, typer.Option("--base-reference", help="The reference by the base; needs --base.")
    ] = None,
    least_cosine: Annotated[
        float | None, typer.Option("--least-cosine", help="Alarm where new items are moved further; needs --base.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="Log of a service: compare what people search for.")
    ] = None,
    queries_reference: Annotated[
        Path | None, typer.Option("--queries-reference", help="Log that is compared with; default: before --since.")
    ] = None,
    since: Annotated[str | None, typer.Option("--since", help="First day of new queries, in UTC.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="MODEL that reads the words of queries.")] = None,
    tags: Annotated[Path | None, typer.Option("--tags", help="FILE of clipadapt tag, of new items.")] = None,
    tags_reference: Annotated[
        Path | None, typer.Option("--tags-reference", help="FILE of clipadapt tag, of the reference.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("drift"),
    segment: Annotated[str | None, typer.Option("--segment", help="Column whose values are compared apart.")] = None,
    time: Annotated[str | None, typer.Option("--time", help="Column of dates that windows are made of.")] = None,
    window: Annotated[
        Literal["day", "week", "month"], typer.Option("--window", help="Of the dates, and of queries.")
    ] = "week",
    level: Annotated[float, typer.Option("--level", help="Chance of any false alarm in a report.")] = 0.05,
    effect: Annotated[float, typer.Option("--effect", help="Least effect on vectors that alarms.")] = 0.001,
    cluster: Annotated[
        float, typer.Option("--cluster", help="Least crowding of new ones that alarms, whatever the effect.")
    ] = 0.01,
    difference: Annotated[
        float, typer.Option("--difference", help="Least difference of a value's share that alarms.")
    ] = 0.03,
    permutations: Annotated[int, typer.Option("--permutations", min=19, help="Of products or users.")] = 999,
    seed: Annotated[int, typer.Option("--seed", help="Of permutations.")] = 0,
) -> None:
    """Compare new vectors, queries or tags with a reference; pictures on the page with --source."""
    from clipadapt.deploy.drift.findings import Findings
    from clipadapt.deploy.drift.measure import measure
    from clipadapt.deploy.drift.rates import compare
    from clipadapt.deploy.drift.tags import read_tags
    from clipadapt.inputs import resolve

    _check(
        pairs=((new, reference, "VECTORS and --reference"), (tags, tags_reference, "--tags and --tags-reference")),
        queries=queries, queries_reference=queries_reference, since=since, model=model,
        base=base, base_reference=base_reference, least_cosine=least_cosine, new=new, level=level,
    )  # fmt: skip
    pictured = None
    if catalogue["source"] is not None or catalogue["config"] is not None:
        inputs = resolve(**catalogue)
        pictured = inputs.items(split or inputs.data.splits.train)
    searched = _queries(queries, queries_reference, since, window, seed) if queries is not None else None
    words = searched is not None and model is not None and searched.has_words
    parts = sum((new is not None, tags is not None, searched is not None, words))
    each: dict[str, Any] = {"level": level / parts, "permutations": permutations, "seed": seed}
    least = {"least_effect": effect, "least_cluster": cluster}
    items, moved, rates, said = None, {}, [], None
    if new is not None and reference is not None:
        old, arrived = _open(reference), _open(new)
        moved = _moved((("new", arrived, base), ("reference", old, base_reference)))
        items = measure(old, arrived, segment=segment, time=time, window=window, **least, **each)
    if searched is not None:
        rates.append(compare(searched.observed, of="queries", least=difference, notes=searched.notes, **each))
        if words:
            said = measure(*_vectors(searched, model or ""), time="asked", window=window, **least, **each)
    if tags is not None and tags_reference is not None:
        read = read_tags(tags, tags_reference)
        rates.append(compare(read.observed, of="tags", least=difference, notes=read.notes, **each))
    _finish(Findings(level, items, said, tuple(rates), moved, least_cosine), out, pictured)


def _check(
    *, pairs: tuple[tuple[Path | None, Path | None, str], ...], queries: Path | None, queries_reference: Path | None,
    since: str | None, model: str | None, base: Path | None, base_reference: Path | None,
    least_cosine: float | None, new: Path | None, level: float,
) -> None:  # fmt: skip
    """What cannot be meant, before anything is read.

    Raises:
        UsageError, ConfigError: flags that need others, nothing to compare, or a number out of bounds.
    """
    from clipadapt.errors import ConfigError, UsageError

    if not 0.0 < level < 1.0:
        raise ConfigError(f"--level {level}: a fraction between 0 and 1, such as 0.05")
    for one, other, names in pairs:
        if (one is None) != (other is None):
            raise UsageError(f"{names} belong together; name both, or neither")
    if queries is None and any(one is not None for one in (queries_reference, since, model)):
        raise UsageError("--queries-reference, --since and --model are about --queries; name the log")
    if queries is not None and queries_reference is None and since is None:
        raise UsageError("--queries: name --since DAY, before which the reference is, or --queries-reference LOG")
    if queries is None and all(one is None for one, _, _ in pairs):
        raise UsageError("nothing to compare; name VECTORS with --reference, --queries, or --tags")
    if base is not None and new is None:
        raise UsageError("--base needs VECTORS and --reference, the same items by the adapted model")
    if base is None and base_reference is not None:
        raise ConfigError("--base-reference needs --base, the new items by the same model")
    if least_cosine is not None and (base is None or not -1.0 <= least_cosine <= 1.0):
        raise UsageError(f"--least-cosine {least_cosine}: a cosine from -1 to 1, and --base, which it is about")


def _open(folder: Path) -> "Vectors":
    from clipadapt.search.vectors import Vectors

    return Vectors.open(folder)


def _moved(pairs: "tuple[tuple[str, Vectors, Path | None], ...]") -> "dict[str, Shift]":
    from clipadapt.deploy.drift.shift import shift

    return {whose: shift(adapted, _open(folder)) for whose, adapted, folder in pairs if folder is not None}


def _queries(log: Path, reference: Path | None, since: str | None, window: Any, seed: int) -> "Queries":
    from clipadapt.deploy.drift.queries import split_queries
    from clipadapt.deploy.event_log.read import past, read

    day = options.day_of("--since", since)
    tables, notes = [], []
    for folder in (log, reference):
        if folder is not None:
            whole = read(folder, "answers")
            table, ahead = past(whole.table, "answer")
            tables.append(table)
            notes += [*whole.notes(), *ahead]
    found = split_queries(*tables[:1], reference=tables[1] if len(tables) > 1 else None, since=day, window=window,
                          seed=seed)  # fmt: skip
    return found._replace(notes=(*notes, *found.notes))


def _vectors(queries: "Queries", model: str) -> "list[Vectors]":
    from clipadapt.errors import ModelError
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.towers.load import load

    encoder = load(model, device=options.device_of("auto"))
    space = encoder.text_space
    if space is None:
        raise ModelError(f"{encoder.name} has no text tower; name a model that reads words, or leave out --model")
    return queries.vectors(VectorCache().encode(encoder), space)  # in memory: what people typed is not kept


def _finish(findings: "Findings", out: Path, pictured: Any) -> None:
    """Files, tables, and the exit code."""
    from clipadapt.atomic import atomic_write
    from clipadapt.deploy.drift.report import as_json, as_page, as_prometheus
    from clipadapt.errors import GateError, listing

    out.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("drift.json", as_json(findings)),
        ("drift.prom", as_prometheus(findings)),
        ("drift.html", as_page(findings, pictured)),
    ):
        atomic_write(out / name, text)
    _print(findings)
    for note in findings.notes:
        typer.echo(note, err=True)
    typer.echo(f"wrote drift.json, drift.html and drift.prom in {out}", err=True)
    if alarms := findings.alarms:
        raise GateError(alarms[0] if len(alarms) == 1 else f"{len(alarms)} parts drifted:{listing(alarms)}")


def _print(findings: "Findings") -> None:
    from rich.markup import escape
    from rich.table import Table

    from clipadapt.cli.console import stdout_console

    for of, report in findings.reports.items():
        whose = ("products", "items") if of == "items" else ("users", "queries")
        table = Table(
            "segment", "window", "verdict", "effect", "cluster", "p, corrected", "p", *whose, "reference", title=of
        )
        for one in report.drifts:
            table.add_row(
                escape(one.segment), one.window, "drifted" if one.alarm else "", f"{one.effect:.4f}",
                f"{one.cluster:.1%}", f"{one.p_corrected:.3f}", f"{one.p:.3f}", f"{one.products:,}", f"{one.items:,}",
                f"{one.reference_products:,}",
            )  # fmt: skip
        stdout_console().print(table)
    for part in findings.rates:
        table = Table("what", "value", "window", "verdict", "share", "reference", "p, corrected", title=part.of)
        for one in part.rates[: max(_SHOWN, len(part.alarmed))]:
            table.add_row(
                escape(one.attribute), escape(one.value), one.window, "changed" if one.alarm else "",
                f"{100 * one.share:.1f}%", f"{100 * one.reference_share:.1f}%", f"{one.p_corrected:.3f}",
            )  # fmt: skip
        stdout_console().print(table)
    for sentence in findings.sentences:
        typer.echo(sentence)
