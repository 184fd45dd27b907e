"""Recall and time of queries with wishes against scoring everything, on a made-up index; pictures and texts apart.

    python eval/benchmarks/query_recall.py --vectors 1000000 --dim 512

Clustered vectors; three attributes of eight values follow the clusters with noise, half of their cells unknown, and
signals are the clusters' directions. Picture queries are vectors of the index with noise; text queries are values'
directions beside a constant that no picture has. Each query is searched plainly, with a wanted and an unwanted value,
and exactly: once the wanted value is the one that the query is nearest to, as it is where words are both searched for
and read, once both are chosen by lot, the hardest case. Times are of one thread's CPU, for machines are shared; `first`
is that of wishes that an index has not seen before. The last line says the least recall@10, and how much longer an
understood query takes, in both cases.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
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
    parser.add_argument("--name", default="query_recall")
    arguments = parser.parse_args()
    rng, count, dim = np.random.default_rng(0), arguments.vectors, arguments.dim
    directions = _unit(rng.standard_normal((ATTRIBUTES, VALUES, dim)).astype(np.float32))
    codes = rng.integers(VALUES, size=(ATTRIBUTES, count))
    vectors = rng.standard_normal((count, dim), np.float32) / np.sqrt(dim) + 0.3
    for attribute in range(ATTRIBUTES):
        vectors += 0.5 * directions[attribute][codes[attribute]]
    vectors = _unit(vectors)
    columns: dict[str, pa.Array] = {"id": pa.array(np.arange(count).astype(str))}
    for attribute in range(ATTRIBUTES):
        cells = np.where(rng.random(count) < 0.5, np.array([f"v{n}" for n in range(VALUES)])[codes[attribute]], "")
        columns[f"a{attribute}"] = pa.array(cells)
    values = tuple(f"v{number}" for number in range(VALUES))
    shares = (1 / VALUES,) * VALUES
    signals = Signals(
        {f"a{n}": Signal(values, directions[n], "exclusive", Scale(20.0), shares, 1.0, 1.0) for n in range(ATTRIBUTES)},
        "made up", "made up", {},
    )  # fmt: skip
    texts = _unit(directions.reshape(-1, dim)[rng.integers(ATTRIBUTES * VALUES, size=QUERIES)] + 0.05 * rng.standard_normal((QUERIES, dim)).astype(np.float32))  # noqa: E501 # fmt: skip
    asked = {"picture": _unit(vectors[rng.integers(count, size=QUERIES)] + 0.02 * rng.standard_normal((QUERIES, dim)).astype(np.float32)), "text": texts}  # noqa: E501 # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Embedded.build(Vectors(vectors, Items.of(pa.table(columns)), "made up", None), Path(folder) / "i", texts=texts)
        index = Embedded(Path(folder) / "i", verify=False)
        found = {
            kind: {
                name: _measure(index, kind, asked[kind], signals, rng, nearest=name == "nearest")
                for name in ("nearest", "lot")
            }
            for kind in KINDS
        }
        factory = index.meta.factory
    recall = min(one["recall@10"] for cases in found.values() for one in cases.values())
    ratio, hardest = (
        round(max(cases[name]["understood_p50_ms"] / cases[name]["plain_p50_ms"] for cases in found.values()), 2)
        for name in ("nearest", "lot")
    )
    about = {"vectors": count, "dim": dim, "factory": factory, "queries": QUERIES, "known": 0.5}
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
