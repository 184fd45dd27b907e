"""Writes a source as Parquet shards that are read by row (clipadapt.data.sharded), here or on any fsspec URL.

    done = write_shards(source, catalogues, "s3://bucket/shop", rows=4096)

What a shard holds is decided by the source and the plan alone, so an interrupted job goes on where it stopped, and
shards whose rows have changed in the source since are written again. writing.json says what is done and who writes: of
two jobs on one folder the one that came last goes on, and the other stops at its next shard. shards.json comes last.
Every picture is decoded once, for what is broken is better known now; files are stored as they are, or resized, as PNG.
Memory holds a row group, a temporary disk one shard. Nothing here reads shards for training.
"""

import contextlib
import hashlib
import io
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from clipadapt import keyed, places, progress
from clipadapt.atomic import Guard, sha256_file, staged
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import decode
from clipadapt.data.folders import Rows
from clipadapt.data.images import Preprocess
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import CLAIM, INDEX, Index, Shard, Split, plain, refuse_other_plan, shard_of
from clipadapt.data.sharded.pictures import footer_digest
from clipadapt.data.sharded.table import GroupWriter, columns_of, row_index, sizes_of
from clipadapt.data.sources import Source
from clipadapt.errors import CatalogueError, StoreError, UsageError, listing
from clipadapt.threads import ordered

ROWS = 4096
"""Rows of a shard: some hundred megabytes of usual pictures."""
_SHOWN = 20


class Written(NamedTuple):
    """What lies there now."""

    items: int
    shards: int
    megabytes: float
    broken: int
    written: int
    """Shards that this call wrote; the others were there."""


def write_shards(
    source: Source,
    catalogues: Mapping[str, Catalogue],
    out: str | Path,
    *,
    image: str = "image",
    rows: int = ROWS,
    preprocess: Preprocess | None = None,
    shuffle: int | None = None,
    broken: Literal["error", "count"] = "error",
) -> Written:
    """Writes the splits that `catalogues` hold; what is there already is kept.

    Args:
        catalogues: split -> all its items, as the source has them.
        image: the column of pictures, in the source and in the shards.
        preprocess: resizes pictures as it says; None: files are stored as they are.
        shuffle: the seed of a random order of the rows; None: the source's order.
        broken: count leaves out pictures that cannot be decoded.

    Raises:
        CatalogueError: broken pictures, all of them named, or a column that cannot be stored.
        UsageError: shards that were written otherwise lie there, or complete ones of other content.
        StoreError: the disk or the store refuses, or another job has begun to write there.
    """
    folder = Folder(out)
    first = next(iter(catalogues.values()))
    if preprocess is not None:
        first.require(preprocess)
    plan = {
        "image": image,
        "splits": {name: len(catalogue) for name, catalogue in catalogues.items()},
        "rows": rows,
        "shuffle": shuffle,
        "broken": broken,
        "policy": first.resized_by if preprocess is None else preprocess.geometry(),
        "decoding": None if preprocess is None else first.decoding.describe(),
    }
    job = _Job(folder, json.loads(json.dumps(plan)))
    splits = {
        name: _write_split(job, source.read(name, image), catalogue, preprocess)
        for name, catalogue in catalogues.items()
    }
    job.finish({name: split for name, split in splits.items() if split is not None}, source.name)
    shards = [shard for split in splits.values() if split is not None for shard in split.shards]
    return Written(
        items=sum(shard.rows for shard in shards),
        shards=len(shards),
        megabytes=round(sum(shard.bytes for shard in shards) / 1e6, 1),
        broken=sum(len(shard.broken) for shard in shards),
        written=job.written,
    )


