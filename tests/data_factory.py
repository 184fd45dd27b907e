"""Small catalogues on disk for tests: coloured squares with attribute cells, several pictures to a product.

    write_catalogue(tmp_path / "shop", items=24)                    # train and validation with metadata.csv
    write_table(folder / "train", [{"file_name": "1.jpg", ...}])    # exactly these rows, and a picture for each

Test folders load this file by path, for tests are no package; see tests/data/conftest.py.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"Red": (200, 30, 30), "Green": (30, 160, 60), "Blue": (40, 60, 200), "Black": (15, 15, 15)}
PATTERNS = ("Solid", "Striped", "Checked")


def write_catalogue(folder: Path, items: int = 24, size: int = 32, seed: int = 0, validation: float = 1 / 3) -> Path:
    """An imagefolder with `train` and `validation`; two items to a product; some cells empty."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, str]] = []
    for item in range(items):
        rng_product = np.random.default_rng((seed, item // 2))
        colour = str(rng_product.choice(list(COLOURS)))
        pattern = str(rng_product.choice(PATTERNS))
        rows.append(
            {
                "file_name": f"{item:04d}.png",
                "id": f"{item:04d}",
                "name": f"{pattern} {colour} shirt",
                "baseColour": colour,
                "Pattern": pattern if rng.random() < 0.8 else "",
                "Sleeve Length": "Long Sleeves" if item % 3 == 0 else "NA",
                "product": f"p{item // 2:03d}",
            }
        )
    bound = items - 2 * round(items * validation / 2)
    write_table(folder / "train", rows[:bound], size)
    write_table(folder / "validation", rows[bound:], size)
    return folder


def write_table(folder: Path, rows: Sequence[Mapping[str, str]], size: int = 32) -> Path:
    """metadata.csv with these rows and a PNG per file_name that does not exist yet; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    for index, row in enumerate(rows):
        target = folder / row["file_name"]
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            paint(row.get("baseColour", ""), row.get("Pattern", ""), size, index).save(target)
    return folder


def paint(colour: str, pattern: str, size: int, seed: int) -> Image.Image:
    """A square of that colour, striped or checked when the pattern says so, with a little noise of its own."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((size, size, 3))
    pixels[:] = COLOURS.get(colour, (128, 128, 128))
    bars = (np.arange(size) // 4) % 2
    if pattern == "Striped":
        pixels[bars == 1] = 240
    elif pattern == "Checked":
        pixels[(bars[:, None] + bars[None, :]) % 2 == 1] = 240
    return Image.fromarray(np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8))
