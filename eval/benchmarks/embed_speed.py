"""Pictures embedded per second: ours against the loop that one would write, and in one process against actors of Ray.

    python eval/benchmarks/embed_speed.py --model local-dir:MODEL --source CATALOGUE [--items 512] [--rounds 5] [--ray]

The plain loop: stock open_clip's model and preprocessing, a DataLoader with as many workers as cores, batches of 64,
encode_image without gradients, vectors scaled to unit length. Ours: `embed_pictures`. Both read the same files from
disk, decode, preprocess and encode them in float32; the vectors must agree to 1e-4.

--ray: `embed` into a folder beside `embed_by_ray` with two actors on this machine, and once more with one of them
killed when half of the shards are there. Seconds are of the whole call: Ray's start, and two processes that import
torch and open the model, are in them. Beside that stands what the shards themselves took, as embed.json has it.
"""

import argparse
import contextlib
import functools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import psutil
import torch
from machine import alternating, publish, summary
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import clipadapt
from clipadapt.data.catalogue import Catalogue
from clipadapt.search.embed import embed, embed_pictures
from clipadapt.search.embed_ray import Cluster, embed_by_ray
from clipadapt.towers.encoder import Encoder

BATCH = 64
SHARD = 32
ACTORS = 2


class Files(Dataset[torch.Tensor]):
    """Pictures on disk, as stock open_clip wants them."""

    def __init__(self, files: list[Path], preprocess: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files, self.preprocess = files, preprocess

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.files[row]) as picture:
            return self.preprocess(picture)


def opens(model: str, source: str, split: str, items: int) -> tuple[Encoder, Catalogue]:
    """Here, and in each actor."""
    whole = Catalogue.load(source, split)
    return clipadapt.load(model), whole.subset(range(min(items, len(whole))))


def compare_engines(
    opened: Callable[[], tuple[Encoder, Catalogue]], encoder: Encoder, catalogue: Catalogue, rounds: int
) -> dict[str, dict[str, float]]:
    """One process, two actors, and two actors of which one is killed, in turn; medians of the rounds."""
    cluster = Cluster(actors=ACTORS)
    calls: dict[str, Callable[[Path], Any]] = {
        "embed": lambda out: embed(encoder, catalogue, out, shard=SHARD),
        "ray": lambda out: embed_by_ray(opened, encoder, catalogue, out, cluster, shard=SHARD),
        "ray_killed": lambda out: killed(
            out, lambda: embed_by_ray(opened, encoder, catalogue, out, cluster, shard=SHARD)
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    workers: dict[str, list[float]] = {name: [] for name in calls}
    difference: dict[str, float] = dict.fromkeys(calls, 0.0)
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, call in calls.items():
                out, start = Path(folder) / name, time.perf_counter()
                found = np.asarray(call(out).vectors)
                seconds[name].append(time.perf_counter() - start)
                workers[name].append(json.loads((out / "embed.json").read_text())["images_per_worker_second"])
                expected = found if name == "embed" else np.load(Path(folder) / "embed" / "vectors.npy")
                difference[name] = max(difference[name], float(np.abs(found - expected).max()))
            print(f"round {number + 1}: { ({name: round(one[-1], 1) for name, one in seconds.items()}) }", flush=True)
    return {
        name: {
            "images_per_second": round(len(catalogue) / float(np.median(seconds[name])), 1),
            "images_per_worker_second": round(float(np.median(workers[name])), 1),
            "difference": difference[name],
            **summary(seconds[name]),
        }
        for name in calls
    }  # fmt: skip


def killed(out: Path, call: Callable[[], Any]) -> Any:
    """`call`, one of whose actors is killed when half of its shards are there."""
    with killer(out.with_name(out.name + ".partial")) as dead:
        made = call()
    if not dead:
        raise SystemExit("all was done before an actor was killed: take more --items")
    return made


@contextlib.contextmanager
def killer(partial: Path) -> Iterator[list[int]]:
    """Waits beside the block for half of the shards; gives the process that it killed."""
    dead: list[int] = []
    over = threading.Event()

    def wait() -> None:
        while not dead and not over.wait(0.05):
            plan = partial / "plan.json"
            about = json.loads(plan.read_text()) if plan.exists() else {"pictures": 1, "shard": 1}
            if 2 * len(list(partial.glob("0*.json"))) >= -(-about["pictures"] // about["shard"]):
                dead.extend(kill_an_actor())

    watcher = threading.Thread(target=wait)
    watcher.start()
    try:
        yield dead
    finally:
        over.set()
        watcher.join()


def kill_an_actor() -> list[int]:
    """One of this process's own."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any("ray::Maker" in word for word in child.cmdline()):
                child.kill()
                return [child.pid]
    return []


def main() -> None:
    os.environ.update(RAY_memory_monitor_refresh_ms="0")  # no actor ends but the one that is killed
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a local-dir: model of open_clip")
    parser.add_argument("--source", required=True, help="an imagefolder")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ray", action="store_true", help="Ray with two actors, too; needs clipadapt[ray]")
    given = parser.parse_args()

    opened = functools.partial(opens, given.model, given.source, given.split, given.items)
    encoder, catalogue = opened()
    files = [Path(str(catalogue.place(row).picture)) for row in range(len(catalogue))]
    parts: Any = open_clip.create_model_and_transforms(given.model)
    model, _, preprocess = parts
    model.eval()
    made: dict[str, np.ndarray] = {}

    def plain() -> None:
        loader = DataLoader(Files(files, preprocess), BATCH, num_workers=os.cpu_count() or 1)
        with torch.no_grad():
            made["plain"] = torch.cat([model.encode_image(pixels, normalize=True) for pixels in loader]).numpy()

    def ours() -> None:
        made["ours"] = np.asarray(embed_pictures(encoder, catalogue).vectors)

    times = alternating({"plain": plain, "ours": ours}, rounds=given.rounds, warmup=1)
    difference = float(np.abs(made["plain"] - made["ours"]).max())
    if difference > 1e-4:
        raise SystemExit(f"the vectors differ by {difference}: nothing was compared")
    found = {name: summary(seconds) for name, seconds in times.items()}
    rates = {name: len(catalogue) / times["median"] for name, times in found.items()}
    headline = {"ratio": round(rates["ours"] / rates["plain"], 3)} | {
        f"{name}_images_per_second": round(rate, 1) for name, rate in rates.items()
    }
    result = {"items": len(catalogue), "difference": difference, "seconds": found}
    if given.ray:
        engines = compare_engines(opened, encoder, catalogue, given.rounds)
        result["ray"] = {"actors": ACTORS, "shard": SHARD, **engines}
        headline |= {f"{name}_images_per_second": one["images_per_second"] for name, one in engines.items()}
    publish("embed_speed", headline, result)


if __name__ == "__main__":
    main()
