"""Recall and time of queries with wishes against scoring everything, on a made-up index; pictures and texts apart.

    python eval/benchmarks/query_recall.py --vectors 1000000 --dim 512

Vectors and queries are shaped like CLIP's (clouds.py). Each of three attributes has eight values, one for each part
of the cloud that is nearest to one of eight clusters, a quarter of them by lot; half of the cells are unknown. A
value is recognised by the direction from the middle of the cloud to the middle of its items. Each query is searched
plainly, with a wanted and an unwanted value, and exactly: once the wanted value is the one that the query is nearest
to, as it is where words are both searched for and read, once both are chosen by lot, the hardest case. Times are of
one thread's CPU, for machines are shared; `first` is that of wishes that an index has not seen before. The last line
says the least recall@10, and how much longer an understood query takes, in both cases. What is not wanted weighs eight
times (--refusal), as `clipadapt tag` chooses it on real photos.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from clouds import draw
from machine import publish

from clipadapt.recognition.calibration import Scale
from clipadapt.search.embedded import Embedded
from clipadapt.search.items import Items
from clipadapt.search.query import CompiledQuery
from clipadapt.search.recall import KINDS
from clipadapt.search.understanding.vocabulary import Value
from clipadapt.search.vectors import Vectors
from clipadapt.search.wishes import NO_WISHES, Signal, Signals, Wishes

ATTRIBUTES, VALUES, QUERIES = 3, 8, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--refusal", type=float, default=8.0, help="how much more what is not wanted weighs")
    parser.add_argument("--name", default="query_recall")
    arguments = parser.parse_args()
    rng, count, dim = np.random.default_rng(0), arguments.vectors, arguments.dim
    cloud = draw(count, dim, QUERIES)
    middle = cloud.items[: 1 << 16].mean(axis=0)
    directions = np.empty((ATTRIBUTES, VALUES, dim), np.float32)
    columns: dict[str, pa.Array] = {"id": pa.array(np.arange(count).astype(str))}
    names = np.array([f"v{number}" for number in range(VALUES)])
    for attribute in range(ATTRIBUTES):
        codes = (cloud.items @ (cloud.items[rng.integers(count, size=VALUES)] - middle).T).argmax(axis=1)
        codes = np.where(rng.random(count) < 0.25, rng.integers(VALUES, size=count), codes)
        of_values = [cloud.items[codes == value].mean(axis=0) - middle for value in range(VALUES)]
        directions[attribute] = _unit(np.stack(of_values))
        columns[f"a{attribute}"] = pa.array(np.where(rng.random(count) < 0.5, names[codes], ""))
    values = tuple(names.tolist())
    shares = (1 / VALUES,) * VALUES
    signals = Signals(
        {f"a{n}": Signal(values, directions[n], "exclusive", Scale(20.0), shares, 1.0, 1.0) for n in range(ATTRIBUTES)},
        "made up", "made up", {}, refusal=arguments.refusal,
    )  # fmt: skip
    asked = {"picture": cloud.pictures, "text": cloud.texts}
    with tempfile.TemporaryDirectory() as folder:
        made = Vectors(cloud.items, Items.of(pa.table(columns)), "made up", None)
        Embedded.build(made, Path(folder) / "i", texts=cloud.tuning_texts)
        del made, cloud
        index = Embedded(Path(folder) / "i", verify=False)
        found = {
            kind: {
                name: _measure(index, kind, asked[kind], signals, rng, nearest=name == "nearest")
                for name in ("nearest", "lot")
            }
            for kind in KINDS
        }
        factory = index.meta.factory
        params = {kind: index.meta.search_params[kind]._asdict() for kind in KINDS}
    recall = min(one["recall@10"] for cases in found.values() for one in cases.values())
    ratio, hardest = (
        round(max(cases[name]["understood_p50_ms"] / cases[name]["plain_p50_ms"] for cases in found.values()), 2)
        for name in ("nearest", "lot")
    )
    about = {
        "vectors": count,
        "dim": dim,
        "factory": factory,
        "search_params": params,
        "queries": QUERIES,
        "known": 0.5,
        "refusal": arguments.refusal,
    }
    publish(arguments.name, {"recall@10": recall, "ratio": ratio, "ratio_by_lot": hardest}, {**about, **found})


def _measure(
    index: Embedded, kind, vectors: np.ndarray, signals: Signals, rng: np.random.Generator, *, nearest: bool
) -> dict:
    shares, times = [], {"plain": [], "understood": [], "first": []}
    for vector in vectors:
        first, second = rng.permutation(ATTRIBUTES)[:2]
        codes = rng.integers(VALUES, size=2)
        if nearest:
            close = np.stack([signals.attributes[f"a{n}"].vectors @ vector for n in range(ATTRIBUTES)])
            first, codes[0] = np.unravel_index(close.argmax(), close.shape)
            second = (first + 1) % ATTRIBUTES
            codes[1] = close[second].argmin()
        wanted, refused = (Value(f"a{n}", f"v{code}") for n, code in zip((first, second), codes, strict=True))
        plain = CompiledQuery(vector, kind, (), NO_WISHES, signals)
        asked = plain._replace(wishes=Wishes(wanted=((wanted,),), unwanted=(refused,)))
        index.search([plain], 10)
        for name, query in (("first", asked), ("plain", plain), ("understood", asked)):
            started = time.thread_time()
            (hits,) = index.search([query], 10)
            times[name].append(1e3 * (time.thread_time() - started))
        (exact,) = index.exact([asked], 10)
        shares.append(len({hit.id for hit in hits} & {hit.id for hit in exact}) / 10)
    medians = {f"{name}_p50_ms": round(float(np.median(some)), 3) for name, some in times.items()}
    return {"recall@10": round(float(np.mean(shares)), 4), **medians}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
