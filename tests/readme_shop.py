"""A shop as shops keep it, in three layouts: its columns are photo, sku, title, price, colour and pattern.

    write_csv(folder)        items.csv beside a folder of pictures
    write_json_lines(folder) items.jsonl beside a folder of pictures
    write_parquet(folder)    one Parquet file with the encoded pictures inside

Two pictures to a sku, no split of its own, and one cell in ten empty: nobody knows.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from data_factory import COLOURS, PATTERNS, paint

ITEMS = 240


def rows(items: int = ITEMS) -> list[dict[str, Any]]:
    """The table, but for what `photo` holds: here a path."""
    made = []
    for item in range(items):
        product = np.random.default_rng(item // 2)
        colour, pattern = str(product.choice(list(COLOURS))), str(product.choice(PATTERNS))
        made.append(
            {
                "photo": f"photos/{item:04d}.png",
                "sku": f"A-{item // 2:04d}",
                "title": f"{pattern} shirt in {colour.lower()}, no. {item // 2}",
                "price": f"{product.integers(900, 9900) / 100:.2f}",
                "colour": colour,
                "pattern": pattern if item % 10 else "",
            }
        )
    return made


def encoded(row: dict[str, Any]) -> bytes:
    """The picture of a row."""
    buffer = io.BytesIO()
    paint(row["colour"], row["pattern"], 32, int(Path(row["photo"]).stem)).save(buffer, "png")
    return buffer.getvalue()


def write_csv(folder: Path) -> None:
    table = _with_pictures(folder)
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def write_json_lines(folder: Path) -> None:
    lines = [json.dumps(row | {"price": float(row["price"])}) for row in _with_pictures(folder)]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_parquet(folder: Path) -> None:
    folder.mkdir(parents=True)
    made = rows()
    columns: dict[str, Any] = {name: [row[name] for row in made] for name in made[0] if name != "photo"}
    columns["price"] = [float(price) for price in columns["price"]]
    pictures = [{"bytes": encoded(row), "path": Path(row["photo"]).name} for row in made]
    pq.write_table(pa.table({"photo": pictures, **columns}), folder / "items.parquet")


def _with_pictures(folder: Path) -> list[dict[str, Any]]:
    made = rows()
    (folder / "photos").mkdir(parents=True)
    for row in made:
        (folder / row["photo"]).write_bytes(encoded(row))
    return made
