"""The flags that several verbs share, so that each means the same and reads the same everywhere.

A verb that reads a catalogue takes the flags that name one by `with_catalogue`, and hands them to
`clipadapt.inputs.resolve`. Nothing here reads anything.
"""

import datetime
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Source = Annotated[
    str | None,
    typer.Option(
        "--source", help="Folder of pictures, table, Parquet, shards or hub id; default: the config's or run's."
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="Config that names source, columns, splits and prompts; default: the run's."),
]
Image = Annotated[str | None, typer.Option("--image", help="Column of pictures.")]
Product = Annotated[str | None, typer.Option("--product", help="Column whose items are one product.")]
Id = Annotated[str | None, typer.Option("--id", help="Column that names items.")]
Title = Annotated[str | None, typer.Option("--title", help="Column of titles.")]
Split = Annotated[str | None, typer.Option("--split", help="Split of the source.")]
Attributes = Annotated[list[str] | None, typer.Option("--attribute", help="Only this column; may be repeated.")]
Prompts = Annotated[
    str | None, typer.Option("--prompts", help="Prompts file; default: the config's or run's, else the generic one.")
]
Model = Annotated[str, typer.Option("--model", help="MODEL: a run, a release, an export, a hub name, a local folder.")]
Against = Annotated[str | None, typer.Option("--against", help="MODEL it is compared with.")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option("--precision", help="What matrix products run in.")]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1; auto takes a GPU where there is one.")]
Cache = Annotated[Path | None, typer.Option("--cache", help="Folder of kept vectors; default: the user's.")]
Broken = Annotated[
    Literal["error", "count"], typer.Option("--broken", help="Broken pictures: stop, or count and go on.")
]

Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="FIELD=COLUMN that holds it, such as captured=shot_on; may be repeated."),
]

TagTune = Annotated[
    str | None,
    typer.Option("--tune", help="Split that thresholds are fitted on, or a share of train; default: the run's."),
]
FittedThresholds = Annotated[
    Path | None, typer.Option("--thresholds", help="Fitted earlier: thresholds.json; instead of --tune.")
]

Catalogue = Mapping[str, Any]
"""What --source, --config, --image, --product, --id and --title say, as arguments of `clipadapt.inputs.resolve`."""
_CATALOGUE = {"source": Source, "config": Config, "image": Image, "product": Product, "id": Id, "title": Title}


def with_catalogue(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameter `catalogue` becomes the flags that name a catalogue.

        @options.with_catalogue
        def command(model: options.Model, catalogue: options.Catalogue) -> None:
            inputs = resolve(model=model, **catalogue)

    Nothing else differs; typer reads the flags from the signature.
    """

    def run(**given: Any) -> None:
        verb(catalogue={name: given.pop(name) for name in _CATALOGUE}, **given)

    form = inspect.Parameter.KEYWORD_ONLY
    flags = [inspect.Parameter(name, form, default=None, annotation=flag) for name, flag in _CATALOGUE.items()]
    parameters = inspect.signature(verb).parameters
    listed = [
        each
        for name, parameter in parameters.items()
        for each in (flags if name == "catalogue" else [parameter.replace(kind=form)])
    ]
    run.__signature__ = inspect.Signature(listed)  # pyright: ignore[reportFunctionMemberAccess]
    run.__name__, run.__doc__ = verb.__name__, verb.__doc__
    return run


def day_of(option: str, text: str | None) -> datetime.date | None:
    """A day as an option names it, 2030-03-31.

    Raises:
        UsageError: anything else.
    """
    from clipadapt.errors import UsageError

    try:
        return None if text is None else datetime.date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text}: write a day as 2030-03-31") from None


def refuse_precision(precision: float | None) -> None:
    """What --precision of tags may not be.

    Raises:
        ConfigError: no fraction between 0 and 1.
    """
    from clipadapt.errors import ConfigError

    if precision is not None and not 0.0 < precision < 1.0:
        raise ConfigError(f"--precision {precision}: a fraction between 0 and 1, such as 0.95")


def columns_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """FIELD=COLUMN, as --column names where metadata stands, as a mapping.

    Raises:
        UsageError: another form, or a field twice.
    """
    from clipadapt.errors import UsageError

    columns: dict[str, str] = {}
    for pair in pairs or ():
        field, _, column = pair.partition("=")
        if not (field and column):
            raise UsageError(f"--column {pair}: write it as FIELD=COLUMN, such as captured=shot_on")
        if field in columns:
            raise UsageError(f"--column {pair}: {field} is already {columns[field]!r}; name one column")
        columns[field] = column
    return columns


def device_of(name: str) -> str:
    """`auto` -> this process's accelerator where there is one, else the CPU."""
    if name != "auto":
        return name
    from accelerate import PartialState

    from clipadapt.processes.exchange import only_processors

    return str(PartialState(cpu=only_processors()).device)  # as every part of a launch asks, or processes do not meet
