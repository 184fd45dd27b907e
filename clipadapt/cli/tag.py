"""clipadapt tag: values, captions and alt texts per item, and which of them no person has to look at.

    clipadapt tag --model run:runs/fashion --split validation --out tags.parquet --against local-dir:base
    clipadapt tag --model run:runs/fashion --source arrivals --thresholds tags.thresholds.json --out new.csv

Beside FILE stand FILE's stem + .thresholds.json (what was fitted on tune; read back by --thresholds) and, where the
tagged split has labels, + .report.json. The table goes to stdout, all else to stderr.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.inputs import Inputs
    from clipadapt.prompts import Prompts
    from clipadapt.tagging.inputs import TagInputs
    from clipadapt.tagging.tag import Tagged
    from clipadapt.tagging.thresholds import Thresholds

DEFAULT_PRECISION = 0.95


@options.with_catalogue
def command(
    model: Annotated[str, typer.Option("--model", help="MODEL that tags, such as run:runs/fashion.")],
    out: Annotated[Path, typer.Option("--out", help="FILE.parquet, .csv or .jsonl; one row per item.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    tune: Annotated[
        str | None,
        typer.Option("--tune", help="Split that thresholds are fitted on, or a share of train; default: the run's."),
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option("--thresholds", help="Fitted earlier: thresholds.json; instead of --tune.")
    ] = None,
    prompts: options.Prompts = None,
    against: options.Against = None,
    precision: Annotated[
        float | None, typer.Option("--precision", help="Wanted of tags that count as sure; default: 0.95.")
    ] = None,
    attribute: options.Attributes = None,
    device: options.Device = "auto",
    cache: options.Cache = None,
) -> None:
    """Tag items; say which tags can go without a person, at a precision shown on tune."""
    from clipadapt.atomic import refuse_unwritable
    from clipadapt.errors import ConfigError
    from clipadapt.inputs import resolve
    from clipadapt.prompts import Prompts
    from clipadapt.recognition.vectors import VectorCache, default_folder
    from clipadapt.tagging.inputs import tag_inputs
    from clipadapt.tagging.tag import check_form, tag
    from clipadapt.tagging.thresholds import Thresholds
    from clipadapt.towers.load import load

    check_form(out)
    refuse_unwritable(out.parent)
    options.refuse_precision(precision)
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
    systems = {"adapted": model, "base": against} if against is not None else {"model": model}
    tagged, fitted = {}, {}
    for system, name in systems.items():
        encoder = load(name or "", device=where)
        fitted[system] = given or to_tag.fit(encoder, words, kept, precision=precision or DEFAULT_PRECISION)
        tagged[system] = tag(encoder, to_tag.catalogue, words, fitted[system], kept, split=to_tag.split)
    first = next(iter(systems))
    tagged[first].write(out)
    _tell(tagged[first], fitted[first])
    _say(f"wrote {out}")
    if given is None:
        path = out.with_name(f"{out.stem}.thresholds.json")
        fitted[first].save(path)
        _say(f"wrote {path}")
    _report(tagged, fitted, to_tag, inputs, words, out.with_name(f"{out.stem}.report.json"))


def _tell(tagged: "Tagged", fitted: "Thresholds") -> None:
    """States of all items, and what can never be sure."""
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
    tag_inputs: "TagInputs",
    inputs: "Inputs",
    words: "Prompts",
    path: Path,
) -> None:
    """Figures where the tagged split has labels that nothing was fitted to."""
    from clipadapt.atomic import atomic_write
    from clipadapt.cli.console import stdout_console
    from clipadapt.tagging.report import labelled, report
    from clipadapt.tagging.table import table

    first, weighed = next(iter(tagged)), words.library.fitted_on
    if not labelled(tagged[first].catalogue, fitted[first]):
        _say(f"no report: no item of {tag_inputs.split!r} has a known value of these attributes")
    elif tag_inputs.trained_on_it:
        _say(f"no report: the model was trained on {tag_inputs.split!r}, so its labels say nothing of other items")
    elif weighed is not None and weighed.fingerprint == tagged[first].catalogue.fingerprint:
        _say(f"no report: the weights of {words.path} were fitted on {tag_inputs.split!r}")
    else:
        if not inputs.known_source:  # what thresholds were fitted for may not be what a bare source is taken to have
            inputs = inputs.about(fitted[first].attributes)
        counts = inputs.training_counts()
        results = report(tagged, fitted, split=tag_inputs.split, counts=counts, headline=inputs.headline)
        atomic_write(path, results.to_json())
        stdout_console().print(table(results))
        _say(f"wrote {path}")


def _say(line: str) -> None:
    typer.echo(line, err=True)