class _Job:
    """Who writes a folder, and what is done there."""

    def __init__(self, folder: Folder, plan: dict[str, Any]) -> None:
        self.folder, self.plan = folder, plan
        self.token = secrets.token_hex(8)
        self.written = 0
        self.faults: list[str] = []
        """Pictures for which shards were not written, a line each."""
        self.complete = folder.read(INDEX) is not None
        """Readers may be at work: nothing is changed."""
        if self.complete:
            index = Index.load(folder)
            refuse_other_plan(plan, index.plan, folder)
            self.there = {shard.name: shard for split in index.splits.values() for shard in (split.rows, *split.shards)}
            return
        claim = self._claim()
        refuse_other_plan(plan, claim["plan"] if claim else plan, folder)
        self.there = {entry["name"]: shard_of(entry) for entry in (claim["done"] if claim else [])}
        self._save()

    def kept(self, name: str, made_from: str) -> Shard | None:
        """A shard that is there and needs not be written; None: it is to be written.

        Raises:
            UsageError: the folder is complete, and this shard is of other content or not there.
        """
        shard = self.there.get(name)
        if shard is not None and shard.made_from == made_from and self.folder.size(name) == shard.bytes:
            return shard
        if self.complete:
            other = shard is not None and shard.made_from != made_from
            what = "its rows or files in the source have changed" if other else "it is missing or of another size"
            raise UsageError(
                f"{self.folder.place(name)}: {what} since the shards were written; write them to a new folder, or "
                f"remove {self.folder.place(INDEX)} to have what differs written again"
            )
        return None

    def add(self, shard: Shard, file: Path) -> None:
        """Puts a shard that was written to `file` in its place, and notes it.

        Raises:
            StoreError: another job writes here since.
        """
        self._check()
        self.folder.put(file, shard.name)
        self._check()
        self.there[shard.name] = shard
        self._save()

    def finish(self, splits: dict[str, Split], source: str) -> None:
        """Writes the index, after a look at the size of everything.

        Raises:
            CatalogueError: pictures that cannot be decoded.
        """
        if self.faults:
            raise CatalogueError(
                f"{len(self.faults)} picture(s) cannot be prepared:{listing(self.faults, _SHOWN)}"
                "\ncorrect them, or leave them out with --broken count (data.broken: count); shards without such "
                "pictures are written and kept"
            )
        shards = [shard for split in splits.values() for shard in (split.rows, *split.shards)]
        if not any(shard.rows for shard in shards):
            raise CatalogueError("not one picture can be prepared; run `clipadapt data check` on the source")
        if self.complete:
            return
        odd = [self.folder.place(shard.name) for shard in shards if self.folder.size(shard.name) != shard.bytes]
        if odd:
            raise StoreError(
                f"{len(odd)} shard(s) are gone or were changed while others were written:{listing(odd, _SHOWN)}"
                "\nrun the same command again"
            )
        self._check()
        about = {"source": places.public(source), **{name: version(name) for name in ("clipadapt", "pyarrow")}}
        Index(self.plan, splits, about).write(self.folder)
        self.folder.remove(CLAIM)

    def _check(self) -> None:
        claim = self._claim()
        if claim is None or claim["token"] != self.token:
            raise StoreError(
                f"{self.folder.name}: another job has begun to write here, so this one stops; what it wrote stays and "
                "is used by the other"
            )

    def _claim(self) -> dict[str, Any] | None:
        text = self.folder.read(CLAIM)
        if text is None:
            return None
        try:
            found = json.loads(text)
            return {"plan": dict(found["plan"]), "done": list(found["done"]), "token": str(found["token"])}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder.place(CLAIM)}: cannot be read ({error}); remove it") from error

    def _save(self) -> None:
        done = [plain(shard) for shard in self.there.values()]
        self.folder.write(CLAIM, json.dumps({"plan": self.plan, "token": self.token, "done": done}).encode())


