"""How the vectors of an index are put into the form that is searched: built, tuned and compacted, shard by shard.

    built(source, Form("auto", target, texts), about, folder)       contents of an index in one folder
    divided(source, lengths, 4, form, about, folder)                of one in shards, whose files go to a folder
    tuned(version, target, ...), compacted(shard, ...)              work that compaction.install puts into an index

One shard is in memory at a time. A shard is an index of its own, so it is trained and measured by itself: what each
finds of its own ten best, all find together. Knows nothing of versions.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from clipadapt.errors import UsageError
from clipadapt.search import compaction
from clipadapt.search.compaction import Work
from clipadapt.search.contents import Contents, Segment, base_segment, scaled, unit_lengths, write_segment
from clipadapt.search.engine import FAISS, Engine
from clipadapt.search.factory import check_factory, choose_factory, keeps_halves
from clipadapt.search.items import Items
from clipadapt.search.mapped import Rows
from clipadapt.search.meta import Meta, Target
from clipadapt.search.recall import AT, Point
from clipadapt.search.segments import Divided, Segments
from clipadapt.search.shards import Sharded, Version, folders, shards_of, with_arrival
from clipadapt.search.tune import Tuned, choose, choose_params
from clipadapt.search.vector_parts import Joined, Matrix
from clipadapt.search.vectors import Vectors

_TIMED = 64
"""Queries by which the latency of all shards together is judged."""


class Form(NamedTuple):
    """How an index is to be searched."""

    factory: str
    """`auto`: what suits so many vectors."""
    target: Target
    texts: Float[np.ndarray, "texts dim"]
    """Queries that recall is measured with."""
    seed: int = 0

    def suiting(self, count: int, vectors: Matrix) -> "Form":
        """With a factory for so many of the vectors in place of `auto`."""
        if self.factory != "auto":
            return self
        return self._replace(factory=choose_factory(count, vectors.shape[1], half=vectors.dtype == np.float16))


def built(source: Vectors, form: Form, about: Mapping[str, Any], folder: Path) -> Contents:
    """An index in one folder.

    Args:
        about: lines of its index.json.
        folder: on the disk of the index. Halves in parts lie there in one file for as long as they stand for themselves
            (engine.py), since recall is measured by taking some of them thousands of times.

    Raises:
        UsageError: a vector without direction, or a factory that cannot be.
        OSError: the disk refuses.
    """
    vectors = scaled(source.vectors, unit_lengths(source.vectors, source.items))
    form = form.suiting(len(vectors), vectors)
    if isinstance(vectors, Joined) and vectors.dtype == np.float16 and keeps_halves(form.factory):
        check_factory(form.factory, *vectors.shape)
        vectors = vectors.in_one(folder)
    return _contents(vectors, source.items, form, about)


def divided(
    source: Vectors,
    lengths: Float[np.ndarray, " rows"] | None,
    count: int,
    form: Form,
    about: Mapping[str, Any],
    folder: Path,
) -> Sharded:
    """An index in shards, whose vectors are written to a folder as they are made, and mapped from there.

    Args:
        lengths: see `unit_lengths`.
        about: lines of its index.json.

    Raises:
        UsageError: a factory that cannot be, naming the shard; a number of shards that cannot be.
        OSError: the disk refuses.
    """
    inside = folders(count)
    items = with_arrival(source.items)
    form = form.suiting(-(-items.rows // count), source.vectors)
    number = shards_of(items.ids(), count)
    shards: dict[str, Contents] = {}
    for place, name in enumerate(inside):
        rows = np.flatnonzero(number == place)
        vectors = scaled(source.vectors[rows], None if lengths is None else lengths[rows])
        with _naming(place, count):
            shard = _contents(vectors, items.taken(rows), form, {"image_space": about["image_space"]})
        shards[name] = Contents((_on_disk(folder / name, shard.base),), shard.items, shard.meta, shard.texts)
    return Sharded(shards, next(iter(shards.values())).meta.model_copy(update=about))


def tuned(now: Version, target: Target, factories: Sequence[str] | None, seed: int, folder: Path) -> dict[str, Work]:
    """Every shard rebuilt from its own vectors with the quickest factory for the target; files go to a folder.

    The factory is chosen on the largest shard, with its share of the memory; the search parameters by each shard.

    Raises:
        UsageError: nothing reaches the target in all shards, or in all together.
    """
    largest = max(now.shards, key=lambda inside: len(now.shards[inside].items))
    order = [largest, *(inside for inside in now.shards if inside != largest)]
    works: dict[str, Work] = {}
    for inside in order:
        shard = now.shards[inside]
        share = len(shard.items) / max(len(now.items), 1)
        most = target.memory_mb if share else None  # of a file without vectors the head alone is more than no share
        own = target.model_copy(update={"memory_mb": most and most * share})
        with _naming(list(now.shards).index(inside), len(now.shards)):
            chosen, points = choose(_live_vectors(shard), own, shard.texts, factories, seed)
        factories = [chosen.factory]
        meta = _meta(chosen, target, points, _kept(shard.meta))
        work = compaction.rebuilt(shard, chosen.engine, meta)
        works[inside] = work._replace(segment=_on_disk(folder / inside, work.segment))
    if len(works) > 1 and target.latency_ms is not None:
        _refuse_slow(works, target.latency_ms)
    return works


def compacted(
    shard: Contents, planned: compaction.Plan, fresh_copy: Callable[[Segment], Engine], seed: int, folder: Path
) -> Work:
    """What came later in cells, or everything that was not removed built anew; files go to a folder.

    Args:
        fresh_copy: a segment's engine, in memory and to be added to.
    """
    if planned == "rebuild":
        vectors = _live_vectors(shard)
        factory = compaction.factory_of(shard.meta, len(vectors))
        engine = Engine.build(vectors, factory, seed)
        chosen = choose_params(engine, factory, shard.meta.target, shard.texts, seed)
        meta = _meta(chosen, shard.meta.target, chosen.points, _kept(shard.meta))
        work = compaction.rebuilt(shard, chosen.engine, meta)
    else:
        work = compaction.sealed(shard, fresh_copy, seed)
    return work._replace(segment=_on_disk(folder, work.segment))


def _contents(vectors: Rows, items: Items, form: Form, about: Mapping[str, Any]) -> Contents:
    chosen = choose_params(
        Engine.build(vectors, form.factory, form.seed), form.factory, form.target, form.texts, form.seed
    )
    meta = _meta(chosen, form.target, chosen.points, about)
    return Contents((base_segment(chosen.engine, items, meta),), items, meta, form.texts)


def _on_disk(folder: Path, segment: Segment) -> Segment:
    """Written, and its vectors mapped from there in place of those in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    write_segment(folder, segment)
    return segment._replace(engine=Engine.read(folder / segment.files[0]))


