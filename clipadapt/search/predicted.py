"""What pictures say of all rows of an index, a byte per value: so that a query need not look at every vector.

    predicted = Predicted(signals)
    predicted(engine, "Pattern", rows)             # probabilities [rows, v], to one part in 50

An attribute is computed when it is first needed: about a second for a million vectors of 512 dimensions. It is kept for
as long as an engine is open, whatever is added beside it. What is kept is bounded; of an attribute that does not fit,
probabilities are computed from the vectors each time. Nothing here searches.
"""

import threading
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Integer

from clipadapt.search.engine import Engine
from clipadapt.search.segments import Segments
from clipadapt.search.wishes import LEAST, Signal, Signals

MOST = 256 << 20
"""Bytes kept."""
_BLOCK = 1 << 14
_STEPS = 255
_TABLE = np.exp(np.arange(_STEPS + 1) / _STEPS * np.log(LEAST)).astype(np.float32)
"""The probability of each byte: evenly spaced logarithms from 1 to the least that counts."""


class Predicted:
    """Of the engines that are open, for one set of query weights."""

    def __init__(self, signals: Signals | None, most: int = MOST) -> None:
        self.signals, self.most = signals, most
        self._kept: WeakKeyDictionary[Engine, dict[str, np.ndarray]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def memory(self) -> int:
        """Bytes that are kept."""
        return sum(one.nbytes for some in self._kept.values() for one in some.values())

    def __call__(self, engine: Segments, name: str, rows: Integer[np.ndarray, " n"]) -> Float[np.ndarray, "n v"]:
        """Probabilities of the values of an attribute that there are signals of."""
        assert self.signals is not None
        signal = self.signals.attributes[name]
        found = np.empty((len(rows), len(signal.values)), np.float32)
        for part, inside, own in engine.parts(rows):
            kept = self._of(part, name, signal)
            found[inside] = signal.probabilities(part.vectors(own)) if kept is None else _TABLE[kept[own]]
        return found

    def _of(self, engine: Engine, name: str, signal: Signal) -> Integer[np.ndarray, "rows v"] | None:
        with self._lock:
            some = self._kept.setdefault(engine, {})
            if name not in some and self.memory() + engine.count * len(signal.values) <= self.most:
                some[name] = _computed(engine, signal)
            return some.get(name)


def _computed(engine: Engine, signal: Signal) -> Integer[np.ndarray, "rows v"]:
    found = np.empty((engine.count, len(signal.values)), np.uint8)
    for start in range(0, len(found), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(found)))
        chances = np.clip(signal.probabilities(engine.vectors(rows)), LEAST, 1.0)
        found[rows] = np.rint(np.log(chances) / np.log(LEAST) * _STEPS)
    return found
