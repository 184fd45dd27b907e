"""The folder that a job of embedding leaves, put together from its shards; begun, found whole, or mended.

    OUT/vectors.npy         [items, dim], unit length; or, where parts stay, parts/000000.npy (or .parquet) and on
        items.parquet       one row per vector: id, product, every other column
        embed.json          image_space, model, counts, speed, the parts, and each broken picture with file and reason
        manifest.json       size and sha256 of each of these

What is there at the end is the same whichever processes made the shards. Parts that are missing or were changed are
found when the job is started again, and made again alone. Nothing here encodes.
"""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import filelock
import numpy as np
import pyarrow.parquet as pq

from clipadapt import places
from clipadapt.atomic import atomic_folder, sha256_file
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, StoreError, listing
from clipadapt.manifest import Entry, check_manifest, listed, share, write_manifest
from clipadapt.search.items import Items, first_faults
from clipadapt.search.models import remembered
from clipadapt.search.vector_parts import Form, read_part
from clipadapt.search.vector_shards import Note, Shards, refuse_other
from clipadapt.search.vectors import EMBED, FORM, Broken
from clipadapt.towers.encoder import Encoder

log = logging.getLogger(__name__)

PARTS = "parts"
WHOLE = Form()


class Made(NamedTuple):
    """What one call did, all of its processes together."""

    pictures: int
    seconds: float


def shards_of(encoder: Encoder, catalogue: Catalogue, folder: Path, size: int, form: Form) -> Shards:
    """A job's shards, with what makes two jobs the same job."""
    plan = {
        "image_space": encoder.image_space,
        "precision": str(getattr(encoder, "precision", "fp32")),
        "fingerprint": catalogue.fingerprint,
        "pictures": len(catalogue),
        "shard": size,
        "form": form.name,
        "dtype": form.dtype,
    }
    return Shards(folder.with_name(folder.name + ".partial"), plan)


def begin(shards: Shards, folder: Path) -> bool:
    """Begins a job or goes on with it; False: it is finished, and every file is as it was written.

    A folder of parts that lacks some becomes an unfinished job again, with the parts that are whole.

    Raises:
        UsageError: the folder, or what was begun beside it, is of another job.
        StoreError: the folder holds one vectors.npy and was changed; the disk refuses.
    """
    if finished(shards, folder):
        faults = check_manifest(folder, verify=True) if _has_manifest(folder) else []
        if not faults:
            return False
        if shards.form.name == "whole":
            raise StoreError(
                f"{folder}: was changed after it was written:{listing(faults)}\n"
                "put back what it was, or remove the folder to embed all of it again"
            )
        log.warning("%s: what is missing or changed is made again:%s", folder, first_faults(faults))
        shards.begin()
        with filelock.FileLock(shards.folder / "lock"):
            if finished(shards, folder):  # no other process has been here
                _salvage(shards, folder)
                (folder / EMBED).unlink()
    shards.begin()
    if finished(shards, folder):  # another process has put it together since
        shutil.rmtree(shards.folder, ignore_errors=True)
        return False
    return True


def finished(shards: Shards, folder: Path) -> bool:
    """Whether the job's folder is there.

    Raises:
        UsageError: it is of another job.
    """
    file = folder / EMBED
    if not file.exists():
        return False
    try:
        refuse_other(shards.plan, folder, file)
    except StoreError:
        if file.exists():
            raise
        return False  # another process begins to mend the folder
    return True


def assemble(encoder: Encoder, catalogue: Catalogue, shards: Shards, folder: Path, made: Made) -> None:
    """Puts the shards together and removes them, unless another process has; one at a time, whatever made them.

    Args:
        made: by the call that ends with this.

    Raises:
        StoreError: the disk refuses, or a shard is missing or was changed.
        CatalogueError: not one picture has a vector.
    """
    try:
        with filelock.FileLock(shards.folder / "lock"):
            if not finished(shards, folder):
                _assemble(encoder, catalogue, shards, folder, made)
    except (OSError, StoreError):  # of a folder that another process has just removed, its work being done
        if not finished(shards, folder):
            raise
    shutil.rmtree(shards.folder, ignore_errors=True)


