"""A catalogue -> vectors on disk beside its item table: over several processes, resumable, broken pictures counted.

    embed(encoder, catalogue, "vectors/shop")                                       one vectors.npy (embed_output.py)
    embed(encoder, catalogue, "vectors/shop", form=Form("parquet", "float16"))      parts
    embed_part(encoder, catalogue, "vectors/shop", Part(3, 8))                      one of eight jobs that share a disk

Pictures go in shards (vector_shards.py); a finished shard is never computed again, and OUT appears when all are there.
They are made by processes of one launch, or by jobs that know nothing of each other, each its part.
On the CPU each worker thread decodes and encodes batches of its own on one core: no core waits for a decoder or for the
slowest part of another's matrix product. Vectors are those of `encoder.encode_images`, to rounding. Knows nothing of
indexes.
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from accelerate import PartialState
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, ModelError, UsageError
from clipadapt.processes import refuse_broken_world, world_size
from clipadapt.processes.exchange import Processes, only_processors
from clipadapt.progress import Bar, bar
from clipadapt.search.embed_output import WHOLE, Made, assemble, begin, embedded_items, finished, shards_of
from clipadapt.search.vector_parts import Form
from clipadapt.search.vector_shards import Shards
from clipadapt.search.vectors import Broken, Vectors
from clipadapt.towers.encoder import Encoder, TorchEncoder

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
    items, listed = embedded_items(catalogue, broken)
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
    form: Form = WHOLE,
) -> Vectors:
    """As `embed_pictures`, into a folder; processes of one `accelerate launch` share the shards.

    A job that was stopped goes on from OUT.partial; one that is finished is not repeated.

    Raises:
        UsageError: the folder, or what was begun beside it, is of another model or catalogue.
        ModelError, CatalogueError: as embed_pictures.
        StoreError: the disk refuses, or a shard was changed meanwhile.
    """
    folder, catalogue = Path(out), catalogue.permitted("index")
    shards = shards_of(encoder, catalogue, folder, shard, form)
    finished(shards, folder)  # refuses another job before the processes of a launch wait for each other
    processes = Processes(PartialState(cpu=only_processors()))
    refuse_broken_world(processes.count)
    if not begin(shards, folder):
        return Vectors.open(folder, verify=False)
    processes.wait()
    start, missing = time.perf_counter(), shards.missing()
    processes.wait()  # or one that another process has just written would be counted as there
    mine = [number for number in missing if number % processes.count == processes.rank]
    with bar(shards.pictures(mine), "embedding", "images") as shown:
        make(encoder, catalogue, shards, mine, workers, shown)
    processes.wait()
    if processes.main:
        made = Made(shards.pictures(missing), time.perf_counter() - start)
        assemble(encoder, catalogue, shards, folder, made)
    processes.wait()
    return Vectors.open(folder, verify=False)


def embed_part(
    encoder: Encoder,
    catalogue: Catalogue,
    out: str | Path,
    part: Part,
    *,
    shard: int = SHARD,
    workers: int | None = None,
    form: Form = WHOLE,
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
    shards = shards_of(encoder, catalogue, folder, shard, form)
    if not begin(shards, folder):
        return 0
    start = time.perf_counter()
    mine = [number for number in shards.missing() if number % part.of == part.at - 1]
    with bar(shards.pictures(mine), "embedding", "images") as shown:
        make(encoder, catalogue, shards, mine, workers, shown)
    left = shards.missing()
    if not left:
        assemble(encoder, catalogue, shards, folder, Made(shards.pictures(mine), time.perf_counter() - start))
    if finished(shards, folder):  # perhaps by another part, whatever was missing a moment ago
        shutil.rmtree(shards.folder, ignore_errors=True)
        return 0
    return len(left)


def make(
    encoder: Encoder, catalogue: Catalogue, shards: Shards, numbers: Sequence[int], workers: int | None, shown: Bar
) -> None:
    """Makes shards."""
    with _Worker(encoder, catalogue, workers) as worker:
        for number in numbers:
            start, rows = time.perf_counter(), shards.rows(number)
            vectors, broken = worker.run(np.array(rows), shown)
            kept = [row for row in rows if row not in broken]
            whole = vectors[np.array(kept, np.int64) - rows.start]
            ids, faults = [catalogue.ids[row] for row in kept], [broken[row] for row in sorted(broken)]
            shards.write(number, whole, ids, faults, time.perf_counter() - start)


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
