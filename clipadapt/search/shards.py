"""An index whose items are divided among shards by a hash of their ids: what each holds, and all of them as one.

    VERSION/index.json                   of the whole (meta.py): what it is bound to, the hash, a line for each shard
    VERSION/shards/0/index.faiss, ...    what contents.py says of a version, of the items of one shard
    VERSION/shards/1/...

Shards lie in the versions of one store, and not in stores of their own: so one pointer publishes all of them, takes
them back and is locked for all of them, and readers never see a change in one shard and not yet in another. Files of
shards that a change leaves alone are shared with the version before.

Rows of the whole are those of the first shard, then those of the second. Beside the columns that people know, each
shard keeps when an item came among all of them, by which equal scores are ordered: as in an index of one folder.
Knows nothing of searching.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from clipadapt.errors import StoreError, UsageError
from clipadapt.search import contents as files
from clipadapt.search.contents import Contents, Segment
from clipadapt.search.engine import SearchParams
from clipadapt.search.ids import IdTable, hashes
from clipadapt.search.items import Items
from clipadapt.search.meta import Measured, Meta, Shard, Shards
from clipadapt.search.recall import KINDS, Kind
from clipadapt.search.segments import Divided

MOST = 256
"""Shards of an index: each is a thread's work and eight files."""
CAME = "#came"
"""Column of a shard's items: when each came among those of all shards."""
_COMPARED = 64
"""Items of each shard whose hash is compared with its number when it is opened."""


class Sharded:
    """One version of an index, as Contents is of an index in one folder."""

    def __init__(self, shards: Mapping[str, Contents], meta: Meta, before: "Sharded | None" = None) -> None:
        """Of shards by their folders in the version, in the order of their numbers; what it has of `before` is kept."""
        self.shards = shards
        parts = list(shards.values())
        same = before is not None and all(
            one.items.table is other.items.table for one, other in zip(parts, before.shards.values(), strict=True)
        )
        removed = np.concatenate([one.items.removed for one in parts])
        self.items = before.items.marked(removed) if before is not None and same else _joined(parts)
        self.meta = _summed(meta, shards)
        self.texts: Float[np.ndarray, "texts dim"] = parts[0].texts
        self.came = np.concatenate([one.items.table.column(CAME).to_numpy() for one in parts])
        self.engine = Divided([one.engine for one in parts], self.came)

    def replaced(self, shards: Mapping[str, Contents]) -> "Sharded":
        """With other contents of some shards."""
        return Sharded({**self.shards, **shards}, self.meta, self)

    def stated(self, **meta: str | None) -> "Sharded":
        """The same with other lines of index.json; `generation` is each shard's, too."""
        inner = {key: value for key, value in meta.items() if key == "generation"}
        shards = {folder: one.stated(**inner) for folder, one in self.shards.items()} if inner else self.shards
        return Sharded(shards, self.meta.model_copy(update=meta), self)


Version = Contents | Sharded


def folders(count: int) -> list[str]:
    """Of shards, in a version.

    Raises:
        UsageError: too few or too many.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} shards: an index has 1 to {MOST} of them")
    return [f"shards/{number}/" for number in range(count)]


def shards_of(ids: Sequence[str], count: int) -> Int[np.ndarray, " ids"]:
    """The number of each item's shard; see meta.py for the hash."""
    return (hashes(ids) % np.uint64(count)).astype(np.int64)


def read(folder: Path, *, mapped: bool, known: Callable[[str, str], Segment | None] = lambda _, __: None) -> Version:
    """A version, from its folder.

    Args:
        known: folder of a shard and name -> that segment, where it is open already.

    Raises:
        StoreError: a file that is missing, cannot be read, or does not fit the others; a shard of another index.
    """
    meta = Meta.read(folder / files.META)
    if meta.shards is None:
        return files.read(folder, mapped=mapped, known=lambda name: known("", name))
    shards = {}
    for number, inside in enumerate(folders(len(meta.shards.parts))):
        shard = files.read(folder / inside, mapped=mapped, known=lambda name, inside=inside: known(inside, name))
        _refuse_other(shard, folder / inside, meta, number)
        shards[inside] = shard
    return Sharded(shards, meta)


