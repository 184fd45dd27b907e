"""clipadapt tag: values, captions and alt texts per item, and which of them no person has to look at.

    clipadapt tag --model run:runs/fashion --split validation --out tags.parquet --against local-dir:base
    clipadapt tag --model run:runs/fashion --source arrivals --thresholds tags.thresholds.json --out new.csv --queue

    clipadapt tag --model run:runs/fashion --fit runs/fashion       # as training does; nothing is tagged

For --out new.csv, these are written beside it:

    new.thresholds.json        what was fitted on tune; --thresholds reads it
    new.queries.safetensors    how `index search` weighs the model's probabilities where items have no label
    new.report.json            figures, where the tagged split has labels
    new.queue.csv, .json       with --queue: cells for a person to decide, those first that settle most a minute

The table of figures goes to stdout, all else to stderr.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.inputs import Inputs
    from clipadapt.prompts import Prompts
    from clipadapt.statistics.results import MeasuredRows
    from clipadapt.tagging.inputs import TagInputs
    from clipadapt.tagging.queue import Seconds
    from clipadapt.tagging.tag import Tagged
    from clipadapt.tagging.thresholds import Thresholds


@options.with_catalogue
def command(
    model: Annotated[str, typer.Option("--model", help="MODEL that tags, such as run:runs/fashion.")],
    catalogue: options.Catalogue,
    out: Annotated[Path | None, typer.Option("--out", help="FILE.parquet, .csv or .jsonl; one row per item.")] = None,
    fit: Annotated[
        Path | None,
        typer.Option("--fit", help="FOLDER, such as the run's: fit thresholds and query weights, write them there."),
    ] = None,
    split: options.Split = None,
    tune: options.TagTune = None,
    thresholds: options.FittedThresholds = None,
    prompts: options.Prompts = None,
    against: options.Against = None,
    precision: Annotated[
        float | None, typer.Option("--precision", help="Wanted of tags that count as sure; default: 0.95.")
    ] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Write what is left for a person, most cells settled a minute first.")
    ] = False,
    seconds: Annotated[
        str | None,
        typer.Option("--seconds", help="OPEN,CONFIRM,ENTER: an item, a right guess, a wrong one; default: 2,2.4,7."),
    ] = None,
    attribute: options.Attributes = None,
    device: options.Device = "auto",
    cache: options.Cache = None,
) -> None:
    """Tag items; say which tags can go without a person, at a precision shown on tune."""
    from clipadapt.atomic import refuse_unwritable
    from clipadapt.errors import ConfigError, UsageError
    from clipadapt.inputs import resolve
    from clipadapt.places import default_folder
    from clipadapt.prompts import Prompts
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.search.wishes import QUERIES
    from clipadapt.tagging.fitting import SURE, fit_tune
    from clipadapt.tagging.inputs import tag_inputs
    from clipadapt.tagging.query_weights import described
    from clipadapt.tagging.tag import check_form, tag
    from clipadapt.tagging.thresholds import Thresholds
    from clipadapt.towers.load import load

    folder = fit if out is None else out.parent
    if folder is None or (out is not None and fit is not None):
        raise UsageError("name a file for the tags (--out), or a folder for what is fitted (--fit): one of them")
    options.refuse_precision(precision)
    if fit is not None and (thresholds is not None or against is not None or queue or seconds):
        raise UsageError("--fit tags nothing; leave out --thresholds, --against, --queue and --seconds")
    if out is not None:
        check_form(out)
    refuse_unwritable(folder)
    costs = _seconds(seconds, queue=queue)
    if thresholds is not None and not (tune is against is precision is None and not attribute):
        raise ConfigError(
            "--thresholds brings what was fitted on tune for one model, at its precision and for its attributes; "
            "leave out --tune, --against, --precision and --attribute"
        )
    given = Thresholds.load(thresholds) if thresholds is not None else None
    inputs = resolve(model=model, **catalogue, attributes=attribute or (), prompts=prompts)
    to_tag = tag_inputs(inputs, split or inputs.default_split, tune=tune, given=given)
    words = Prompts.load(given.prompts["path"]) if given is not None and prompts is None else inputs.prompts
    kept = VectorCache(cache or default_folder() / "vectors")
    where = options.device_of(device)
    if out is None:
        made = fit_tune(to_tag, load(model, device=where), words, kept, precision=precision or SURE)
        for line in made.save(folder):
            _say(line)
        return
    systems = {"adapted": model, "base": against} if against is not None else {"model": model}
    tagged, fitted, signals = {}, {}, None
    for system, name in systems.items():
        encoder = load(name or "", device=where)
        if given is not None or tagged:
            fitted[system] = given or to_tag.fit(encoder, words, kept, precision=precision or SURE)
        else:
            fitted[system], signals = fit_tune(to_tag, encoder, words, kept, precision=precision or SURE)
        tagged[system] = tag(encoder, to_tag.catalogue, words, fitted[system], kept, split=to_tag.split)
    first = next(iter(systems))
    tagged[first].write(out)
    _print_states(tagged[first], fitted[first])
    _say(f"wrote {out}")
    if given is None:
        path = out.with_name(f"{out.stem}.thresholds.json")
        fitted[first].save(path)
        _say(f"wrote {path}")
    if signals is not None:
        path = out.with_name(f"{out.stem}.{QUERIES}")
        signals.save(path)
        _say(f"weights of probabilities in queries: {'; '.join(described(signals))}")
        _say(f"wrote {path}: beside a run's index as {QUERIES}, it is what searches weigh values by")
    results = _report(tagged, fitted, to_tag, inputs, words, out.with_name(f"{out.stem}.report.json"))
    if queue:
        _queue(tagged[first], fitted[first], results, costs, out)


def _print_states(tagged: "Tagged", fitted: "Thresholds") -> None:
    """How many items are sure, unsure and not applicable, and the values that no tag can be sure of."""
    from clipadapt.tagging.tag import uncertain

    for name, column in tagged.columns.items():
        _say(f"{name}: {', '.join(f'{count} {state}' for state, count in column.counts().items())}")
    for name, lines in uncertain(fitted).items():
        for line in lines:
            _say(f"{name}: {line}")
    if tagged.faults:
        first = next(iter(tagged.faults.values()))
        _say(f"{len(tagged.faults)} broken picture(s) have a row with a fault and no values, the first: {first}")


def _report(
    tagged: "Mapping[str, Tagged]",
    fitted: "Mapping[str, Thresholds]",
    to_tag: "TagInputs",
    inputs: "Inputs",
    words: "Prompts",
    path: Path,
) -> "MeasuredRows | None":
    """Figures where the tagged split has labels that nothing was fitted to."""
    from clipadapt.atomic import atomic_write
    from clipadapt.cli.console import stdout_console
    from clipadapt.tagging.report import labelled, report
    from clipadapt.tagging.table import table

    first, weighed = next(iter(tagged)), words.library.fitted_on
    if not labelled(tagged[first].catalogue, fitted[first]):
        _say(f"no report: no item of {to_tag.split!r} has a known value of these attributes")
    elif to_tag.trained_on_it:
        _say(f"no report: the model was trained on {to_tag.split!r}, so its labels say nothing of other items")
    elif weighed is not None and weighed.fingerprint == tagged[first].catalogue.fingerprint:
        _say(f"no report: the weights of {words.path} were fitted on {to_tag.split!r}")
    else:
        if not inputs.known_source:  # what thresholds were fitted for may not be what a bare source is taken to have
            inputs = inputs.about(fitted[first].attributes)
        counts = inputs.training_counts()
        results = report(tagged, fitted, split=to_tag.split, counts=counts, headline=inputs.headline)
        atomic_write(path, results.to_json())
        stdout_console().print(table(results))
        _say(f"wrote {path}")
        return results
    return None


def _seconds(given: str | None, *, queue: bool) -> "Seconds":
    """--seconds as numbers.

    Raises:
        UsageError: not three numbers of zero or more, the first two above zero; or no queue that needs them.
    """
    from clipadapt.errors import UsageError
    from clipadapt.tagging.queue import Seconds

    if given is None:
        return Seconds()
    if not queue:
        raise UsageError("--seconds says what a person's work takes, which only --queue asks for; add --queue")
    try:
        numbers = [float(part) for part in given.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 < number < math.inf for number in numbers):
        raise UsageError(f"--seconds {given}: three numbers above 0, OPEN,CONFIRM,ENTER, such as 2,2.4,7")
    return Seconds(*numbers)


def _queue(
    tagged: "Tagged", fitted: "Thresholds", results: "MeasuredRows | None", seconds: "Seconds", out: Path
) -> None:
    """What is left for a person, as two files and a few lines."""
    from clipadapt.atomic import atomic_write
    from clipadapt.tagging.queue import as_csv, as_json, queue, summary
    from clipadapt.tagging.report import share_done

    tasks, done = queue(tagged, seconds), share_done(results)
    counts = summary(tagged, tasks, seconds)
    files = [out.with_name(f"{out.stem}.queue{form}") for form in (".csv", ".json")]
    atomic_write(files[0], as_csv(tagged, tasks))
    atomic_write(files[1], as_json(tagged, tasks, seconds, fitted.precision, done))
    typer.echo(
        f"for a person: {counts['cells_in_queue']:,} of {counts['cells']:,} cells in {counts['items_in_queue']:,} of "
        f"{counts['items']:,} items, about {counts['expected_minutes']:,.0f} minutes; entering every cell takes "
        f"{counts['minutes_without_model']:,.0f}"
    )
    if done is not None and done["against"] is not None:
        typer.echo(
            f"done without a person at {fitted.precision:.0%} precision: {done['mean']:.1%} of labelled cells, "
            f"{100 * done['saved']:+.1f} points [{100 * done['saved_low']:+.1f}, {100 * done['saved_high']:+.1f}] "
            f"against {done['against']}"
        )
    for file in files:
        _say(f"wrote {file}")


def _say(line: str) -> None:
    typer.echo(line, err=True)
