"""The shards of a job that embeds a catalogue: each there whole or not at all, and known by its digest.

    OUT.partial/plan.json       what makes two jobs the same job
                000000.npy      vectors of the first pictures, float32; NaN for a broken one
                000000.json     its sha256, and each broken picture; written last, so it says that the shard is whole

Who makes which shard is the caller's business: any number of processes, on any number of machines that share the
folder, for a shard that is made twice is the same both times. Nothing here encodes.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clipadapt.atomic import atomic_write
from clipadapt.errors import StoreError, UsageError
from clipadapt.search.vectors import Broken

log = logging.getLogger(__name__)

PLAN = "plan.json"


class Shards:
    """Those of one job."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """`plan`: with `pictures`, and `shard`, the pictures of each shard but the last."""
        self.folder, self.plan = folder, plan
        self._pictures, self._size = int(plan["pictures"]), int(plan["shard"])

    def begin(self) -> None:
        """Writes the plan, or compares it with the one that is there.

        Raises:
            UsageError: what is there is of another job.
            StoreError: the disk refuses.
        """
        if (self.folder / PLAN).exists():
            refuse_other(self.plan, self.folder, self.folder / PLAN)
        else:
            atomic_write(self.folder / PLAN, json.dumps(dict(self.plan), indent=1))

    def __len__(self) -> int:
        return -(-self._pictures // self._size)

    def rows(self, number: int) -> range:
        """Of the catalogue."""
        return range(number * self._size, min((number + 1) * self._size, self._pictures))

    def missing(self) -> list[int]:
        """Those that are not there; a half of one counts as none."""
        return [number for number in range(len(self)) if not all(path.exists() for path in self._files(number))]

    def write(self, number: int, vectors: Float[np.ndarray, "rows dim"], broken: Sequence[Broken]) -> None:
        """Raises:
        StoreError: the disk refuses; the shard is then missing.
        """
        content = io.BytesIO()
        np.save(content, vectors, allow_pickle=False)
        data, about = self._files(number)
        atomic_write(data, content.getvalue())
        found = {"sha256": hashlib.sha256(content.getvalue()).hexdigest(), "broken": [one._asdict() for one in broken]}
        atomic_write(about, json.dumps(found))

    def read(self, number: int) -> tuple[Float[np.ndarray, "rows dim"], list[Broken]]:
        """Vectors and broken pictures.

        Raises:
            StoreError: it is missing, or was changed after it was written; a changed one counts as missing from then
                on, so that the job makes it again.
        """
        data, about = self._files(number)
        try:
            content, found = data.read_bytes(), json.loads(about.read_text(encoding="utf-8"))
            if hashlib.sha256(content).hexdigest() != found["sha256"]:
                raise ValueError("another sha256 than when it was written")
            return np.load(io.BytesIO(content), allow_pickle=False), [Broken(**one) for one in found["broken"]]
        except FileNotFoundError as error:
            raise StoreError(f"{error.filename}: a shard is missing; run the same command again") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            about.unlink(missing_ok=True)
            raise StoreError(f"{data}: {error}; run the same command again, which makes this shard anew") from error

    def _files(self, number: int) -> tuple[Path, Path]:
        return self.folder / f"{number:06d}.npy", self.folder / f"{number:06d}.json"


def refuse_other(plan: Mapping[str, Any], folder: Path, file: Path) -> None:
    """Whether what a file says of a job is what a plan says.

    Raises:
        UsageError: it is not; names what differs.
    """
    there = json.loads(file.read_text(encoding="utf-8"))
    differing = [f"{key} {there.get(key)!r}, not {value!r}" for key, value in plan.items() if there.get(key) != value]
    if differing:
        raise UsageError(
            f"{folder}: holds vectors of another job ({'; '.join(differing)}); "
            "name another --out, or remove that folder"
        )
