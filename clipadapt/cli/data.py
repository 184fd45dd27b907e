"""clipadapt data check|prepare|metadata|audit: faults, pictures decoded once, what pictures carry, wrong labels.

    clipadapt data audit SOURCE --config C                          # audit/mark.html: a person marks a sample of labels
    clipadapt data audit SOURCE --config C --answers answers.json   # label error, and the labels likeliest to be wrong

Findings and figures go to stdout, progress to stderr. check ends with 1 when a run would stop or its figures be wrong.
"""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.audit.run import Finished, Started
    from clipadapt.config import Config
    from clipadapt.data.faults import Report
    from clipadapt.data.images import Preprocess
    from clipadapt.data.sharding import Written

app = typer.Typer(help="Check, prepare or audit a catalogue, or read what its pictures carry.", no_args_is_help=True)

_SHOWN = 10
"""Findings of one kind that a terminal shows; --json has them all."""

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE", help="Folder of pictures, table, Parquet, shards or hub id; default: the config's."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@app.command()
@options.with_catalogue
def check(
    catalogue: options.Catalogue,
    positional: Source = None,
    attribute: options.Attributes = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Pixels per side the model wants.")] = None,
    as_json: Json = False,
) -> None:
    """Say everything that is wrong, with file and row, in one pass; 1 on errors, 0 on warnings."""
    from clipadapt.data.check import check as run
    from clipadapt.data.columns import keys_are_flags
    from clipadapt.inputs import resolve

    inputs = resolve(**_named(positional, catalogue), attributes=attribute or ())
    has_config = catalogue["config"] is not None
    with contextlib.nullcontext() if has_config else keys_are_flags():
        report = run(inputs.data, attributes_given=has_config or bool(attribute), size=size)
    if as_json:
        typer.echo(json.dumps({"faults": [fault._asdict() for fault in report.faults], "splits": report.splits}))
    else:
        _print(report)
    counts = report.counts()
    typer.echo(", ".join(f"{count} {level}(s)" for level, count in counts.items()), err=True)
    if report.failed:
        raise typer.Exit(1)


