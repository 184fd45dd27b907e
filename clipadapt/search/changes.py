"""What additions and removals make of a version, in one folder or in shards, and how two versions differ.

    added(now, items, vectors, replace=True)       the version with them, and how many they replace
    removed(now, ["17"])
    differing(then, now)                           items that were added, replaced, removed

What an index accepts, and what it says of it, is decided by the whole before a shard sees any of it: which ids are
there, and which types columns have from then on. Knows nothing of files.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from clipadapt.search.backend import Changed
from clipadapt.search.compaction import grown
from clipadapt.search.contents import Contents, goes_on
from clipadapt.search.items import Items
from clipadapt.search.shards import Sharded, Version, shards_of, with_arrival


def added(now: Version, more: Items, vectors: Float[np.ndarray, "new dim"], *, replace: bool) -> tuple[Version, int]:
    """A version with new items, and how many items they took the place of.

    Raises:
        UsageError, CatalogueError: see Items.extended.
    """
    ids = more.ids()
    there = now.items.present(ids) if replace else []
    if not ids:
        return now, 0
    items = now.items.without(now.items.live_rows(there)) if there else now.items
    whole = items.extended(more)
    if isinstance(now, Contents):
        return grown(now, whole, vectors), len(there)
    table = whole.part(items.rows, whole.rows)  # in the types that the whole has, which no shard knows by itself
    new = with_arrival(Items(table, np.zeros(len(table), bool)), int(now.came.max(initial=-1)) + 1)
    number, gone = shards_of(ids, len(now.shards)), _by_shard(now, there)
    edited = {}
    for place, (inside, shard) in enumerate(now.shards.items()):
        rows = np.flatnonzero(number == place)
        items = _without(shard, gone[place])
        if len(rows):
            edited[inside] = grown(shard, items.followed_by(new.taken(rows), items.removed), vectors[rows])
    return now.replaced(edited), len(there)


def removed(now: Version, ids: Sequence[str]) -> Version:
    """A version without some items.

    Raises:
        UsageError: names those that are not there.
    """
    now.items.live_rows(ids)
    parts = [list(ids)] if isinstance(now, Contents) else _by_shard(now, ids)
    edited = {
        inside: Contents(shard.segments, _without(shard, gone), shard.meta, shard.texts)
        for (inside, shard), gone in zip(now.shards.items(), parts, strict=True)
        if gone
    }
    return now.replaced(edited) if edited else now


def differing(then: Version, now: Version) -> Changed | None:
    """Items that differ between two versions, as far as vector ids say so; None: not known, compare everything."""
    if then.shards.keys() != now.shards.keys():
        return None
    found = [_differing(then.shards[inside], shard) for inside, shard in now.shards.items()]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return Changed([item for one in known for item in one.there], sorted(item for one in known for item in one.gone))


def _differing(then: Contents, now: Contents) -> Changed | None:
    rows = then.items.rows
    if now.meta.generation != then.meta.generation or now.items.rows < rows:
        return None
    if now.base is not then.base and not goes_on(then, now):
        return None
    new = np.arange(rows, now.items.rows)
    there = now.items.names(new[~now.items.removed[rows:]])
    gone = now.items.names(np.flatnonzero(now.items.removed[:rows] & ~then.items.removed))
    return Changed(there, sorted(set(gone).difference(there)))


def _by_shard(now: Sharded, ids: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = [[] for _ in now.shards]
    for item, number in zip(ids, shards_of(ids, len(parts)).tolist(), strict=True):
        parts[number].append(item)
    return parts


def _without(shard: Contents, ids: Sequence[str]) -> Items:
    return shard.items.without(shard.items.live_rows(ids)) if ids else shard.items
