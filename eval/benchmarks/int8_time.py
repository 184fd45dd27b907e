"""How long an INT8 export takes, here and in another checkout: whole processes that take turns.

    python eval/benchmarks/int8_time.py --other ../before --model local-dir:MODEL --source CATALOGUE \
        --prompts prompts/garments.yaml --attribute pattern --attribute fabric [--rounds 3]

Both write float and INT8 files of both towers, with the same calibration. "ratio" is this checkout's median processor
time over the other's; wall time stands beside it, for a machine with other work.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import publish

HERE = Path(__file__).parents[2]


def main() -> None:
    """Takes the times and writes them to eval/results/int8_time.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="a checkout to compare with")
    parser.add_argument("--model", required=True)
    parser.add_argument("--source", required=True)
    parser.add_argument("--prompts", default="prompts/garments.yaml")
    parser.add_argument("--attribute", action="append", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    checkouts = {"other": given.other.resolve(), "here": HERE}
    times: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
    reports: dict[str, Any] = {}
    for _ in range(given.rounds):
        for name, checkout in checkouts.items():
            with tempfile.TemporaryDirectory() as temporary:
                out = Path(temporary, "out")
                times[name].append(_export(checkout, out, given))
                reports[name] = json.loads((out / "clipadapt.json").read_text())["int8"]
    medians = {
        name: {kind: statistics.median(one[kind] for one in rounds) for kind in ("wall", "processor")}
        for name, rounds in times.items()
    }
    found = {
        "ratio": round(medians["here"]["processor"] / medians["other"]["processor"], 3),
        "wall_ratio": round(medians["here"]["wall"] / medians["other"]["wall"], 3),
        "seconds": medians,
    }
    kept = {name: {tower: report[tower] for tower in ("image", "text")} for name, report in reports.items()}
    publish("int8_time", found, {"times": times, "int8": kept, "model": given.model, "source": given.source})


def _export(checkout: Path, out: Path, given: argparse.Namespace) -> dict[str, float]:
    flags = ["--to", "onnx", "--out", str(out), "--int8", "--calibrate", given.source, "--prompts", given.prompts]
    for name in given.attribute:
        flags += ["--attribute", name]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "clipadapt.cli", "export", given.model, *flags],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - started, "processor": processor}


if __name__ == "__main__":
    main()
