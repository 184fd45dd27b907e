"""clipadapt captions: alt texts and captions from sure tags alone, as HTML with JSON-LD for a publisher's page.

    clipadapt captions --model run:runs/fashion --split validation --out gallery
    clipadapt captions --model M --source arrivals --thresholds tags.thresholds.json --out gallery \
        --picture-url 'https://cdn.example/{id}.jpg' --column credit=photographer

Words come from the captions of the prompts file; `clipadapt prompts lint` says which are too long or stuffed.
"""

from pathlib import Path
from typing import Annotated

import typer

from clipadapt.cli import options

_SHOWN = 5


@options.with_catalogue
def command(
    model: Annotated[str, typer.Option("--model", help="MODEL that tags, such as run:runs/fashion.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    tune: options.TagTune = None,
    thresholds: options.FittedThresholds = None,
    prompts: options.Prompts = None,
    precision: Annotated[
        float | None, typer.Option("--precision", help="Wanted of tags that are published; default: 0.95.")
    ] = None,
    attribute: options.Attributes = None,
    picture_url: Annotated[
        str | None,
        typer.Option("--picture-url", help="Where pictures stand, such as https://cdn.example/{id}.jpg; default: "
                     "they are written into the folder."),
    ] = None,
    column: options.Columns = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Look into pictures (EXIF, XMP, IPTC) for what columns leave empty.")
    ] = False,
    location: Annotated[bool, typer.Option("--location", help="Publish place, latitude, longitude, too.")] = False,
    device: options.Device = "auto",
    cache: options.Cache = None,
) -> None:  # fmt: skip
    """Write an alt text, a caption and JSON-LD for every item of which something is sure."""
    from clipadapt.atomic import refuse_unwritable
    from clipadapt.deploy.gallery.address import Pattern
    from clipadapt.deploy.gallery.write import write
    from clipadapt.errors import ConfigError
    from clipadapt.inputs import resolve
    from clipadapt.places import default_folder
    from clipadapt.prompts import Prompts
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.tagging.fitting import SURE
    from clipadapt.tagging.inputs import tag_inputs
    from clipadapt.tagging.tag import tag, uncertain
    from clipadapt.tagging.thresholds import Thresholds
    from clipadapt.towers.load import load

    refuse_unwritable(out.parent)
    options.refuse_precision(precision)
    if thresholds is not None and not (tune is precision is None and not attribute):
        raise ConfigError(
            "--thresholds brings what was fitted on tune for one model, at its precision and for its attributes; "
            "leave out --tune, --precision and --attribute"
        )
    columns, given = options.columns_of(column), Thresholds.load(thresholds) if thresholds is not None else None
    inputs = resolve(model=model, **catalogue, attributes=attribute or (), prompts=prompts)
    to_tag = tag_inputs(inputs, split or inputs.default_split, tune=tune, given=given)
    pattern = None
    if picture_url is not None:
        pattern = Pattern.parse(picture_url, ("id", "product", *to_tag.catalogue.columns))
    words = Prompts.load(given.prompts["path"]) if given is not None and prompts is None else inputs.prompts
    kept, encoder = VectorCache(cache or default_folder() / "vectors"), load(model, device=options.device_of(device))
    fitted = given or to_tag.fit(encoder, words, kept, precision=precision or SURE)
    tagged = tag(encoder, to_tag.catalogue, words, fitted, kept, split=to_tag.split)
    done = write(
        tagged, fitted, words, out, title=inputs.data.title, columns=columns, embedded=embedded, location=location,
        pattern=pattern,
    )  # fmt: skip
    for name, lines in uncertain(fitted).items():
        for line in lines:
            typer.echo(f"{name}: {line}", err=True)
    for fault in done.faults[:_SHOWN]:
        typer.echo(str(fault), err=True)
    if len(done.faults) > _SHOWN:
        typer.echo(f"and {len(done.faults) - _SHOWN} more", err=True)
    if tagged.catalogue.policy is None:
        typer.echo("no data.policy: licences were not asked about, so every item may be in it", err=True)
    typer.echo(f"{done.items:,} of {len(tagged.catalogue):,} items have an alt text, a caption and JSON-LD")
    for reason, count in done.left_out.items():
        typer.echo(f"{count:,} left out: {reason}")
    typer.echo(f"wrote {out}; look at {out / 'index.html'}", err=True)
