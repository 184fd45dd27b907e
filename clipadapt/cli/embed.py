"""clipadapt embed: the pictures of a catalogue as vectors, beside their item table.

    clipadapt embed --model run:runs/fashion --source shop --split train --out vectors/shop
    torchrun --nproc_per_node 4 -m clipadapt.cli embed ...          # shards shared by four processes
    clipadapt embed ... --part 3/8                                  # by eight jobs of any scheduler, one disk

Stopped and started again, it goes on where it was. Progress and broken pictures go to stderr, one line of figures to
stdout.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.towers.encoder import Encoder

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads; default: as torch and the device ask.")]


@options.with_catalogue
def command(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: vectors.npy, items.parquet, embed.json.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
    workers: Workers = None,
    part: Annotated[
        str | None, typer.Option("--part", help="K/N: this job's share, beside N - 1 others on one disk; no launcher.")
    ] = None,
    shard: Annotated[int, typer.Option("--shard", min=1, help="Pictures per shard, lost at most to a kill.")] = 1024,
) -> None:
    """Turn the pictures of a catalogue into vectors."""
    from clipadapt.inputs import resolve
    from clipadapt.processes import is_main_process
    from clipadapt.processes.exchange import leave
    from clipadapt.search.embed import Part, embed, embed_part
    from clipadapt.search.vectors import Vectors

    inputs = resolve(model=model, **catalogue)
    pictures = inputs.items(split or inputs.data.splits.train)
    share, loaded = None if part is None else Part.parse(part), encoder(model, precision, device)
    if share is None:
        made = embed(loaded, pictures, out, shard=shard, workers=workers)
        leave()
    else:
        left = embed_part(loaded, pictures, out, share, shard=shard, workers=workers)
        if left:
            typer.echo(f"part {part} is done; {left} shard(s) of other parts are missing still")
            return
        made = Vectors.open(out)
    if is_main_process():
        facts = json.loads((out / "embed.json").read_text(encoding="utf-8"))
        speed = f", {facts['images_per_second']} images/s" if facts["images_per_second"] else ""
        typer.echo(f"{len(made.items)} vectors of {facts['dim']} dimensions in {out}, {len(made.broken)} broken{speed}")


def encoder(model: str, precision: options.Precision, device: str) -> "Encoder":
    """The model, on the device asked for, or on this process's accelerator where there is one."""
    from clipadapt.towers.load import load

    return load(model, device=options.device_of(device), precision=precision)
