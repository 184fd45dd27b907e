"""shards.json: which shards a catalogue has, and by which digests each is known again.

    index = Index.load(Folder("s3://bucket/shop"))
    index.splits["train"].shards[0]      # data/train-00000-of-00123.parquet, its rows, bytes, sha256

It is written last, so where it stands the shards are whole. Nothing here opens a shard.
"""

import json
from typing import Any, NamedTuple

from clipadapt.data.sharded.folder import Folder
from clipadapt.errors import CatalogueError, UsageError

INDEX, CLAIM = "shards.json", "writing.json"
SCHEMA_VERSION = 1


class Shard(NamedTuple):
    """A file and what it must be; `footer`: sha256 of the end of a Parquet file, which says where its pages lie."""

    name: str
    rows: int
    bytes: int
    sha256: str
    footer: str
    made_from: str = ""
    """sha256 of the rows of the source, by which an interrupted job knows what it need not write again."""
    broken: tuple[str, ...] = ()
    """Items left out, a line each."""


class Split(NamedTuple):
    """The shards of one split."""

    rows: Shard
    """The row index."""
    shards: tuple[Shard, ...]


class Index(NamedTuple):
    """What shards.json says."""

    plan: dict[str, Any]
    """What was asked for: image (the column of pictures), policy (of pictures that were resized), splits, ..."""
    splits: dict[str, Split]
    made_by: dict[str, str]
    """Versions, for the record."""

    @property
    def image(self) -> str:
        return self.plan["image"]

    @property
    def policy(self) -> dict[str, Any] | None:
        return self.plan["policy"]

    @classmethod
    def load(cls, folder: Folder) -> "Index":
        """Raises:
        CatalogueError: no shards there, shards that are not finished, or of another version.
        """
        text = folder.read(INDEX)
        if text is None:
            unfinished = folder.read(CLAIM) is not None
            raise CatalogueError(
                f"{folder.name}: "
                + ("its shards are not all written; run the same `clipadapt data prepare --shards` again"
                   if unfinished else
                   f"no {INDEX} there, so no shards; write them with: clipadapt data prepare SOURCE --shards "
                   f"{folder.name}")
            )  # fmt: skip
        try:
            found = json.loads(text)
            if found["schema_version"] != SCHEMA_VERSION:
                raise ValueError(f"of form {found['schema_version']}, this version reads {SCHEMA_VERSION}")
            splits = {
                name: Split(shard_of(split["rows"]), tuple(map(shard_of, split["shards"])))
                for name, split in found["splits"].items()
            }
            return cls(found["plan"], splits, found["made_by"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CatalogueError(f"{folder.place(INDEX)}: cannot be read ({error}); write the shards again") from error

    def write(self, folder: Folder) -> None:
        """Raises:
        StoreError: it cannot be written.
        """
        splits = {
            name: {"rows": plain(split.rows), "shards": [plain(shard) for shard in split.shards]}
            for name, split in self.splits.items()
        }
        document = {"schema_version": SCHEMA_VERSION, "plan": self.plan, "made_by": self.made_by, "splits": splits}
        folder.write(INDEX, json.dumps(document, indent=1).encode() + b"\n")


def refuse_other_plan(plan: dict[str, Any], there: dict[str, Any], folder: Folder) -> None:
    """Whether shards that are there were written as they are asked for now.

    Raises:
        UsageError: they were not; names what differs.
    """
    differing = [f"{key} {there.get(key)!r}, not {value!r}" for key, value in plan.items() if there.get(key) != value]
    if differing:
        raise UsageError(
            f"{folder.name}: holds shards that were written otherwise ({'; '.join(differing)}); name another folder, "
            "or remove that one"
        )


def plain(shard: Shard) -> dict[str, Any]:
    """For JSON; what is empty is left out."""
    return {key: value for key, value in shard._asdict().items() if value not in ("", ())}


def shard_of(entry: dict[str, Any]) -> Shard:
    """What `plain` gave."""
    return Shard(**{**entry, "broken": tuple(entry.get("broken", ()))})
