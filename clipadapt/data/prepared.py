"""A prepared cache: pictures decoded and resized once, memory-mapped, for every epoch and evaluation after.

    DIR/prepared.json          policy (size, resize mode, ...), splits, quality against the originals, images/s
    DIR/items.parquet          split, id, digest of the file, stamp, picture (row over all shards, -1: broken)
    DIR/pictures-00000.npy     uint8 [n, size, size, 3], equal pictures stored once

A cached picture is exactly what evaluation sees before normalisation, so evaluating from the cache changes nothing, bit
for bit. Training crops are cut from it instead of from the original: where originals are larger than the model's size,
crops lose detail, and the report says how much. size * size * 3 bytes a picture: 150 kB at 224 pixels.
A cache of another policy, or of files that have changed since, is refused. Nothing here knows of models.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8
from PIL import Image

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.decode import PREPARED, PixelPolicy, require_policy
from clipadapt.data.pictures import content_digest
from clipadapt.errors import CatalogueError, listing

SCHEMA_VERSION = 2
DESCRIPTION = "prepared.json"
ITEMS = "items.parquet"
_SHOWN = 5


class PreparedPictures:
    """A cache on disk, opened.

    cache = PreparedPictures.open("runs/cache")
    catalogue = cache.attach(catalogue)       # catalogue.picture(i) now reads the cache
    cache.require(encoder.preprocess)         # or an error that says what differs
    """

    def __init__(self, path: Path, description: dict[str, Any]) -> None:
        self.path = path
        self.description = description
        self.policy: dict[str, Any] = description["policy"]
        self._shards: list[np.ndarray] | None = None

    @classmethod
    def open(cls, path: str | Path) -> "PreparedPictures":
        """Opens a cache; pictures are mapped when first asked for.

        Raises:
            CatalogueError: no cache there, or one written by another version.
        """
        folder = Path(path).expanduser()
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogueError(
                f"{folder}: no prepared cache ({error}); make one with: clipadapt data prepare SOURCE --out {folder}"
            ) from error
        if description.get("schema_version") != SCHEMA_VERSION:
            raise CatalogueError(
                f"{folder}: a cache of form {description.get('schema_version')}, this version reads {SCHEMA_VERSION}; "
                "delete it and run `clipadapt data prepare` again"
            )
        return cls(folder, description)

    def __getstate__(self) -> dict[str, Any]:
        """Without the maps, which a process that unpickles opens for itself."""
        return self.__dict__ | {"_shards": None}

    def pixels(self, row: int) -> UInt8[np.ndarray, "size size 3"]:
        """One picture, as a view of the file."""
        if self._shards is None:
            self._shards = [np.load(self.path / name, mmap_mode="r") for name in self.description["shards"]]
        shard, place = divmod(row, self.description["shard_rows"])
        return self._shards[shard][place]

    def picture(self, row: int) -> Image.Image:
        """One picture, as a copy; marked, so that a tower of another policy refuses it instead of resizing it again."""
        image = Image.fromarray(self.pixels(row))
        image.info[PREPARED] = self.policy
        return image

    def require(self, preprocess: PixelPolicy) -> None:
        """Refuses a tower that wants other pixels than the cache holds.

        Raises:
            CatalogueError: another policy; every difference is named.
        """
        require_policy(self.policy, preprocess, self.path)

    def attach(self, catalogue: Catalogue) -> Catalogue:
        """The catalogue with its pictures taken from here; items whose picture was broken at preparation are left out.

        A file that was touched since then is read once and compared by digest.

        Raises:
            CatalogueError: items the cache does not hold, or whose picture has changed; the first few and the count.
        """
        made, wanted = self.description["decoding"], catalogue.decoding.describe()
        if made != wanted:
            raise CatalogueError(
                f"{self.path}: prepared with {made}, and this catalogue is decoded with {wanted}; prepare it again, or "
                "correct data.range and data.bands"
            )
        table = pq.read_table(self.path / ITEMS, filters=[("split", "=", catalogue.split)])
        digests, stamps, pictures = (table.column(name).to_pylist() for name in ("digest", "stamp", "picture"))
        known = {item: row for row, item in enumerate(table.column("id").to_pylist())}
        rows = np.full(len(catalogue), -1, dtype=np.int64)
        left_out: dict[int, str] = {}
        faults: list[str] = []
        for index, (item, stamp) in enumerate(zip(catalogue.ids, catalogue.pictures.stamps(), strict=True)):
            row = known.get(item)
            if row is None:
                faults.append(f"item {item!r}, {catalogue.place(index)}: not in the cache")
            elif stamp != stamps[row] and (
                not digests[row] or content_digest(catalogue.picture_bytes(index)) != digests[row]
            ):
                faults.append(f"item {item!r}, {catalogue.place(index)}: its picture has changed")
            elif pictures[row] < 0:
                left_out[index] = f"item {item!r}, {catalogue.place(index)}: broken when the cache was prepared"
            else:
                rows[index] = pictures[row]
        if faults:
            raise CatalogueError(
                f"{self.path}: this prepared cache is not of {catalogue.source} ({catalogue.split}) as it is now:"
                f"{listing(faults, _SHOWN)}\nrun `clipadapt data prepare` again into a new folder"
            )
        attached = catalogue.with_prepared(self, rows)
        return attached.without(left_out) if left_out else attached


class ShardWriter:
    """Appends pictures, equal ones once, and writes a shard whenever one is full; memory holds one shard."""

    def __init__(self, folder: Path, size: int, shard_bytes: int) -> None:
        self.rows = max(shard_bytes // (size * size * 3), 1)
        """Pictures per shard."""
        self.names: list[str] = []
        self._folder = folder
        self._buffer = np.empty((self.rows, size, size, 3), dtype=np.uint8)
        self._filled = 0
        self._known: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, digest: str, pixels: UInt8[np.ndarray, "size size 3"]) -> int:
        """The row of the picture with that digest, stored now if it was not."""
        if digest not in self._known:
            self._known[digest] = len(self._known)
            self._buffer[self._filled] = pixels
            self._filled += 1
            if self._filled == self.rows:
                self.flush()
        return self._known[digest]

    def flush(self) -> None:
        """Writes what waits; call it once more at the end."""
        if self._filled:
            self.names.append(f"pictures-{len(self.names):05d}.npy")
            np.save(self._folder / self.names[-1], self._buffer[: self._filled])
            self._filled = 0


def write_index(folder: Path, rows: Mapping[str, list[Any]], description: dict[str, Any]) -> None:
    """items.parquet and prepared.json."""
    pq.write_table(pa.table(dict(rows)), folder / ITEMS)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8")