def _write_split(job: _Job, rows: Rows, catalogue: Catalogue, preprocess: Preprocess | None) -> Split | None:
    """All shards of a split, then its row index; None where pictures are at fault, which the job keeps."""
    plan, split = job.plan, catalogue.split
    table = columns_of(rows.table, plan["image"], rows.file)
    order = np.arange(len(catalogue))
    if plan["shuffle"] is not None:
        order = keyed.generator(plan["shuffle"], "shard rows", split).permutation(len(catalogue))
        table = table.take(pa.array(order))
    names = rows.names or catalogue.ids
    count = -(-len(order) // plan["rows"])
    shards: list[Shard] = []
    sizes: list[np.ndarray] = []
    for number in range(count):
        first = number * plan["rows"]
        items = order[first : first + plan["rows"]]
        part = _Part(table.slice(first, len(items)), [names[item] for item in items], items, catalogue, preprocess)
        name, made_from = f"data/{split}-{number:05d}-of-{count:05d}.parquet", part.digest()
        label = f"{split}, shard {number + 1} of {count}"
        shard = job.kept(name, made_from) or _write_shard(job, part, name, made_from, label)
        if shard is not None:
            shards.append(shard)
            sizes.append(sizes_of(job.folder, shard))
    if job.faults:
        return None
    whole = np.concatenate(sizes)
    kept = np.flatnonzero(whole >= 0)
    index = row_index(table.take(pa.array(kept)), plan["image"], [names[item] for item in order[kept]], whole[kept])
    made_from = hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()
    name = f"rows/{split}.parquet"
    entry = job.kept(name, made_from)
    if entry is None:
        with _temporary(job.folder, name) as file:
            pq.write_table(index, file, compression="zstd")
            entry = _entry(name, file, len(kept), made_from)
            job.add(entry, file)
    return Split(entry, tuple(shards))


class _Part(NamedTuple):
    """The rows of one shard, in its order."""

    table: pa.Table
    names: list[str]
    items: np.ndarray
    catalogue: Catalogue
    preprocess: Preprocess | None

    def digest(self) -> str:
        """Of its cells, names and the stamps of its files; no picture is read."""
        stamps = self.catalogue.pictures.take(self.items).stamps()
        hasher = hashlib.sha256(repr(self.table.schema.remove_metadata()).encode())
        for row in (*self.table.to_pylist(), *zip(self.names, stamps, strict=True)):
            hasher.update(repr(row).encode())
        return hasher.hexdigest()

    def pictures(self) -> Iterator[tuple[bytes | None, str]]:
        """(what is stored of each, what is wrong with it)."""

        def encoded(item: int) -> tuple[bytes | None, str]:
            try:
                data = self.catalogue.pictures.read(item)
                picture = decode(data, self.catalogue.decoding)
            except CatalogueError as error:
                return None, f"item {self.catalogue.ids[item]!r}, {self.catalogue.place(item)}: {error}"
            if self.preprocess is None:
                return data, ""
            resized = io.BytesIO()
            Image.fromarray(self.preprocess.pixels(picture)).save(resized, "PNG")
            return resized.getvalue(), ""

        return ordered(encoded, self.items.tolist())


def _write_shard(job: _Job, part: _Part, name: str, made_from: str, label: str) -> Shard | None:
    """None where pictures are at fault, which the job keeps."""
    faults: list[str] = []
    with _temporary(job.folder, name) as file:
        with GroupWriter(file, part.table, job.plan["image"]) as writer:
            found = progress.track(part.pictures(), total=len(part.names), label=label, unit="pictures")
            for row, (data, fault) in enumerate(found):
                faults += [fault] if fault else []
                writer.add(row, data, part.names[row])
        if faults and job.plan["broken"] == "error":
            job.faults += faults
            return None
        shard = _entry(name, file, writer.rows, made_from, tuple(faults))
        job.add(shard, file)
        job.written += 1
    return shard


def _entry(name: str, file: Path, rows: int, made_from: str, broken: Sequence[str] = ()) -> Shard:
    return Shard(name, rows, file.stat().st_size, sha256_file(file), footer_digest(file), made_from, tuple(broken))


@contextlib.contextmanager
def _temporary(folder: Folder, name: str) -> Iterator[Path]:
    """A file to write before it is put in its place: beside that, or on this machine's temporary disk for a URL.

    Raises:
        StoreError: the disk is full or refuses.
    """
    target = Path(tempfile.gettempdir(), Path(name).name) if folder.local is None else folder.local / name
    with Guard(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with staged(target) as staging:
            yield staging / target.name
