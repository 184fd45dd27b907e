"""A catalogue -> vectors on disk beside its item table: over several processes, resumable, broken pictures counted.

    OUT/vectors.npy     float32 [items, dim], unit length
        items.parquet   one row per vector: id, product, every other column
        embed.json      image_space, model, counts, and each broken picture with file, row and reason

Pictures go in shards (vector_shards.py); a finished shard is never computed again, and OUT appears when all are there.
They are made by processes of one launch, or by jobs that know nothing of each other, each its part.
On the CPU each worker thread decodes and encodes batches of its own on one core: no core waits for a decoder or for the
slowest part of another's matrix product. Vectors are those of `encoder.encode_images`, to rounding. Knows nothing of
indexes.
"""

import contextlib
import json
import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import filelock
import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt import places
from clipadapt.atomic import atomic_folder
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, ModelError, StoreError, UsageError
from clipadapt.processes import refuse_broken_world, world_size
from clipadapt.processes.exchange import Processes, only_processors
from clipadapt.progress import Bar, bar
from clipadapt.search.items import Items, first_faults
from clipadapt.search.models import remembered
from clipadapt.search.vector_shards import Shards, refuse_other
from clipadapt.search.vectors import Broken, Vectors
from clipadapt.towers.encoder import Encoder, TorchEncoder

log = logging.getLogger(__name__)

SHARD = 1024
"""Pictures that are computed again at most when a job is killed."""
_CPU_BATCH, _DEVICE_BATCH = 16, 64
"""Pictures per forward pass: on a core, few enough for its cache; on an accelerator, enough to fill it."""
_DECODERS = 8


def embed_pictures(
    encoder: Encoder, catalogue: Catalogue, *, workers: int | None = None, shown: Bar | None = None
) -> Vectors:
    """All pictures of a catalogue in memory, in one process; broken ones are listed, not raised.

    Items whose licence does not allow an index are left out and counted (data.policy).

    Args:
        shown: a bar that is moved, where this is a part of more; None draws one.

    Raises:
        ModelError: the model gives vectors that are not finite.
        CatalogueError: not one picture can be read.
    """
    catalogue = catalogue.permitted("index")
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(_Worker(encoder, catalogue, workers))
        moved = shown or stack.enter_context(bar(len(catalogue), "embedding", "images"))
        vectors, broken = worker.run(np.arange(len(catalogue)), moved)
    items, listed = _items(catalogue, broken)
    kept = vectors[[row not in broken for row in range(len(catalogue))]] if broken else vectors
    return Vectors(kept, items, encoder.image_space, encoder.name, listed)


