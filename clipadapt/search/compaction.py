"""What keeps an index quick while it changes: small segments join as they come, larger ones get an inverted list.

    grown(now, items, vectors)                  an addition: one exact segment more, joined with others of its size
    plan(now)                                   "seal" the exact segments, "rebuild" everything, or nothing
    sealed(now), rebuilt(now, tuned, points)    the work, done while others search and change
    install(work)(later)                        its result in the version that is current by then

Additions are searched exactly in at most a few thousand rows; `seal` puts them into one segment of quantised cells,
trained on them (again when it has doubled) and measured. Vector ids stay until `rebuild`, which leaves removed rows
out and numbers anew; it is due when a quarter of the rows came later, or were removed. Rows and removals that came
while the work was done are carried over. Knows nothing of files.
"""

import secrets
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from clipadapt.errors import StoreError
from clipadapt.search import meta as index_json
from clipadapt.search.contents import BASE, Contents, Segment, base_segment, joined
from clipadapt.search.engine import FAISS, Engine, SearchParams
from clipadapt.search.factory import cells_of, choose_factory, keeps_halves
from clipadapt.search.ids import IdTable
from clipadapt.search.items import ID, VECTOR, Items
from clipadapt.search.meta import Meta
from clipadapt.search.recall import KINDS, Kind
from clipadapt.search.strings import each_text
from clipadapt.search.tune import choose_params, remeasure

EXACT = 4_096
"""Rows that are searched exactly before sealing them is due: 2 ms of a search at 512 dimensions."""
_JOINED = 8_192
"""Rows of the largest exact segment that an addition writes again."""
_SHARE = 0.25
"""Of rows that came later, or were removed, from which everything is rebuilt."""
_PER_CELL = 64
_DOUBLED = 2

Plan = Literal["seal", "rebuild"]


class Work(NamedTuple):
    """What a compaction made of one version, and what it must know to put it into a later one."""

    generation: str
    rows: int
    """Of that version."""
    segment: Segment
    """The new base, or the rows after the base."""
    meta: Meta | None
    """Of a rebuilt index; None: the rows after the base were sealed."""
    live: Bool[np.ndarray, " rows"]
    """Which rows a rebuilt base has."""


def grown(now: Contents, items: Items, vectors: Float[np.ndarray, "new dim"]) -> Contents:
    """An index to which the last rows of `items` were added; nothing but exact segments of their size is made anew."""
    kept = list(now.segments)
    start, parts = items.rows - len(vectors), [vectors]
    while kept and _absorbs(kept[-1], items.rows - start):
        last = kept.pop()
        start -= last.engine.count
        parts.insert(0, np.asarray(last.engine.all_vectors()))
    whole = np.concatenate(parts)
    if kept:
        return Contents((*kept, exact_segment(whole, items.part(start, items.rows))), items, now.meta, now.texts)
    engine = Engine.build(whole, "Flat")
    measured = remeasure(engine, "Flat", now.meta.search_params, now.texts, np.flatnonzero(~items.removed))
    meta = now.meta.model_copy(update={"measured": measured, "memory_bytes": engine.memory(), "faiss": FAISS})
    return Contents(
        (base_segment(engine, Items(items.part(0, items.rows), items.removed), meta),), items, meta, now.texts
    )


def exact_segment(vectors: Float[np.ndarray, "rows dim"], table: pa.Table) -> Segment:
    """Rows that are searched one by one."""
    params: dict[Kind, SearchParams] = dict.fromkeys(KINDS, SearchParams(1, 1))
    about = index_json.Segment(
        name=secrets.token_hex(4), rows=len(vectors), factory="Flat", trained_on=0, search_params=params,
        measured={}, memory_bytes=vectors.shape[1] * len(vectors) * 4,
    )  # fmt: skip
    return Segment(about, Engine.build(vectors, "Flat"), table, IdTable.of(each_text(table.column(ID))))


def plan(now: Contents) -> Plan | None:
    """What should be done, if anything."""
    rows, removed = now.items.rows, int(now.items.removed.sum())
    later = rows - now.base.engine.count
    if removed > _SHARE * rows or later > max(EXACT, _SHARE * now.base.engine.count):
        return "rebuild"
    waiting = sum(one.engine.count for one in now.segments[1:] if one.about.factory == "Flat")
    return "seal" if waiting > EXACT else None


