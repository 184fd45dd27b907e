"""The drift test beside those of Evidently and alibi-detect, on the same vectors.

    python eval/benchmarks/drift_rivals.py --source FOLDER --model MODEL --category articleType --new Watches
        --evidently /tmp/ev/bin/python --alibi-detect /tmp/al/bin/python

Each library runs in an environment of its own, for they want other versions of numpy and pandas than we do:
`python -m venv /tmp/ev && /tmp/ev/bin/pip install evidently 'pandas<3'`; alibi-detect needs torch, too. One reference
and one window at a time, without a correction, which those libraries do not have:

no drift, products of 1 to 6 items      120 products against 40, all of one population: false alarms at 5%
no drift, one item a product            600 items against 200, likewise
a tenth of NEW, white balance, blur     500 new items against 2,000: power

Ours is given the products; the others have no notion of them. Writes eval/results/drift_rivals.json.
"""

import argparse
import functools
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from drift import LEVEL, LOOKS, REFERENCE, WINDOW, Population, altered
from machine import publish

from clipadapt.data.catalogue import Catalogue
from clipadapt.keyed import generator
from clipadapt.metrics.two_samples import Grouped, compare
from clipadapt.places import default_folder
from clipadapt.recognition.vectors import VectorCache
from clipadapt.towers.load import load

WORKER = Path(__file__).with_name("drift_rivals_worker.py")
CLUSTERED, SINGLE = "no drift, products of 1 to 6 items", "no drift, one item a product"
OURS = "clipadapt"


def main() -> None:
    """Writes the streams, has everyone judge them, writes the result and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, help="catalogue with train and validation")
    parser.add_argument("--model", required=True)
    parser.add_argument("--category", required=True, help="column whose values are categories")
    parser.add_argument("--new", action="append", required=True, help="a category that comes new; may be repeated")
    parser.add_argument("--evidently", help="Python that has it; default: it is left out")
    parser.add_argument("--alibi-detect", help="Python that has it; default: it is left out")
    parser.add_argument("--tries", type=int, default=100, help="of each kind without drift")
    parser.add_argument("--drifted", type=int, default=30, help="tries of each kind with drift")
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--keep", type=Path, help="folder of streams and answers, from which a broken-off run goes on")
    parser.add_argument("--no-looks", action="store_true", help="new categories alone; no picture is encoded anew")
    parser.add_argument("--name", default="drift_rivals", help="of the file in eval/results")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp())
    folder.mkdir(exist_ok=True)
    streams = Streams(arguments)
    alarms = {OURS: {kind: ours(streams, kind, folder, arguments.permutations) for kind in streams.kinds}}
    versions = {}
    for library, python in (("evidently", arguments.evidently), ("alibi_detect", arguments.alibi_detect)):
        if python:
            found = judged(python, library, folder)
            versions[library] = found["versions"]
            alarms |= {f"{library}: {name}": by_kind for name, by_kind in found["alarms"].items()}
    shares = {
        method: {kind: round(float(np.mean(answers)), 3) for kind, answers in by_kind.items()}
        for method, by_kind in alarms.items()
    }
    about = {
        "tries": streams.kinds,
        "dim": streams.dim,
        "versions": versions,
    }
    publish(arguments.name, {"alarms": shares}, about)


class Streams:
    """A reference, new items and the product of each, of every kind."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        encoder = load(arguments.model)
        catalogues = [Catalogue.load(arguments.source, split) for split in ("train", "validation")]
        cache = VectorCache(default_folder() / "vectors")
        vectors = np.concatenate([cache.pictures(encoder, one) for one in catalogues])
        self.population = Population(catalogues, vectors, arguments.category)
        self.new = {f"a tenth of {new}": new for new in arguments.new}
        self.dim = vectors.shape[1]
        looks = {} if arguments.no_looks else LOOKS
        self.looks = {
            name: functools.cache(functools.partial(altered, encoder, catalogues[1], look))
            for name, look in looks.items()
        }
        self.kinds: dict[str, int] = {CLUSTERED: arguments.tries, SINGLE: arguments.tries}
        self.kinds |= dict.fromkeys((*self.new, *self.looks), int(arguments.drifted))

    def make(self, kind: str, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reference [r, dim], new [n, dim], products [r + n]."""
        rng, there = generator(number, kind), self.population
        if kind == CLUSTERED:
            names = rng.permutation(there.names)[: REFERENCE + WINDOW]
            counts = rng.integers(1, 7, len(names))
            vectors = there.items(names, counts, rng)
            start = int(counts[:REFERENCE].sum())
            return vectors[:start], vectors[start:], np.repeat(names, counts)
        if kind == SINGLE:
            names = rng.permutation(there.names)[:800]
            return self._single(names, 600, rng)
        live, new = 500, self.new.get(kind)
        usual = rng.permutation(there.names[there.kinds != new])
        fresh = rng.permutation(there.names[there.kinds == new])[: live // 10 if new is not None else 0]
        names = np.concatenate([usual[: 4 * live], fresh, usual[4 * live : 5 * live - len(fresh)]])
        reference, usual_new, products = self._single(names, 4 * live, rng)
        if new is not None:
            return reference, usual_new, products
        changed = self.looks[kind]()(rng.permutation(1 << 20))[:live]
        return reference, changed, np.array([str(row) for row in range(len(reference) + len(changed))])

    def _single(
        self, names: np.ndarray, start: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        vectors = self.population.items(names, np.ones(len(names), np.int64), rng)
        return vectors[:start], vectors[start:], names


def ours(streams: Streams, kind: str, folder: Path, permutations: int) -> list[bool]:
    """Our alarms, one a stream; each is written into the folder where it is not there yet."""
    alarms = []
    for number in range(streams.kinds[kind]):
        names = ("reference", "new", "products")
        files = [folder / f"{kind}-{number:04}.{name}.npy" for name in names]
        if not all(file.exists() for file in files):
            for file, made in zip(files, streams.make(kind, number), strict=True):
                np.save(file, made)
        reference, new, products = (np.load(file) for file in files)
        groups = np.repeat([0, 1], [len(reference), len(new)])
        grouped = Grouped.of(np.concatenate([reference, new]), products, groups)
        found = compare(grouped, permutations=permutations, rng=generator(number, "permutations", kind))
        alarms.append(bool(found.p[0] <= LEVEL))
    return alarms


def judged(python: str, library: str, folder: Path) -> dict[str, Any]:
    """What a library says of every stream; read from the folder where it was said before."""
    kept = folder / f"{library}.json"
    if not kept.exists():
        command = [python, str(WORKER), str(folder), library]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        kept.write_text(done.stdout.splitlines()[-1], encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
