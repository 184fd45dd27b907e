"""A version from vectors: rows, index, measured recall, and the properties that say what it is.

Nobody sees a version before the alias points to it; one that fails is dropped. Which search parameters reach the target
is measured on the collection itself, against exact answers computed here (recall.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from clipadapt.config import Data
from clipadapt.errors import UsageError, listing
from clipadapt.search.items import ID, VECTOR, Items
from clipadapt.search.meta import Meta, Target
from clipadapt.search.milvus import text_queries
from clipadapt.search.milvus.fields import Fields
from clipadapt.search.milvus.kinds import Kind, Measured
from clipadapt.search.milvus.server import Server
from clipadapt.search.milvus.versions import PAGE, Version, Versions
from clipadapt.search.milvus.writing import insert
from clipadapt.search.models import remembered
from clipadapt.search.shown import remembered_catalogue
from clipadapt.search.tune import measured_params, shortfalls
from clipadapt.search.vector_parts import Matrix
from clipadapt.search.vectors import Vectors

_BLOCK = 20 * PAGE
"""Rows that are made ready for requests at once."""


def about(source: Vectors, folder: Path, shown: Data | None) -> dict[str, Any]:
    """What an index is bound to, as Meta keeps it."""
    return {
        "image_space": source.image_space,
        "model": source.model and remembered(source.model, folder),
        "catalogue": remembered_catalogue(shown, folder) if shown is not None else None,
        "left_out": len(source.broken),
        "whole": source.whole,
    }


def kept(meta: Meta, follows: str) -> dict[str, Any]:
    """The same of a version that another one follows."""
    return meta.model_dump(include={"image_space", "model", "catalogue", "left_out", "whole"}) | {"follows": follows}


def everything(server: Server, now: Version) -> tuple[Float[np.ndarray, "rows dim"], Items]:
    """All vectors and items of a version, in memory."""
    rows, parts, order = [], [], []
    for page in server.each_page(now.collection, "", [*now.fields.outputs, VECTOR], PAGE):
        parts.append(np.array([row[VECTOR] for row in page], np.float32))
        order += [row[ID] for row in page]
        rows += [{name: cell for name, cell in row.items() if name != VECTOR} for row in page]
    vectors = np.concatenate(parts) if parts else np.empty((0, now.meta.dim), np.float32)
    return vectors[sorted(range(len(order)), key=order.__getitem__)], now.fields.items(rows)


def write(
    versions: Versions,
    vectors: Float[Matrix, "rows dim"],
    items: Items,
    kind: Kind,
    target: Target,
    texts: Float[np.ndarray, "texts dim"],
    about: dict[str, Any],
    seed: int,
) -> str:
    """A new collection, whole and measured, which nobody reads yet; gives its name.

    Raises:
        CatalogueError: cells that are too long for Milvus.
        StoreError: the server refuses; nothing of it stays.
    """
    fields, server, dim = Fields.of(items.table), versions.server, int(vectors.shape[1])
    follows = versions.pointed()
    if "follows" not in about and follows is not None:
        about = about | {"follows": versions.number(follows)}
    with versions.made(fields, dim, len(vectors)) as collection:
        for start in range(0, len(vectors), _BLOCK):
            part = items.part(start, min(start + _BLOCK, len(vectors)))
            insert(server, collection, fields.rows(part, np.asarray(vectors[start : start + _BLOCK], np.float32)))
        _index(server, collection, kind)
        text_queries.keep(server, collection, texts)
        engine = Measured(kind, vectors, _numbered(items), _searching(server, collection, kind))
        chosen = measured_params(engine, kind.name, target, texts, seed)
        meta = Meta(
            factory=kind.name, dim=dim, trained_on=len(vectors), target=target, search_params=chosen.search_params,
            measured=chosen.measured, curve=chosen.points,
            memory_bytes=kind.memory(len(vectors), dim), **about,
        )  # fmt: skip
        versions.finish(collection, meta, fields)
    return collection


def tuned(
    versions: Versions,
    now: Version,
    vectors: Float[np.ndarray, "rows dim"],
    items: Items,
    target: Target,
    texts: Float[np.ndarray, "texts dim"],
    factories: Sequence[str] | None,
    seed: int,
) -> str:
    """A new collection with the quickest index that reaches the target.

    Raises:
        UsageError: none does; says how close each came.
        StoreError: the server refuses.
    """
    lite = versions.server.address.lite
    names = list(factories or (["FLAT"] if lite or len(vectors) < 2_000 else ["FLAT", "HNSW32"]))
    kinds = [Kind.named(name, len(vectors), lite=lite) for name in names]
    best: tuple[float, str] | None = None
    reports = []
    for kind in kinds:
        follows = kept(now.meta, versions.number(now.collection))
        made = write(versions, vectors, items, kind, target, texts, follows, seed)
        meta = versions.read(made).meta
        speed = next((point.p50_ms for point in meta.curve
                      if point.kind == "picture" and point.params == meta.search_params["picture"]), 0.0)  # fmt: skip
        faults = shortfalls(meta.measured, meta.memory_bytes, speed, target)
        if faults:
            reports.append(f"{kind.name}: {', '.join(faults)}")
        if faults or (best is not None and best[0] <= speed):
            versions.drop(made)
            continue
        if best is not None:
            versions.drop(best[1])
        best = speed, made
    if best is None:
        raise UsageError(f"no index reaches the target:{listing(reports)}\nask for less, or name others with --factory")
    return best[1]


def _index(server: Server, collection: str, kind: Kind) -> None:
    """Makes the index, waits for it, and loads the collection."""
    if not server.address.lite:
        server.call("flush", collection)  # an index is made of what was flushed; the rest would be scored one by one
    index = server.client.prepare_index_params()
    index.add_index(VECTOR, index_type=kind.index_type, metric_type="IP", params=kind.params)
    server.call("create_index", collection, index)
    server.call("load_collection", collection)


def _numbered(items: Items) -> dict[str, int]:
    return {item: row for row, item in enumerate(items.table.column(ID).to_pylist())}


def _searching(server: Server, collection: str, kind: Kind):
    def search(queries, k, params):
        answer = server.call(
            "search", collection, data=[row.tolist() for row in np.asarray(queries, np.float32)], limit=k,
            output_fields=[ID], search_params=kind.search_params(params, k), anns_field=VECTOR,
        )  # fmt: skip
        return [[(one["entity"][ID], float(one["distance"])) for one in hits] for hits in answer]

    return search
