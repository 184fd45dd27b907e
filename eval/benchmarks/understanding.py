"""How long it takes to read a query, with a vocabulary of 5,000 values; nothing is encoded or searched.

    python eval/benchmarks/understanding.py

50 attributes of 100 made-up values of one to three words, and columns of prices and dates. Queries name one to four
values among free words, with negations, choices, prices and slips of the finger, one in ten of each. The first queries
load the words that a slip is told from and are not timed. Times are CPU seconds of the reading thread, so that whatever
else the machine does is not counted; wall-clock percentiles stand beside them. The last line says p50 and p99.
"""

import time

import numpy as np
from machine import publish

from clipadapt.search.understanding.reader import understand
from clipadapt.search.understanding.vocabulary import Quantity, Value, Vocabulary

VALUES, ATTRIBUTES, QUERIES = 5_000, 50, 2_000
_SYLLABLES = [first + second for first in "bdfklmnrst" for second in "aeio"]
_FREE = ["my", "summer", "trip", "to", "the", "sea", "with", "friends", "something", "soft", "and", "warm"]


def main() -> None:
    rng = np.random.default_rng(0)
    names = [" ".join(_word(rng) for _ in range(int(rng.integers(1, 4)))) for _ in range(VALUES)]
    values = {Value(f"attribute {place % ATTRIBUTES}", name): () for place, name in enumerate(names)}
    vocabulary = Vocabulary(values, [Quantity("price", "number", money=True), Quantity("added", "date")])
    texts = [_query(rng, names) for _ in range(QUERIES)]
    for text in texts[:200]:
        understand(text, vocabulary)
    cpu, wall = [], []
    for text in texts:
        started, at = time.thread_time_ns(), time.perf_counter_ns()
        understand(text, vocabulary)
        cpu.append((time.thread_time_ns() - started) / 1e6)
        wall.append((time.perf_counter_ns() - at) / 1e6)
    shown = {f"p{part}_ms": round(float(np.percentile(cpu, part)), 3) for part in (50, 99)}
    clock = {f"wall_p{part}_ms": round(float(np.percentile(wall, part)), 3) for part in (50, 99)}
    publish("understanding", shown, {"values": len(values), "queries": QUERIES, **shown, **clock})


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(_SYLLABLES, int(rng.integers(2, 5))))


def _query(rng: np.random.Generator, names: list[str]) -> str:
    said = [str(one) for one in rng.choice(names, int(rng.integers(1, 5)))]
    if rng.random() < 0.1:
        said[0] = f"not {said[0]}"
    if rng.random() < 0.1 and len(said) > 1:
        said[:2] = [f"{said[0]} or {said[1]}"]
    if rng.random() < 0.1:
        place = int(rng.integers(1, max(len(said[-1]) - 1, 2)))
        said[-1] = said[-1][:place] + said[-1][place + 1 :]
    free = [str(one) for one in rng.choice(_FREE, int(rng.integers(0, 4)))]
    return " ".join([*said, *free, *(["under 50"] if rng.random() < 0.1 else [])])


if __name__ == "__main__":
    main()
