"""The shards of a job that embeds a catalogue: each there whole or not at all, and known by its digest.

    OUT.partial/plan.json       what makes two jobs the same job
                000000.npy      vectors of the first pictures, broken ones left out (vector_parts.py; or .parquet)
                000000.json     its sha256, the seconds it took, and each broken picture; written last, so it says that
                                the shard is whole

Who makes which shard is the caller's business: any number of processes, on any number of machines that share the
folder, for a shard that is made twice is the same both times. Nothing here encodes.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
from jaxtyping import Float

from clipadapt.atomic import Guard, atomic_write, sha256_file
from clipadapt.errors import StoreError, UsageError, listing
from clipadapt.manifest import Entry, share
from clipadapt.search.vector_parts import Form, encoded
from clipadapt.search.vectors import Broken

log = logging.getLogger(__name__)

PLAN = "plan.json"
_SHOWN = 5


class Note(NamedTuple):
    """What is kept of a shard beside its vectors."""

    bytes: int
    sha256: str
    rows: int
    """Vectors: its pictures but the broken ones."""
    seconds: float
    """That one worker took."""
    broken: tuple[Broken, ...]

    @property
    def entry(self) -> Entry:
        """Its file as a manifest lists it."""
        return {"bytes": self.bytes, "sha256": self.sha256}


class Shards:
    """Those of one job."""

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        """`plan`: with `pictures`, `shard`, the pictures of each shard but the last, and `form` and `dtype`."""
        self.folder, self.plan = folder, plan
        self.form = Form(plan["form"], plan["dtype"])
        self._pictures, self._size = int(plan["pictures"]), int(plan["shard"])

    def begin(self) -> None:
        """Writes the plan, or compares it with the one that is there.

        A folder that another job, which has ended, removes at this moment is made anew.

        Raises:
            UsageError: what is there is of another job.
            StoreError: the disk refuses.
        """
        while not self._begun():
            pass

    def _begun(self) -> bool:
        """Whether there is a plan now, and it is ours; False: the folder was removed meanwhile."""
        file = self.folder / PLAN
        try:
            with Guard(file):
                self.folder.mkdir(parents=True, exist_ok=True)
                if not file.exists():
                    with filelock.FileLock(self.folder / "lock"):  # of two jobs that begin at once one is refused
                        if not file.exists():
                            atomic_write(file, json.dumps(dict(self.plan), indent=1))
                            return True
        except StoreError as error:
            if self.folder.exists() or not isinstance(error.__cause__, FileNotFoundError):
                raise
            return False
        try:
            refuse_other(self.plan, self.folder, file)
        except StoreError:
            if file.exists():
                raise
            return False
        return True

    def __len__(self) -> int:
        return -(-self._pictures // self._size)

    def rows(self, number: int) -> range:
        """Of the catalogue."""
        return range(number * self._size, min((number + 1) * self._size, self._pictures))

    def pictures(self, numbers: Sequence[int]) -> int:
        """How many pictures some shards are of."""
        return sum(len(self.rows(number)) for number in numbers)

    def missing(self) -> list[int]:
        """Those that are not there; a half of one counts as none."""
        return [
            number
            for number in range(len(self))
            if not (self.file(number).exists() and self._about(number).exists())
        ]  # fmt: skip

    def file(self, number: int) -> Path:
        """Its vectors."""
        return self.folder / f"{number:06d}{self.form.suffix}"

    def write(
        self, number: int, vectors: Float[np.ndarray, "kept dim"], ids: Sequence[str], broken: Sequence[Broken],
        seconds: float,
    ) -> None:  # fmt: skip
        """Vectors and ids of the pictures that are not broken, and the others.

        Raises:
            StoreError: the disk refuses; the shard is then missing.
        """
        content = encoded(vectors, ids, self.form)
        atomic_write(self.file(number), content)
        digest = hashlib.sha256(content).hexdigest()
        self._keep(number, Note(len(content), digest, len(vectors), round(seconds, 3), tuple(broken)))

    def adopt(self, number: int, file: Path, note: Note) -> None:
        """A shard that lies elsewhere already, without a copy where the file system can."""
        if not self.file(number).exists():
            share(file, self.file(number), note.entry)
        self._keep(number, note)

    def notes(self) -> list[Note]:
        """What is kept of every shard, whose files are as they were written.

        Raises:
            StoreError: some are missing, or were changed after they were written; all of those count as missing from
                then on, so that the job makes them again.
        """
        found, faults = [], []
        for number in range(len(self)):
            try:
                found.append(self._checked(number))
            except (OSError, ValueError, KeyError, TypeError) as error:
                faults.append(f"{self.file(number)}: {_reason(error)}")
                self._about(number).unlink(missing_ok=True)
        if faults:
            raise StoreError(
                f"{len(faults)} shard(s) are missing or cannot be used:{listing(faults, _SHOWN)}\n"
                "run the same command again, which makes these anew"
            )
        return found

    def _checked(self, number: int) -> Note:
        found = json.loads(self._about(number).read_text(encoding="utf-8"))
        note = Note(**found | {"broken": tuple(Broken(**one) for one in found["broken"])})
        if sha256_file(self.file(number)) != note.sha256:
            raise ValueError("another sha256 than when it was written")
        return note

    def _about(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"

    def _keep(self, number: int, note: Note) -> None:
        found = note._asdict() | {"broken": [one._asdict() for one in note.broken]}
        atomic_write(self._about(number), json.dumps(found))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, KeyError | TypeError):
        return "what is kept of it is of another version of clipadapt"
    return str(error)


_BEFORE = {"form": "whole", "dtype": "float32"}
"""What a plan without these keys meant."""


def refuse_other(plan: Mapping[str, Any], folder: Path, file: Path) -> None:
    """Whether what a file says of a job is what a plan says.

    Raises:
        UsageError: it is not; names what differs.
        StoreError: the file cannot be read.
    """
    try:
        there = _BEFORE | json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise StoreError(f"{file}: cannot be read ({error}); remove {folder}, and embed again") from error
    differing = [f"{key} {there.get(key)!r}, not {value!r}" for key, value in plan.items() if there.get(key) != value]
    if differing:
        raise UsageError(
            f"{folder}: holds vectors of another job ({'; '.join(differing)}); "
            "name another --out, or remove that folder"
        )