def embedded_items(catalogue: Catalogue, broken: Mapping[int, Broken]) -> tuple[Items, tuple[Broken, ...]]:
    """The items whose pictures have vectors, and the other pictures in order.

    Args:
        broken: by row of the catalogue.

    Raises:
        CatalogueError: not one picture has a vector.
    """
    kept = np.array([row not in broken for row in range(len(catalogue))], bool)
    ordered = tuple(broken[row] for row in sorted(broken))
    if not kept.any():
        first = ordered[0].reason if ordered else "the split is empty"
        raise CatalogueError(f"{catalogue.source}: not one of {len(catalogue)} pictures can be embedded; {first}")
    if ordered:
        lines = first_faults([one.reason for one in ordered])
        log.warning("%d of %d pictures are broken and have no vector:%s", len(ordered), len(catalogue), lines)
    return Items.of(catalogue.table().filter(kept), catalogue.separators), ordered


def _assemble(encoder: Encoder, catalogue: Catalogue, shards: Shards, folder: Path, made: Made) -> None:
    notes = shards.notes()
    items, broken = embedded_items(catalogue, _by_row(catalogue, shards, notes))
    with atomic_folder(folder) as staging:
        known: dict[tuple[int, int], Entry] = {}
        if shards.form.name == "whole":
            with (staging / "vectors.npy").open("wb") as file:
                _join(shards, len(items), encoder.dim, file)
            parts = [{"file": "vectors.npy", "rows": len(items)}]
        else:
            parts = []
            for number, note in enumerate(notes):
                part = staging / PARTS / shards.file(number).name
                share(shards.file(number), part, note.entry)
                known[part.stat().st_dev, part.stat().st_ino] = note.entry
                parts.append({"file": f"{PARTS}/{part.name}", "rows": note.rows, "seconds": note.seconds})
        pq.write_table(items.table, staging / "items.parquet")
        seconds, all_seconds = max(round(made.seconds, 3), 1e-9), sum(note.seconds for note in notes)
        facts: dict[str, Any] = {
            "schema_version": FORM, **shards.plan, "model": remembered(encoder.name, folder),
            "source": places.public(catalogue.source), "split": catalogue.split, "dim": encoder.dim,
            "vectors": len(items), "embedded_now": made.pictures, "seconds": seconds,
            "images_per_second": round(made.pictures / seconds, 2), "worker_seconds": round(all_seconds, 3),
            "images_per_worker_second": round(len(catalogue) / max(all_seconds, 1e-9), 2),
            "parts": parts, "broken": [one._asdict() for one in broken],
        }  # fmt: skip
        (staging / EMBED).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_manifest(staging, linked=known)


def _join(shards: Shards, rows: int, dim: int, file: IO[bytes]) -> None:
    """The shards as one array, one in memory at a time; written, not mapped, so that a full disk is an error."""
    dtype = np.dtype(shards.form.dtype)
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, dim)}
    np.lib.format.write_array_header_1_0(file, about)
    for number in range(len(shards)):
        file.write(np.ascontiguousarray(read_part(shards.file(number)), dtype).data)


def _by_row(catalogue: Catalogue, shards: Shards, notes: Sequence[Note]) -> dict[int, Broken]:
    """Broken pictures by row of the catalogue."""
    broken: dict[int, Broken] = {}
    for number, note in enumerate(notes):
        faulty = {one.id: one for one in note.broken}
        broken |= {row: faulty[catalogue.ids[row]] for row in shards.rows(number) if catalogue.ids[row] in faulty}
    return broken


def _salvage(shards: Shards, folder: Path) -> None:
    """Takes the parts of a folder that are as they were written for shards of the job."""
    try:
        entries = listed(folder)
        content = (folder / EMBED).read_bytes()
        if sha256_file(folder / EMBED) != entries[EMBED]["sha256"]:
            return
        facts = json.loads(content)
    except (OSError, StoreError, KeyError):
        return
    broken = [Broken(**one) for one in facts["broken"]]
    for number, part in enumerate(facts["parts"]):
        faulty = len(shards.rows(number)) - part["rows"]  # they are in the order of the catalogue
        own, broken = broken[:faulty], broken[faulty:]
        file, entry = folder / part["file"], entries[part["file"]]
        if file.is_file() and sha256_file(file) == entry["sha256"]:
            shards.adopt(number, file, Note(**entry, rows=part["rows"], seconds=part["seconds"], broken=tuple(own)))


def _has_manifest(folder: Path) -> bool:
    """Folders of the first version have none; one that another process mends has."""
    try:
        return json.loads((folder / EMBED).read_text(encoding="utf-8")).get("schema_version", 1) > 1
    except FileNotFoundError:
        return True