@app.command()
def prepare(
    positional: Source = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; data.prepared names it in a config.")
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option("--shards", help="Write Parquet shards there instead, a folder or URL that is a source itself."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows-per-shard", min=1, help="With --shards: items of a shard; default: 4096.")
    ] = None,
    shuffle: Annotated[
        int | None, typer.Option("--shuffle", help="With --shards: seed of a random order; default: the source's.")
    ] = None,
    source: options.Source = None,
    model: Annotated[str | None, typer.Option("--model", help="MODEL whose preprocessing the pictures get.")] = None,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Pixels per side, instead of a model.")] = None,
    resize: Annotated[
        Literal["shortest", "squash", "longest"], typer.Option("--resize", help="With --size: how sides are fitted.")
    ] = "shortest",
    splits: Annotated[
        list[str] | None, typer.Option("--split", help="Splits to prepare, one option each; default: all.")
    ] = None,
    config: options.Config = None,
    image: options.Image = None,
    item: options.Id = None,
    broken: Annotated[
        Literal["error", "count"] | None, typer.Option("--broken", help="Stop at broken pictures, or leave them out.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode and resize every picture once, into a memory-mapped cache; or write shards, resized or as pictures are."""
    from clipadapt.data.preparing import prepare as run
    from clipadapt.data.splits import load_split
    from clipadapt.errors import UsageError
    from clipadapt.inputs import resolve

    if (out is None) == (shards is None):
        raise UsageError("say what to write: --out FOLDER for a cache of resized pictures, or --shards FOLDER_OR_URL")
    if shards is None and (rows is not None or shuffle is not None):
        raise UsageError("--rows-per-shard and --shuffle are of shards; leave them out, or name --shards, not --out")
    inputs = resolve(**_named(positional, {"source": source, "config": config, "image": image, "id": item}))
    data = inputs.data
    # Pictures alone: whoever has no product column can prepare them, too.
    plain = data.model_copy(update={"attributes": (), "product": None})
    catalogues = {split: load_split(plain, split, inputs.opened) for split in splits or inputs.opened.splits()}
    if shards is not None:
        from clipadapt.data.sharding import ROWS, write_shards

        resized = _preprocess(model, size, resize, None) if model is not None or size is not None else None
        written = write_shards(
            inputs.opened, catalogues, shards, image=data.image, rows=rows or ROWS, preprocess=resized, shuffle=shuffle,
            broken=broken or data.broken,
        )  # fmt: skip
        _print_shards(written, shards, as_json=as_json)
        return
    assert out is not None, "checked above"
    done = run(catalogues, _preprocess(model, size, resize, inputs.settings), out, broken=broken or data.broken)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    typer.echo(f"{done.items} items, {done.pictures} different pictures, {done.megabytes} MB in {out}")
    if done.broken:
        typer.echo(f"{done.broken} broken picture(s) left out; {out}/prepared.json names them")
    typer.echo(f"as evaluation sees them: {_decibels(done.psnr)}, SSIM {done.ssim:.4f} against the originals")
    typer.echo(f"training crops of half the area: {_decibels(done.crop_psnr)}, SSIM {done.crop_ssim:.4f}")
    typer.echo(f"{done.images_per_second:,.0f} images/s read back, {done.originals_per_second:,.0f} from the originals")
    typer.echo(f"set data.prepared={out} to train from it", err=True)


def _print_shards(written: "Written", shards: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(written._asdict()))
        return
    typer.echo(f"{written.items:,} items in {written.shards:,} shard(s), {written.megabytes:,} MB in {shards}")
    if written.written < written.shards:
        typer.echo(f"{written.shards - written.written:,} shard(s) were there already")
    if written.broken:
        typer.echo(f"{written.broken} broken picture(s) left out; {shards}/shards.json names them")
    typer.echo(f"set data.source={shards} to use them", err=True)


@app.command()
@options.with_catalogue
def metadata(
    out: Annotated[Path, typer.Option("--out", help="FILE.csv; one row per item.")],
    catalogue: options.Catalogue,
    positional: Source = None,
    split: options.Split = None,
    column: options.Columns = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Look into pictures (EXIF, XMP, IPTC) for empty cells.")
    ] = True,
    location: Annotated[bool, typer.Option("--location", help="Read and write place, latitude, longitude.")] = False,
) -> None:
    """Write licence, licensor, credit and capture date of every item; where it was taken only on request."""
    from clipadapt.atomic import atomic_write
    from clipadapt.data.metadata import fields, table
    from clipadapt.data.metadata import metadata as run
    from clipadapt.inputs import resolve

    columns = options.columns_of(column)
    inputs = resolve(**_named(positional, catalogue))
    items = inputs.items(split or inputs.data.splits.train)
    rows, faults = run(items, columns, pictures=pictures, location=location)
    atomic_write(out, table(items.ids, rows, location=location))
    for fault in faults[:_SHOWN]:
        typer.echo(str(fault), err=True)
    if len(faults) > _SHOWN:
        typer.echo(f"and {len(faults) - _SHOWN} more", err=True)
    for field in fields(location=location):
        typer.echo(f"{field}: known for {sum(bool(getattr(row, field)) for row in rows):,} of {len(rows):,} items")
    typer.echo(f"wrote {out}", err=True)


@app.command()
@options.with_catalogue
def audit(
    catalogue: options.Catalogue,
    positional: Source = None,
    split: options.Split = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="What the page exported; null: write the page.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("audit"),
    share: Annotated[float | None, typer.Option("--share", help="Of the labels to look at; default: 0.05.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of the sample; default: the config's, else 0.")] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="MODEL for likely errors and near-identical pictures; default: the config's."),
    ] = None,
    attribute: options.Attributes = None,
    device: options.Device = "auto",
    cache: options.Cache = None,
    as_json: Json = False,
) -> None:
    """Draw a sample of labels for a person to mark; with --answers, say how many labels are wrong, and which likely."""
    from clipadapt.audit.answers import Answers
    from clipadapt.audit.run import finish, start
    from clipadapt.errors import UsageError
    from clipadapt.inputs import resolve
    from clipadapt.places import default_folder
    from clipadapt.recognition.vectors import VectorCache
    from clipadapt.towers.load import load

    if answers is not None and not (split is share is seed is None and not attribute):
        raise UsageError("--answers brings split, share, seed and attributes; leave out those flags")
    given = Answers.load(answers) if answers is not None else None
    inputs = resolve(model=model, **_named(positional, catalogue), attributes=attribute or ())
    name = model or (inputs.settings.model.name if inputs.settings is not None else None)
    encoder = load(name, device=options.device_of(device)) if name is not None else None
    kept = VectorCache(cache or default_folder() / "vectors")
    if given is not None and answers is not None:
        _print_result(finish(inputs, given, answers, encoder, kept, out), out, as_json=as_json)
        return
    begun = start(
        inputs, split or inputs.data.splits.train, encoder, kept, out,
        share=0.05 if share is None else share, seed=inputs.seed if seed is None else seed,
    )  # fmt: skip
    _print_started(begun, as_json=as_json)


