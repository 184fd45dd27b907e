"""clipadapt embed: the pictures of a catalogue as vectors, beside their item table.

    clipadapt embed --model run:runs/fashion --source shop --split train --out vectors/shop
    torchrun --nproc_per_node 4 -m clipadapt.cli embed ...          # shards shared by four processes
    clipadapt embed ... --part 3/8                                  # by eight jobs of any scheduler, one disk
    clipadapt embed ... --parts parquet --dtype float16             # a file per 1,024 pictures, for other programs
    clipadapt embed ... --engine ray --ray-address ray://head:10001 --actors 16        # by actors of a Ray cluster

Stopped and started again, it goes on where it was. Progress and broken pictures go to stderr, one line of figures to
stdout.
"""

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clipadapt.cli import options

if TYPE_CHECKING:
    from clipadapt.data.catalogue import Catalogue
    from clipadapt.towers.encoder import Encoder

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads; default: as torch and the device ask.")]


@options.with_catalogue
def command(
    model: options.Model,
    out: Annotated[Path, typer.Option("--out", help="Folder to write: vectors, items.parquet, embed.json.")],
    catalogue: options.Catalogue,
    split: options.Split = None,
    precision: options.Precision = "fp32",
    device: options.Device = "auto",
    workers: Workers = None,
    part: Annotated[
        str | None, typer.Option("--part", help="K/N: this job's share, beside N - 1 others on one disk; no launcher.")
    ] = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option("--engine", help="ray: actors of a Ray cluster; needs clipadapt[ray].")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="ray://HOST:10001, or auto; default: this machine alone.")
    ] = None,
    actors: Annotated[int, typer.Option("--actors", min=1, help="Of Ray; each takes --workers cores.")] = 2,
    shard: Annotated[int, typer.Option("--shard", min=1, help="Pictures per shard, lost at most to a kill.")] = 1024,
    parts: Annotated[
        Literal["npy", "parquet"] | None,
        typer.Option("--parts", help="Leave a file per shard under parts/ in this form; default: one vectors.npy."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float16"],
        typer.Option("--dtype", help="Of vectors on disk; float16 moves a cosine by 0.0005 at most."),
    ] = "float32",
) -> None:
    """Turn the pictures of a catalogue into vectors."""
    from clipadapt.errors import UsageError
    from clipadapt.processes import is_main_process
    from clipadapt.processes.exchange import leave
    from clipadapt.search.embed import Part, embed, embed_part
    from clipadapt.search.vector_parts import Form
    from clipadapt.search.vectors import Vectors

    if engine == "ray" and part is not None:
        raise UsageError("--engine ray and --part both share the shards; leave one out")
    share, opened = None if part is None else Part.parse(part), functools.partial(_opened, model, catalogue, split)
    loaded, pictures = opened(precision, device)
    form = Form(parts or "whole", dtype)
    if engine == "ray":
        from clipadapt.search.embed_ray import Cluster, embed_by_ray

        on_gpu = getattr(getattr(loaded, "device", None), "type", "cpu") == "cuda"
        cluster = Cluster(ray_address, actors, workers or 1, 1 if on_gpu else 0)
        sent = functools.partial(opened, precision, device)
        made = embed_by_ray(sent, loaded, pictures, out, cluster, shard=shard, form=form)
    elif share is None:
        made = embed(loaded, pictures, out, shard=shard, workers=workers, form=form)
        leave()
    else:
        left = embed_part(loaded, pictures, out, share, shard=shard, workers=workers, form=form)
        if left:
            typer.echo(f"part {part} is done; {left} shard(s) of other parts are missing still")
            return
        made = Vectors.open(out, verify=False)
    if is_main_process():
        facts = json.loads((out / "embed.json").read_text(encoding="utf-8"))
        rate = facts["images_per_second"] if share is None else facts.get("images_per_worker_second")
        speed = f", {rate} images/s{'' if share is None else ' per job'}" if rate else ""
        of = f"{facts['dim']} {facts.get('dtype', 'float32')} dimensions"
        typer.echo(f"{len(made.items)} vectors of {of} in {out}, {len(made.broken)} broken{speed}")


def _opened(
    model: str, catalogue: options.Catalogue, split: str | None, precision: options.Precision, device: str
) -> "tuple[Encoder, Catalogue]":
    """The model and the pictures that flags name."""
    from clipadapt.inputs import resolve

    inputs = resolve(model=model, **catalogue)
    return encoder(model, precision, device), inputs.items(split or inputs.data.splits.train)


def encoder(model: str, precision: options.Precision, device: str) -> "Encoder":
    """The model, on the device asked for, or on this process's accelerator where there is one."""
    from clipadapt.towers.load import load

    return load(model, device=options.device_of(device), precision=precision)
