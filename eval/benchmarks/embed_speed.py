"""Pictures embedded per second: ours against the loop that one would write, alternating in one run.

    python eval/benchmarks/embed_speed.py --model local-dir:MODEL --source CATALOGUE [--items 512] [--rounds 5]

The plain loop: stock open_clip's model and preprocessing, a DataLoader with as many workers as cores, batches of 64,
encode_image without gradients, vectors scaled to unit length. Ours: `embed_pictures`. Both read the same files from
disk, decode, preprocess and encode them in float32; the vectors must agree to 1e-4.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from machine import alternating, publish, summary
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import clipadapt
from clipadapt.data.catalogue import Catalogue
from clipadapt.search.embed import embed_pictures

BATCH = 64


class Files(Dataset[torch.Tensor]):
    """Pictures on disk, as stock open_clip wants them."""

    def __init__(self, files: list[Path], preprocess: Callable[[Image.Image], torch.Tensor]) -> None:
        self.files, self.preprocess = files, preprocess

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.files[row]) as picture:
            return self.preprocess(picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a local-dir: model of open_clip")
    parser.add_argument("--source", required=True, help="an imagefolder")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--items", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()

    whole = Catalogue.load(given.source, given.split)
    catalogue = whole.subset(range(min(given.items, len(whole))))
    files = [Path(str(catalogue.place(row).picture)) for row in range(len(catalogue))]
    parts: Any = open_clip.create_model_and_transforms(given.model)
    model, _, preprocess = parts
    model.eval()
    encoder = clipadapt.load(given.model)
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
    publish("embed_speed", headline, {"items": len(catalogue), "difference": difference, "seconds": found})


if __name__ == "__main__":
    main()
