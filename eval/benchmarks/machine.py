"""What every benchmark shares: the machine it ran on, alternating timings, and where the result goes."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from clipadapt import places
from clipadapt.runs import environment

RESULTS = Path(__file__).parent.parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores, threads, memory, GPUs and versions; no names of people or folders."""
    found = environment(0)
    kept = {key: found[key] for key in ("python", "packages", "machine", "commit")}
    return {**kept, "threads": torch.get_num_threads()}


def alternating(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int, warmup: int = 2, cuda: bool = False
) -> dict[str, list[float]]:
    """Seconds per call of each contestant, in turn, so that whatever slows the machine slows all of them."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warmup + rounds):
        for name, call in contestants.items():
            if cuda:
                torch.cuda.synchronize()
            started = time.perf_counter()
            call()
            if cuda:
                torch.cuda.synchronize()
            if number >= warmup:
                times[name].append(time.perf_counter() - started)
    return times


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, fastest and slowest, in seconds."""
    return {"median": statistics.median(seconds), "fastest": min(seconds), "slowest": max(seconds)}


def publish(name: str, headline: dict[str, Any], result: dict[str, Any]) -> None:
    """Writes eval/results/NAME.json, with the machine, and prints the headline as the last line."""
    RESULTS.mkdir(exist_ok=True)
    whole = places.public({"headline": headline, **result, "environment": machine()})
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(headline), flush=True)


def peak() -> float:
    """Largest resident memory of this process so far, in MB.

    On Linux of this program alone: what getrusage says begins with the memory of the program that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1024 / (1024 if sys.platform == "darwin" else 1), 1)