def factory_of(meta: Meta, rows: int) -> str:
    """What a rebuild uses: what suits so many rows where that was used before, else what was."""
    half = keeps_halves(meta.factory)
    chosen = choose_factory(rows, meta.dim, half=half)
    usual = meta.factory == choose_factory(meta.trained_on, meta.dim, half=half)
    fits = meta.factory == "Flat" or (rows >= EXACT and cells_of(meta.factory) * _PER_CELL <= rows)
    return chosen if usual or not fits else meta.factory


def sealed(now: Contents, extend: Callable[[Segment], Engine], seed: int = 0) -> Work:
    """The rows after the base in one segment with cells.

    Args:
        extend: a segment's engine, in memory and to be added to.
    """
    start, later = now.base.engine.count, now.segments[1:]
    rows = np.arange(start, now.items.rows)
    first = later[0]
    if first.about.factory != "Flat" and len(rows) <= _DOUBLED * first.about.trained_on:
        engine, factory, trained_on = extend(first), first.about.factory, first.about.trained_on
        engine.add(now.engine.vectors(rows[engine.count :]))
        live = np.flatnonzero(~now.items.removed[start:])
        params, measured = (
            first.about.search_params,
            remeasure(engine, factory, first.about.search_params, now.texts, live),
        )
        memory = engine.memory()
    else:
        factory, trained_on = _small_factory(len(rows), now.meta.dim), len(rows)
        tuned = choose_params(
            Engine.build(now.engine.vectors(rows), factory, seed), factory, now.meta.target, now.texts, seed
        )
        engine, params, measured, memory = tuned.engine, tuned.search_params, tuned.measured, tuned.memory
    about = index_json.Segment(
        name=secrets.token_hex(4), rows=len(rows), factory=factory, trained_on=trained_on, faiss=FAISS,
        search_params=params, measured=measured, memory_bytes=memory,
    )  # fmt: skip
    table = now.items.part(start, now.items.rows)
    segment = Segment(about, engine, table, IdTable.of(each_text(table.column(ID))))
    return Work(now.meta.generation, now.items.rows, segment, None, np.ones(now.items.rows, bool))


def rebuilt(now: Contents, engine: Engine, meta: Meta) -> Work:
    """Everything that was not removed as a new base; `engine` holds those rows' vectors, in their order."""
    meta = meta.model_copy(update={"generation": secrets.token_hex(8)})
    segment = base_segment(engine, now.items.compacted(), meta)
    return Work(now.meta.generation, now.items.rows, segment, meta, ~now.items.removed)


def install(work: Work) -> Callable[[Contents], Contents]:
    """An edit that puts the work into the version that is current by then.

    The edit raises:
        StoreError: that version does not go on from the one that the work was done on.
    """

    def edit(now: Contents) -> Contents:
        if now.meta.generation != work.generation or now.items.rows < work.rows:
            raise StoreError("the index was rebuilt, or a change taken back, while it was compacted; compact it again")
        new = np.arange(work.rows, now.items.rows)
        vectors, table = now.engine.vectors(new), now.items.part(work.rows, now.items.rows)
        if work.meta is None:
            tail = [exact_segment(vectors, table)] if len(new) else []
            return Contents((now.base, work.segment, *tail), now.items, now.meta, now.texts)
        first = pa.array(np.arange(len(new)) + work.segment.engine.count)
        tail = [exact_segment(vectors, table.set_column(0, pa.field(VECTOR, pa.int64()), first))] if len(new) else []
        removed = np.concatenate([now.items.removed[: work.rows][work.live], now.items.removed[work.rows :]])
        segments = (work.segment, *tail)
        return Contents(segments, joined(segments, np.flatnonzero(removed)), work.meta, now.texts)

    return edit


def _absorbs(segment: Segment, rows: int) -> bool:
    """Whether an addition of so many rows is written together with the exact segment before it."""
    size = segment.engine.count
    return (
        segment.about.factory == "Flat" and size < 2 * rows and (size + rows <= _JOINED or segment.about.name == BASE)
    )


def _small_factory(rows: int, dim: int) -> str:
    """For some thousands of rows, of which a scan would take longer than the base does."""
    usual = choose_factory(max(rows, 20_000), dim)
    cells = 2 ** int(np.log2(max(rows // _PER_CELL, 1)))
    return usual if cells >= cells_of(usual) else f"IVF{cells},{usual.partition(',')[2]}"
