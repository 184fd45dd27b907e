"""The order of ten million rows in shards: time and memory to plan an epoch, resuming anywhere, processes.

    python eval/benchmarks/shard_order.py [--rows 10000000] [--rows-per-shard 4096] [--window 8] [--batch 4096]

An index (shards.json) of generated shards is written and read back; there are no pictures and no columns, for an order
needs neither. Planning is everything from the file to the items of the first step, in a process of its own: its time,
and the largest resident memory until then above that before. Then the whole epoch is walked, 50 random steps are asked
for anew and compared, and four processes walk their shares of every step: each row must come once before the filled-up
end.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from machine import peak, publish

from clipadapt import keyed
from clipadapt.data.batches import MicroBatches
from clipadapt.data.draws import WindowedDraws
from clipadapt.data.sharded.folder import Folder
from clipadapt.data.sharded.index import Index, Shard, Split

EPOCH, SEED, PROCESSES, RESUMES, MICRO = 3, 0, 4, 50, 64


def write_index(folder: Path, rows: int, per_shard: int) -> None:
    """shards.json of shards that are not there."""
    counts = [min(per_shard, rows - first) for first in range(0, rows, per_shard)]
    digest = "0" * 64
    shards = tuple(
        Shard(f"data/train-{number:05d}-of-{len(counts):05d}.parquet", count, 100_000 * count, digest, digest, digest)
        for number, count in enumerate(counts)
    )
    split = Split(Shard("rows/train.parquet", rows, 1, digest, digest, digest), shards)
    Index({"image": "image", "policy": None}, {"train": split}, {}).write(Folder(folder))


def planned(folder: Path, window: int) -> WindowedDraws:
    """The order of one epoch, from the index."""
    shards = Index.load(Folder(folder)).splits["train"].shards
    counts = np.array([shard.rows for shard in shards])
    numbers = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return WindowedDraws(numbers, window, epoch=EPOCH, seed=SEED)


def plan(folder: Path, given: argparse.Namespace, answers: Any) -> None:
    """In a process of its own: seconds, megabytes, and milliseconds from a plan to a step in the middle."""
    before = psutil.Process().memory_info().rss / 2**20
    started, begun = time.perf_counter(), time.process_time()
    draws = planned(folder, given.window)
    draws.between(0, given.batch)
    seconds, busy, grown = time.perf_counter() - started, time.process_time() - begun, peak() - before
    middle = len(draws) // given.batch // 2
    started = time.perf_counter()
    draws.between(middle * given.batch, (middle + 1) * given.batch)
    resume = 1e3 * (time.perf_counter() - started)
    answers.put({"seconds": seconds, "busy": busy, "megabytes": grown, "resume_ms": resume})


def walk(folder: Path, given: argparse.Namespace, rank: int, world: int) -> None:
    """One process's items of the whole epoch, by step and micro-batch as training takes them, into a file."""
    draws = planned(folder, given.window)
    steps = range(-(-len(draws) // given.batch))
    jobs = MicroBatches(draws, steps, given.batch, MICRO, rank, world)
    items = [np.concatenate([jobs[number].items for number in jobs.of_step(step)]) for step in steps]
    np.save(folder / f"walked-{world}-{rank}.npy", np.stack(items))


def walked(folder: Path, given: argparse.Namespace, world: int) -> np.ndarray:
    """[steps, batch]: what `world` processes walked, put together."""
    context = multiprocessing.get_context("spawn")
    jobs = [context.Process(target=walk, args=(folder, given, rank, world)) for rank in range(world)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    if any(job.exitcode for job in jobs):
        raise SystemExit("a process failed: nothing was compared")
    return np.concatenate([np.load(folder / f"walked-{world}-{rank}.npy") for rank in range(world)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rows-per-shard", type=int, default=4096)
    parser.add_argument("--window", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4096)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_index(folder, given.rows, given.rows_per_shard)
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        alone = context.Process(target=plan, args=(folder, given, answers))
        alone.start()
        found = answers.get(timeout=300)
        alone.join()
        whole = walked(folder, given, 1)
        together = walked(folder, given, PROCESSES)
        steps = keyed.generator(SEED, "resumes").choice(len(whole), RESUMES, replace=False)
        equal = 0
        for step in steps.tolist():
            anew = planned(folder, given.window).between(step * given.batch, (step + 1) * given.batch)
            equal += bool(np.array_equal(anew.items, whole[step]))
    times = np.bincount(together.ravel()[: given.rows], minlength=given.rows)
    headline = {
        "plan_seconds": round(found["seconds"], 2),
        "plan_processor_seconds": round(found["busy"], 2),
        "plan_megabytes": round(found["megabytes"], 1),
        "resume_ms": round(found["resume_ms"], 1),
        "resumes_equal": f"{equal} of {RESUMES}",
        "rows_seen_once": int((times == 1).sum()),
        "rows": given.rows,
        "processes": PROCESSES,
        "one_process_equal": bool(np.array_equal(whole, together)),
    }
    settings = {"rows_per_shard": given.rows_per_shard, "window": given.window, "batch": given.batch, "micro": MICRO}
    publish("shard_order", headline, {**settings, "filled_up": int(whole.size - given.rows)})


if __name__ == "__main__":
    main()
