"""report.md: the short form, for a pull request.

Headline first, then one table of attributes and one of everything else that is measured over all values; the page
beside it has the rest. Nothing here decides what is better: `summary` does.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from clipadapt.evaluation.details import Details
from clipadapt.evaluation.report.summary import Counterparts, findings, plain_sentence, retention, systems_of, title
from clipadapt.evaluation.report.wordings import NOTE, wording_lines
from clipadapt.statistics.rows import (
    HEADLINE,
    Row,
    in_quoted_wording,
    interval_text,
    metric_label,
    p_text,
    points,
    select,
)

_MARKS = {"better": "▲", "worse": "▼", "unclear": "·"}


def markdown(config: Mapping[str, Any], rows: Sequence[Row], details: Details) -> str:
    """The whole file."""
    return "\n".join(_lines(config, rows, details)) + "\n"


def _lines(config: Mapping[str, Any], rows: Sequence[Row], details: Details) -> Iterator[str]:
    yield f"# {_escaped(title(config, rows))}"
    yield ""
    catalogue = config["catalogue"]
    yield (
        f"{catalogue['items']} items of {catalogue['products']} products; suite `{config['suite']['name']}`. "
        "Figures are percent, differences percentage points, with "
        f"{round(100 * config['suite']['statistics']['coverage'])}% intervals clustered by product."
    )
    yield ""
    if sentence := plain_sentence(config, rows, details.margins):
        yield _escaped(sentence)
        yield ""
    found = findings(rows)
    for verdict, heading in (("worse", "Got worse"), ("better", "Improved"), ("unclear", "Unclear")):
        some = [finding for finding in found if finding.verdict == verdict]
        if found:
            yield f"**{heading}**"
            yield ""
            yield from (f"- {_escaped(finding.subject)}: {finding.sentence}" for finding in some)
            if not some:
                yield "- nothing"
            yield ""
    for kept in retention(rows, details.margins):
        bounds = interval_text(kept.row.delta_low, kept.row.delta_high, signed=True)
        yield f"Retention on {_escaped(kept.name)}: **{kept.verdict}** {bounds}, margin {points(kept.margin)} points."
        yield ""
    counterpart, shown = Counterparts(rows), in_quoted_wording(rows)
    yield from _table("Quoted", select(shown, task=HEADLINE), counterpart)
    yield from _wordings(rows)
    by_task: dict[str, list[Row]] = {}
    for row in shown:
        if row.task != HEADLINE and row.value is None:
            by_task.setdefault(row.task, []).append(row)
    for task, some in by_task.items():
        yield from _table(task.replace("_", " "), some, counterpart)
    if details.advice:
        yield "## What to try next"
        yield ""
        yield from (f"1. {_escaped(one.text)} ({_escaped(one.why)})" for one in details.advice)
        yield ""
    yield from _left_out(details)
    versions = ", ".join(f"{name} {version}" for name, version in config.get("versions", {}).items())
    yield f"<sub>{_escaped(versions)}</sub>"


def _wordings(rows: Sequence[Row]) -> Iterator[str]:
    """Held-out wording beside the file's."""
    lines = wording_lines(rows, systems_of(rows))
    if not lines:
        return
    yield "## Wordings"
    yield ""
    yield NOTE
    yield ""
    systems = [pair.held_out.system for pair in lines[0].pairs]
    heads = " | ".join(f"{name}, held out | {name}, file | gap" for name in systems)
    yield f"| what | {heads} |"
    yield f"|---|{'---:|---:|---:|' * len(systems)}"
    for line in lines:
        figures = (
            f"{points(pair.held_out.mean)} | {points(pair.file.mean)} | {points(pair.gap, signed=True)}"
            for pair in line.pairs
        )
        yield f"| {_escaped(line.subject)} | {' | '.join(figures)} |"
    yield ""


def _table(heading: str, some: Sequence[Row], counterpart: Counterparts) -> Iterator[str]:
    """Paired rows, each with its counterpart; rows of a lone system where nothing is compared."""
    shown = [row for row in some if row.paired] or list(some)
    if not shown:
        return
    yield f"## {_escaped(heading.capitalize())}"
    yield ""
    if shown[0].paired:
        yield f"| what | {shown[0].against} | {shown[0].system} | difference | p | least visible | items | products | |"
        yield "|---|---:|---:|---:|---:|---:|---:|---:|---|"
        yield from (_paired_line(row, counterpart(row)) for row in shown)
    else:
        yield f"| what | {shown[0].system} | interval | items | products |"
        yield "|---|---:|---:|---:|---:|"
        yield from (
            f"| {_what(row)} | {points(row.mean)} | {interval_text(row.low, row.high)} | {row.n} | {row.products} |"
            for row in shown
        )
    yield ""


def _paired_line(row: Row, base: Row | None) -> str:
    before = f"{points(base.mean)} {interval_text(base.low, base.high)}" if base else "–"
    cells = (
        _what(row),
        before,
        f"{points(row.mean)} {interval_text(row.low, row.high)}",
        f"{points(row.delta, signed=True)} {interval_text(row.delta_low, row.delta_high, signed=True)}",
        p_text(row.p),
        points(row.minimum_detectable),
        str(row.n),
        str(row.products),
        _MARKS[row.verdict()],
    )
    return f"| {' | '.join(cells)} |"


def _what(row: Row) -> str:
    values = "" if row.bin == "all" else f", {row.bin} values"
    about = f"{row.attribute}: " if row.attribute else ""
    return _escaped(f"{about}{metric_label(row.metric, row.k)}{values}")


def _left_out(details: Details) -> Iterator[str]:
    lines = []
    for missing in details.missing:
        few = f"; under the suite's minimum: {', '.join(missing.too_few)}" if missing.too_few else ""
        lines.append(
            f"- {missing.attribute}: {missing.unknown} of {missing.unknown + missing.known} items unknown{few}"
        )
    lines += [f"- broken picture: {line}" for line in details.broken]
    lines += [f"- {note}" for note in details.notes]
    if lines:
        yield "## Left out"
        yield ""
        yield from (_escaped(line) if not line.startswith("- ") else "- " + _escaped(line[2:]) for line in lines)
        yield ""


def _escaped(text: str) -> str:
    """Names from a catalogue must not become markup or break a table."""
    for mark in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("\n", " ")