class Part(NamedTuple):
    """Which of a job's shards a process makes that knows nothing of the others: number `at` of `of`, from 1."""

    at: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 3/8.

        Raises:
            UsageError: not of that form, or 9/8.
        """
        at, _, of = text.partition("/")
        if not (at.isdecimal() and of.isdecimal() and 1 <= int(at) <= int(of)):
            raise UsageError(f"part {text!r}: write which part of how many, from 1/8 to 8/8")
        return cls(int(at), int(of))


def embed(
    encoder: Encoder,
    catalogue: Catalogue,
    out: str | Path,
    *,
    shard: int = SHARD,
    workers: int | None = None,
) -> Vectors:
    """As `embed_pictures`, into a folder; processes of one `accelerate launch` share the shards.

    A job that was stopped goes on from OUT.partial; one that is finished is not repeated.

    Raises:
        UsageError: the folder, or what was begun beside it, is of another model or catalogue.
        ModelError, CatalogueError: as embed_pictures.
        StoreError: the disk refuses, or a shard was changed meanwhile.
    """
    folder, catalogue = Path(out), catalogue.permitted("index")
    shards = shards_of(encoder, catalogue, folder, shard)
    if finished(shards, folder):
        return Vectors.open(folder)
    processes = Processes(PartialState(cpu=only_processors()))
    refuse_broken_world(processes.count)
    if processes.main:
        shards.begin()
    processes.wait()
    start = time.perf_counter()
    mine = [number for number in shards.missing() if number % processes.count == processes.rank]
    processes.wait()  # or one that another process has just written would be counted as there
    done = make(encoder, catalogue, shards, mine, workers)
    processes.wait()
    if processes.main:
        assemble(encoder, catalogue, shards, folder, done, time.perf_counter() - start)
    processes.wait()
    return Vectors.open(folder)


def embed_part(
    encoder: Encoder,
    catalogue: Catalogue,
    out: str | Path,
    part: Part,
    *,
    shard: int = SHARD,
    workers: int | None = None,
) -> int:
    """One part of the same job, by a process that meets no other but on the disk that they share: an array of jobs.

    Whoever makes the last missing shard puts all of them together. Returns how many shards are missing still; 0: OUT is
    there. Parts of other counts, and `embed` itself, may go on with what is there.

    Raises:
        UsageError, ModelError, CatalogueError, StoreError: as `embed`.
    """
    if world_size() > 1:
        raise UsageError(
            f"a part is made by one process, and this launch has {world_size()}; start it without a launcher, or leave "
            "the part out: processes of one launch share all shards"
        )
    folder, catalogue = Path(out), catalogue.permitted("index")
    shards = shards_of(encoder, catalogue, folder, shard)
    if finished(shards, folder):
        return 0
    shards.begin()
    start = time.perf_counter()
    mine = [number for number in shards.missing() if number % part.of == part.at - 1]
    done = make(encoder, catalogue, shards, mine, workers)
    left = shards.missing()
    if not left:
        try:
            with filelock.FileLock(shards.folder / "lock"):
                if not finished(shards, folder):
                    assemble(encoder, catalogue, shards, folder, done, time.perf_counter() - start)
        except (OSError, StoreError):
            if not finished(shards, folder):
                raise
    if finished(shards, folder):  # perhaps by another part, whatever was missing a moment ago
        shutil.rmtree(shards.folder, ignore_errors=True)
        return 0
    return len(left)


def finished(shards: Shards, folder: Path) -> bool:
    """Whether the job's folder is there.

    Raises:
        UsageError: it is of another job.
    """
    if not (folder / "embed.json").exists():
        return False
    refuse_other(shards.plan, folder, folder / "embed.json")
    return True


def make(encoder: Encoder, catalogue: Catalogue, shards: Shards, numbers: Sequence[int], workers: int | None) -> int:
    """Makes shards; how many pictures they hold."""
    total = sum(len(shards.rows(number)) for number in numbers)
    with _Worker(encoder, catalogue, workers) as worker, bar(total, "embedding", "images") as shown:
        for number in numbers:
            vectors, broken = worker.run(np.array(shards.rows(number)), shown)
            shards.write(number, vectors, list(broken.values()))
    return total


class _Worker:
    """Threads that decode and encode, for as long as a job lasts."""

    def __init__(self, encoder: Encoder, catalogue: Catalogue, workers: int | None) -> None:
        self.encoder, self.catalogue = encoder, catalogue
        self.own_cores = isinstance(encoder, TorchEncoder) and encoder.device.type == "cpu"
        self.batch = _CPU_BATCH if self.own_cores else _DEVICE_BATCH
        self.threads = workers or (torch.get_num_threads() if self.own_cores else _DECODERS)
        self._turn: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if not self.own_cores:  # the model has threads of its own: one batch at a time, the rest decode
            self._turn = threading.Lock()

    def __enter__(self) -> Self:
        self._before = torch.get_num_threads()
        single = (lambda: torch.set_num_threads(1)) if self.own_cores else None
        self.pool = ThreadPoolExecutor(self.threads, "embed", initializer=single)
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._before)

    def run(
        self, rows: Integer[np.ndarray, " some"], shown: Bar
    ) -> tuple[Float[np.ndarray, "some dim"], dict[int, Broken]]:
        """Vectors of those rows, NaN for broken pictures, which come with their reasons."""
        vectors = np.full((len(rows), self.encoder.dim), np.nan, np.float32)
        broken: dict[int, Broken] = {}
        parts = [slice(start, start + self.batch) for start in range(0, len(rows), self.batch)]
        for part, found, faults in self.pool.map(lambda part: (part, *self._encode(rows[part])), parts):
            vectors[part] = found
            broken.update(faults)
            shown.advance(len(found), f"{len(broken)} broken" if broken else "")
        return vectors, broken

    def _encode(self, rows: np.ndarray) -> tuple[np.ndarray, dict[int, Broken]]:
        pixels: list[Tensor] = []
        whole: list[int] = []
        broken: dict[int, Broken] = {}
        for place, row in enumerate(map(int, rows)):
            try:
                pixels.append(self.encoder.preprocess(self.catalogue.picture(row)))
                whole.append(place)
            except CatalogueError as error:
                at = self.catalogue.place(row)
                broken[row] = Broken(self.catalogue.ids[row], at.file, at.row, at.picture, str(error))
        vectors = np.full((len(rows), self.encoder.dim), np.nan, np.float32)
        if pixels:
            with self._turn:
                vectors[whole] = self.encoder.encode_images(torch.stack(pixels)).cpu().numpy()
            if not np.isfinite(vectors[whole]).all():
                bad = [self.catalogue.ids[rows[place]] for place in whole if not np.isfinite(vectors[place]).all()]
                raise ModelError(f"{self.encoder.name}: the picture vector of item {bad[0]!r} is not finite; "
                                 "try --precision fp32, or check the adapter")  # fmt: skip
        return vectors, broken


def shards_of(encoder: Encoder, catalogue: Catalogue, folder: Path, size: int) -> Shards:
    """A job's shards, with what makes two jobs the same job."""
    plan = {
        "image_space": encoder.image_space,
        "precision": str(getattr(encoder, "precision", "fp32")),
        "fingerprint": catalogue.fingerprint,
        "pictures": len(catalogue),
        "shard": size,
    }
    return Shards(folder.with_name(folder.name + ".partial"), plan)


