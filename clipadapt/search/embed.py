"""A catalogue -> vectors on disk beside its item table: over several processes, resumable, broken pictures counted.

    OUT/vectors.npy     float32 [items, dim], unit length
        items.parquet   one row per vector: id, product, every other column
        embed.json      image_space, model, counts, and each broken picture with file, row and reason

Pictures go in shards; a finished shard is never computed again, and OUT appears when all are there. On the CPU each
worker thread decodes and encodes batches of its own on one core: no core waits for a decoder or for the slowest part of
another's matrix product. Vectors are those of `encoder.encode_images`, to rounding. Knows nothing of indexes.
"""

import contextlib
import io
import json
import logging
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate import PartialState
from jaxtyping import Float, Integer
from torch import Tensor

from clipadapt import places
from clipadapt.atomic import atomic_folder, atomic_write
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import CatalogueError, ModelError, UsageError
from clipadapt.processes import refuse_broken_world
from clipadapt.processes.exchange import Processes, only_processors
from clipadapt.progress import Bar, bar
from clipadapt.search.items import Items, first_faults
from clipadapt.search.models import remembered
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
    return _joined(encoder, catalogue, [vectors], broken)


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
        StoreError: the disk refuses.
    """
    folder, catalogue = Path(out), catalogue.permitted("index")
    plan = _plan(encoder, catalogue, shard)
    if (folder / "embed.json").exists():
        _same(plan, folder, folder / "embed.json")
        return Vectors.open(folder)
    processes = Processes(PartialState(cpu=only_processors()))
    refuse_broken_world(processes.count)
    partial = folder.with_name(folder.name + ".partial")
    if processes.main:
        if (partial / "plan.json").exists():
            _same(plan, partial, partial / "plan.json")
        atomic_write(partial / "plan.json", json.dumps(plan, indent=1))
    processes.wait()
    start = time.perf_counter()
    done = _run_shards(encoder, catalogue, partial, plan, processes, workers)
    processes.wait()
    if processes.main:
        elapsed = max(time.perf_counter() - start, 1e-9)
        _assemble(encoder, catalogue, partial, folder, plan, {"embedded_now": done, "seconds": round(elapsed, 3)})
        shutil.rmtree(partial, ignore_errors=True)
    processes.wait()
    return Vectors.open(folder)


def _run_shards(
    encoder: Encoder, catalogue: Catalogue, partial: Path, plan: dict[str, object], processes: Processes,
    workers: int | None,
) -> int:  # fmt: skip
    """The share of one process in what is not there yet; how many pictures that was."""
    size = int(str(plan["shard"]))
    starts = range(0, len(catalogue), size)
    mine = [(number, start) for number, start in enumerate(starts) if number % processes.count == processes.rank]
    todo = [(number, start) for number, start in mine if not _shard(partial, number).with_suffix(".json").exists()]
    rows = [np.arange(start, min(start + size, len(catalogue))) for _, start in todo]
    total = sum(map(len, rows))
    with _Worker(encoder, catalogue, workers) as worker, bar(total, "embedding", "images") as shown:
        for (number, _), chosen in zip(todo, rows, strict=True):
            vectors, broken = worker.run(chosen, shown)
            _save(_shard(partial, number), vectors)
            atomic_write(
                _shard(partial, number).with_suffix(".json"), json.dumps([one._asdict() for one in broken.values()])
            )  # last: it says that the shard is whole
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


def _plan(encoder: Encoder, catalogue: Catalogue, shard: int) -> dict[str, object]:
    """What makes two jobs the same job."""
    return {
        "image_space": encoder.image_space,
        "precision": str(getattr(encoder, "precision", "fp32")),
        "fingerprint": catalogue.fingerprint,
        "pictures": len(catalogue),
        "shard": shard,
    }


def _same(plan: dict[str, object], folder: Path, file: Path) -> None:
    there = json.loads(file.read_text(encoding="utf-8"))
    differing = [f"{key} {there.get(key)!r}, not {value!r}" for key, value in plan.items() if there.get(key) != value]
    if differing:
        raise UsageError(f"{folder}: holds vectors of another job ({'; '.join(differing)}); "
                         "name another --out, or remove that folder")  # fmt: skip


def _assemble(
    encoder: Encoder, catalogue: Catalogue, partial: Path, folder: Path, plan: dict[str, object], done: dict[str, float]
) -> None:
    shards = [_shard(partial, number) for number in range(-(-len(catalogue) // int(str(plan["shard"]))))]
    listed = [Broken(**row) for shard in shards for row in json.loads(shard.with_suffix(".json").read_text("utf-8"))]
    row_of = {item: row for row, item in enumerate(catalogue.ids)}
    whole = _joined(encoder, catalogue, (np.load(shard) for shard in shards), {row_of[one.id]: one for one in listed})
    meta = {
        "schema_version": 1, **plan, "model": remembered(encoder.name, folder),
        "source": places.public(catalogue.source), "split": catalogue.split,
        "dim": encoder.dim, "vectors": len(whole.items), **done,
        "images_per_second": round(done["embedded_now"] / done["seconds"], 2) if done["seconds"] else None,
        "broken": [one._asdict() for one in whole.broken],
    }  # fmt: skip
    with atomic_folder(folder) as staging:
        np.save(staging / "vectors.npy", whole.vectors, allow_pickle=False)
        pq.write_table(whole.items.table, staging / "items.parquet")
        (staging / "embed.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _joined(
    encoder: Encoder, catalogue: Catalogue, parts: "Iterator[np.ndarray] | list[np.ndarray]", broken: dict[int, Broken]
) -> Vectors:
    vectors = np.concatenate(list(parts)) if len(catalogue) else np.empty((0, encoder.dim), np.float32)
    kept = np.array([row not in broken for row in range(len(catalogue))], bool)
    if not kept.any():
        first = next(iter(broken.values())).reason if broken else "the split is empty"
        raise CatalogueError(f"{catalogue.source}: not one of {len(catalogue)} pictures can be embedded; {first}")
    table = catalogue.table().filter(kept)
    ordered = tuple(broken[row] for row in sorted(broken))
    if ordered:
        lines = first_faults([one.reason for one in ordered])
        log.warning("%d of %d pictures are broken and have no vector:%s", len(ordered), len(catalogue), lines)
    return Vectors(vectors[kept], Items.of(table, catalogue.separators), encoder.image_space, encoder.name, ordered)


def _shard(partial: Path, number: int) -> Path:
    return partial / f"{number:06d}.npy"


def _save(path: Path, vectors: np.ndarray) -> None:
    """A whole .npy file or none."""
    content = io.BytesIO()
    np.save(content, vectors, allow_pickle=False)
    atomic_write(path, content.getvalue())
