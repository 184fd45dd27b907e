"""clipadapt embed: the pictures of a catalogue as vectors, beside their item table.

    clipadapt embed --model run:runs/fashion --source shop --split train --out vectors/shop
    torchrun --nproc_per_node 4 -m clipadapt.cli embed ...          # shards shared by four processes

Stopped and started again, it goes on where it was. Progress and broken pictures go to stderr, one line of figures to
stdout.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.towers.encoder import Encoder

Model = Annotated[str, typer.Option("--model", help="MODEL: a run, a release, an export, a hub name, a local folder.")]
Source = Annotated[str, typer.Option("--source", help="Folder of pictures, table, Parquet, shards or hub id.")]
Split = Annotated[str, typer.Option("--split", help="Split of the source.")]
Config = Annotated[str | None, typer.Option("--config", help="Config whose data: section says what columns mean.")]
Product = Annotated[str | None, typer.Option("--product", help="Column of products.")]
Id = Annotated[str | None, typer.Option("--id", help="Column that names items.")]
Image = Annotated[str | None, typer.Option("--image", help="Column of pictures.")]
Precision = Annotated[Literal["fp32", "bf16", "fp16"], typer.Option("--precision", help="What matrix products run in.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1; default: an accelerator if there is.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads; default: as torch and the device ask.")]


def command(
    model: Model,
    source: Source,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: vectors.npy, items.parquet, embed.json.")],
    split: Split = "train",
    config: Config = None,
    product: Product = None,
    item: Id = None,
    image: Image = None,
    precision: Precision = "fp32",
    device: Device = None,
    workers: Workers = None,
    shard: Annotated[int, typer.Option("--shard", min=1, help="Pictures per shard, lost at most to a kill.")] = 1024,
) -> None:
    """Turn the pictures of a catalogue into vectors."""
    from clipadapt.processes import is_main_process
    from clipadapt.processes.exchange import leave
    from clipadapt.search.embed import embed

    pictures = catalogue(source, split, config, product=product, id=item, image=image)
    made = embed(encoder(model, precision, device), pictures, out, shard=shard, workers=workers)
    leave()
    if is_main_process():
        facts = json.loads((out / "embed.json").read_text(encoding="utf-8"))
        speed = f", {facts['images_per_second']} images/s" if facts["images_per_second"] else ""
        typer.echo(f"{len(made.items)} vectors of {facts['dim']} dimensions in {out}, {len(made.broken)} broken{speed}")


def catalogue(source: str, split: str, config: str | None, **given: str | None) -> "Catalogue":
    """One split; columns as the config says, with what was given on the command line on top."""
    from clipadapt.config import Config, Data
    from clipadapt.data.catalogue import Attribute, Catalogue

    said = {key: value for key, value in given.items() if value is not None}
    base = Config.load(config).data if config is not None else Data(source=source)
    data = Data.model_validate(base.model_dump() | {"source": source} | said)
    attributes = [Attribute(name, one.kind, one.separator) for name, one in data.kinds().items()] if config else None
    return Catalogue.load(
        data.source, split, attributes=attributes, product=data.product, id=data.id, image=data.image,
        unknown=data.unknown, revision=data.revision,
    )  # fmt: skip


def encoder(model: str, precision: Literal["fp32", "bf16", "fp16"], device: str | None) -> "Encoder":
    """The model, on the device asked for, or on this process's accelerator where there is one."""
    from accelerate import PartialState

    from clipadapt.processes.exchange import only_processors
    from clipadapt.towers.load import load

    device = device or str(PartialState(cpu=only_processors()).device)
    return load(model, device=device, precision=precision)