def assemble(encoder: Encoder, catalogue: Catalogue, shards: Shards, folder: Path, done: int, elapsed: float) -> None:
    """Writes the folder from the shards, one in memory at a time, and removes them."""
    row_of = {item: row for row, item in enumerate(catalogue.ids)}
    with atomic_folder(folder) as staging:
        broken: dict[int, Broken] = {}
        place = 0
        written = None
        for number in range(len(shards)):
            vectors, faults = shards.read(number)
            broken |= {row_of[one.id]: one for one in faults}
            if written is None:
                shape = len(catalogue), encoder.dim
                written = np.lib.format.open_memmap(staging / "all.npy", mode="w+", dtype=np.float32, shape=shape)
            kept = vectors[[row not in broken for row in shards.rows(number)]]
            written[place : place + len(kept)] = kept
            place += len(kept)
        items, listed = _items(catalogue, broken)
        vectors = np.empty((0, encoder.dim), np.float32) if written is None else written[:place]
        np.save(staging / "vectors.npy", vectors, allow_pickle=False)
        (staging / "all.npy").unlink(missing_ok=True)
        pq.write_table(items.table, staging / "items.parquet")
        elapsed = max(round(elapsed, 3), 1e-9)
        meta = {
            "schema_version": 1, **shards.plan, "model": remembered(encoder.name, folder),
            "source": places.public(catalogue.source), "split": catalogue.split, "dim": encoder.dim,
            "vectors": len(items), "embedded_now": done, "seconds": elapsed,
            "images_per_second": round(done / elapsed, 2), "broken": [one._asdict() for one in listed],
        }  # fmt: skip
        (staging / "embed.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(shards.folder, ignore_errors=True)


def _items(catalogue: Catalogue, broken: Mapping[int, Broken]) -> tuple[Items, tuple[Broken, ...]]:
    """The items whose pictures have vectors, and the other pictures in order."""
    kept = np.array([row not in broken for row in range(len(catalogue))], bool)
    ordered = tuple(broken[row] for row in sorted(broken))
    if not kept.any():
        first = ordered[0].reason if ordered else "the split is empty"
        raise CatalogueError(f"{catalogue.source}: not one of {len(catalogue)} pictures can be embedded; {first}")
    if ordered:
        lines = first_faults([one.reason for one in ordered])
        log.warning("%d of %d pictures are broken and have no vector:%s", len(ordered), len(catalogue), lines)
    return Items.of(catalogue.table().filter(kept), catalogue.separators), ordered