def write(folder: Path, version: Version, *, shared: Callable[[str], bool] = lambda _: False) -> None:
    """Into an empty folder.

    Args:
        shared: called with a file's name; puts it there from where it lies already, or says False.

    Raises:
        OSError: the disk refuses.
    """
    for inside, shard in version.shards.items():
        (folder / inside).mkdir(parents=True, exist_ok=True)
        files.write(folder / inside, shard, shared=lambda name, inside=inside: shared(inside + name))
    if isinstance(version, Sharded):
        (folder / files.META).write_text(version.meta.to_json(), encoding="utf-8")


def with_arrival(items: Items, first: int = 0) -> Items:
    """Items with the column that says when they came.

    Raises:
        UsageError: they have such a column already.
    """
    if CAME in items.table.column_names:
        raise UsageError(f"the items have a column {CAME!r}, which shards keep their order in; give it another name")
    came = pa.array(np.arange(first, first + items.rows, dtype=np.int64))
    return Items(items.table.append_column(CAME, came), items.removed)


def _joined(shards: list[Contents]) -> Items:
    plain = [Items(one.items.table.drop_columns([CAME]), one.items.removed, one.items.lookups()) for one in shards]
    items = plain[0]
    for more in plain[1:]:
        items = items.followed_by(more, items.removed)
    return items


def _summed(meta: Meta, shards: Mapping[str, Contents]) -> Meta:
    """What index.json says of the whole."""
    metas = [one.meta for one in shards.values()]
    parts = [
        Shard(
            folder=folder.rstrip("/"), items=len(one.items), vectors=one.items.rows, factory=one.meta.factory,
            search_params=one.meta.search_params, measured=one.meta.measured, memory_bytes=one.meta.memory,
            later=one.items.rows - one.base.engine.count,
        )
        for folder, one in shards.items()
    ]  # fmt: skip
    largest = max(shards.values(), key=lambda one: one.items.rows)
    sums = {
        "factory": " or ".join(dict.fromkeys(one.factory for one in metas)),
        "trained_on": sum(one.trained_on for one in metas),
        "memory_bytes": sum(one.memory for one in metas),
        "target": metas[0].target,
        "faiss": metas[0].faiss,
        "search_params": {kind: _widest([one.search_params[kind] for one in metas]) for kind in KINDS},
        "measured": {kind: found for kind in KINDS if (found := _least(kind, metas)) is not None},
    }
    return meta.model_copy(update=sums | {"curve": largest.meta.curve, "segments": [], "shards": Shards(parts=parts)})


def _widest(params: list[SearchParams]) -> SearchParams:
    return SearchParams(max(one.probe for one in params), max(one.refine for one in params))


def _least(kind: Kind, metas: list[Meta]) -> Measured | None:
    """The least recall of any shard, which is what the whole has at least."""
    measured = [one.measured[kind] for one in metas if kind in one.measured]
    if not measured:
        return None
    worst = min(measured, key=lambda one: one.recall)
    return worst.model_copy(update={"vectors": sum(one.vectors for one in measured)})


def _refuse_other(shard: Contents, folder: Path, meta: Meta, number: int) -> None:
    """Whether a folder holds that shard of that index."""
    assert meta.shards is not None
    fault, count = None, len(meta.shards.parts)
    if shard.meta.image_space != meta.image_space or shard.meta.dim != meta.dim:
        fault = (
            f"holds {shard.meta.dim} dimensions of {shard.meta.image_space}, and the index {meta.dim} of "
            f"{meta.image_space}"
        )
    elif CAME not in shard.items.table.column_names:
        fault = f"has no column {CAME!r}, so it is no shard"
    elif any((_some(table) % np.uint64(count) != number).any() for _, table in shard.items.lookups()):
        fault = f"holds items that belong in another shard than number {number} of {count}"
    if fault is not None:
        raise StoreError(f"{folder}: {fault}; put the shard back that was there, roll back, or build the index again")


def _some(table: IdTable) -> np.ndarray:
    every = table.content[0]
    return every[:: max(1, len(every) // _COMPARED)]