def _refuse_slow(works: Mapping[str, Work], most: float) -> None:
    """Whether all shards together answer as quickly as they should, here and now."""
    shards = [Segments([work.segment.engine], [work.segment.about.search_params]) for work in works.values()]
    whole = Divided(shards, np.arange(sum(shard.count for shard in shards)))
    times = []
    for query in whole.vectors(whole.drawn(_TIMED, seed=0)):
        start = time.perf_counter()
        whole.search(query[None], AT, "picture")
        times.append(1e3 * (time.perf_counter() - start))
    if times and (median := float(np.median(times))) > most:
        raise UsageError(
            f"no factory reaches the target: {len(works)} shards together take {median:.2f} ms over {most}; ask for "
            "less, or build the index again with fewer --shards"
        )


@contextlib.contextmanager
def _naming(number: int, count: int) -> Iterator[None]:
    """Faults of one shard of several, with its number."""
    try:
        yield
    except UsageError as error:
        if count == 1:
            raise
        raise UsageError(f"shard {number} of {count}: {error}") from error


def _live_vectors(now: Contents) -> Rows:
    return now.engine.rows(np.flatnonzero(~now.items.removed), half=keeps_halves(now.meta.factory))


def _kept(meta: Meta) -> dict[str, Any]:
    """What a rebuild does not change."""
    return meta.model_dump(include={"image_space", "model", "catalogue", "left_out", "whole"})


def _meta(tuned: Tuned, target: Target, points: Sequence[Point], about: Mapping[str, Any]) -> Meta:
    return Meta(
        factory=tuned.factory, faiss=FAISS, dim=tuned.engine.dim,
        trained_on=tuned.engine.count, target=target, search_params=tuned.search_params, measured=tuned.measured,
        curve=list(points), memory_bytes=tuned.memory, **about,
    )  # fmt: skip