def _print_started(begun: "Started", *, as_json: bool) -> None:
    found = begun.overview
    if as_json:
        pairs = [{**twin._asdict(), "one": twin.one._asdict(), "other": twin.other._asdict()} for twin in begun.twins]
        figures = {"labels": len(begun.labels), "looked_at": len(begun.sample.labels), "page": str(begun.page)}
        spellings = [fault._asdict() for fault in found.spellings]
        seen = {"sizes": found.sizes, "broken": found.broken, "balance": found.balance, "slips": list(found.slips)}
        typer.echo(json.dumps({**figures, **seen, "spellings": spellings, "near_identical": pairs}))
        return
    looked_at, minutes = len(begun.sample.labels), max(round(begun.minutes), 1)
    about = f"about {minutes} minute{'s' if minutes > 1 else ''}"
    typer.echo(f"{looked_at:,} of {len(begun.labels):,} labels to look at, {about}: {begun.page}")
    typer.echo(begun.twin_sentence)
    sizes = ", ".join(f"{name}: {count:,}" for name, count in found.sizes.items())
    typer.echo(f"pixels of the shorter side: {sizes}" + (f"; {found.broken} cannot be read" if found.broken else ""))
    for line in [*map(str, found.spellings), *found.slips]:
        typer.echo(line)
    for name, counts in found.balance.items():
        shown = ", ".join(f"{value or 'unknown'} {count:,}" for value, count in list(counts.items())[:_SHOWN])
        typer.echo(f"{name}: {shown}" + (f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""))
    typer.echo(f"open {begun.page} in a browser, mark, export; then run this again with --answers FILE", err=True)


def _print_result(done: "Finished", out: Path, *, as_json: bool) -> None:
    from rich.markup import escape
    from rich.table import Table

    from clipadapt.audit.page import line
    from clipadapt.cli.console import stdout_console

    if as_json:
        typer.echo((out / "label_error.json").read_text(encoding="utf-8"), nl=False)
        return
    table = Table("attribute", "value", "labels", "looked at", "wrong", "error, %", "95% interval", "not counted")
    for one in map(line, done.estimates):
        counts = (f"{n:,}" for n in (one.labels, one.looked_at, one.wrong))
        table.add_row(escape(one.attribute), escape(one.value or ""), *counts, one.percent, one.interval, one.left_out)
    stdout_console().print(table)
    typer.echo(done.sentence)
    typer.echo(done.suspect_sentence)
    written = "result.html, label_error.json" + (", suspects.csv" if done.suspects is not None else "")
    typer.echo(f"wrote {written} in {out}; set data.label_audit={out / 'label_error.json'} to be warned", err=True)


def _named(positional: str | None, catalogue: options.Catalogue) -> options.Catalogue:
    """The flags, where SOURCE means the same as --source."""
    from clipadapt.errors import UsageError

    flag = catalogue["source"]
    if positional is not None and flag is not None and positional != flag:
        raise UsageError(f"two sources: {positional} and --source {flag}; name one")
    return {**catalogue, "source": positional if positional is not None else flag}


def _preprocess(
    model: str | None,
    size: int | None,
    resize: Literal["shortest", "squash", "longest"],
    settings: "Config | None",
) -> "Preprocess":
    """Of the model or size that a flag names, else of the config's model, at the config's image size."""
    from clipadapt.data.images import Preprocess
    from clipadapt.errors import UsageError

    if model is not None and size is not None:
        raise UsageError("--model and --size both say how large pictures become; give one of them")
    if size is not None:
        return Preprocess(size, resize_mode=resize)
    if model is None and settings is None:
        raise UsageError(
            "say for which model the pictures are: --model M, --size N for pixels per side, or --config of a training"
        )
    from clipadapt.towers.load import load

    if model is not None:
        return load(model).preprocess
    assert settings is not None, "checked above"
    return load(settings.model.name, image_size=settings.model.image_size).preprocess


def _decibels(value: float | None) -> str:
    return "identical" if value is None else f"PSNR {value:.1f} dB"


def _print(report: "Report") -> None:
    kinds: dict[tuple[str, str], int] = {}
    for fault in report.faults:
        kind = (fault.level, fault.remedy or fault.what.rpartition(":")[2])
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] <= _SHOWN:
            typer.echo(str(fault))
    for (level, remedy), count in kinds.items():
        if count > _SHOWN:
            typer.echo(f"{level}: and {count - _SHOWN} more of: {remedy}")
    for split, figures in report.splits.items():
        sizes = figures["sizes"]
        common = "x".join(map(str, sizes["most_common"][0][:2])) if sizes["most_common"] else "none"
        typer.echo(
            f"{split}: {figures['items']} items, {figures['products']} products, "
            f"{sizes['different']} picture size(s), mostly {common}"
        )
        for name, attribute in figures["attributes"].items():
            typer.echo(f"  {name}: known for {attribute['known']:.0%} of the items, {attribute['values']} values")
