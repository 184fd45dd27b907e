"""Bootstrap weights and swaps over the products of one evaluation, the same for every figure in it.

    sampler = Sampler(catalogue.products, draws=2_000, swaps=2_000, seed=0)
    sampler.weights(rows)      # [n, draws]: Bayesian bootstrap weight of each row's product, mean 1 in expectation
    sampler.swaps(rows)        # [n, swaps]: whether the two systems change places on each row's product

What a product gets depends on the seed and its name alone, and is made when first used: figures share draws
without anyone holding products x draws, and a search that reaches 10,000 of a million products pays for those. Threads
may share a sampler.
Source: Rubin, "The Bayesian bootstrap", Ann. Statist. 9 (1981) 130-134; Dirichlet weights are exponentials, normalised.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from clipadapt import keyed
from clipadapt.statistics.settings import Statistics


class Sampler:
    """Rows of randomness by product."""

    def __init__(
        self, products: Sequence[str] | np.ndarray, *, draws: int, swaps: int, seed: int, memory_mb: float = 1024
    ) -> None:
        self.names, self.of_row = np.unique(np.asarray(products, dtype=np.str_), return_inverse=True)
        """Distinct products, and which of them each row of the catalogue belongs to."""
        memory = int(memory_mb * 2**20)
        self.draws, self.permutations = draws, swaps
        self._summed: tuple[np.ndarray, np.ndarray] | None = None
        self._weights = _Rows(
            len(self.names),
            lambda product: keyed.generator(seed, "weights", str(self.names[product])).standard_exponential(
                draws, dtype=np.float32
            ),
            memory // (4 * draws),
        )
        self._swaps = _Rows(
            len(self.names),
            lambda product: keyed.generator(seed, "swaps", str(self.names[product])).random(swaps, np.float32) < 0.5,
            memory // swaps,
        )

    @classmethod
    def of(cls, products: Sequence[str] | np.ndarray, settings: Statistics) -> Self:
        """With as many draws, swaps and as much memory as a suite says."""
        return cls(
            products,
            draws=settings.draws,
            swaps=settings.permutations,
            seed=settings.seed,
            memory_mb=settings.memory_mb,
        )

    def weights(self, rows: Int[np.ndarray, " n"], draws: slice = slice(None)) -> Float[np.ndarray, "n draws"]:
        """Exponential weights, equal for rows of one product; of some draws."""
        return self._weights.of(self.of_row[rows], draws)

    def summed(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " draws"]:
        """Weights of some rows added up; kept for the next call with the same array, as of queries of one gallery."""
        kept = self._summed
        if kept is None or kept[0] is not rows:
            kept = self._summed = rows, self.weights(rows).sum(axis=0, dtype=np.float64)
        return kept[1]

    def swaps(self, rows: Int[np.ndarray, " n"], swaps: slice = slice(None)) -> Bool[np.ndarray, "n swaps"]:
        """Fair coins, equal for rows of one product; of some swaps."""
        return self._swaps.of(self.of_row[rows], swaps)

    def effective(self, rows: Int[np.ndarray, " n"]) -> float:
        """How many products of equal size the rows are worth: (sum of sizes)^2 / sum of squared sizes."""
        sizes = np.bincount(self.of_row[rows]).astype(np.float64)
        return float(sizes.sum() ** 2 / max((sizes**2).sum(), 1.0))

    def products(self, rows: Int[np.ndarray, " n"]) -> int:
        """How many distinct products the rows are of."""
        return len(np.unique(self.of_row[rows]))


class _Rows:
    """A table whose rows are made on first use, by one thread; emptied when it would hold more than `most` rows."""

    def __init__(self, rows: int, make: Callable[[int], np.ndarray], most: int) -> None:
        self._slots = np.full(rows, -1, np.int64)
        self._make = make
        self._most = most
        self._table: np.ndarray | None = None
        self._lock = threading.Lock()

    def of(self, rows: Int[np.ndarray, " n"], columns: slice) -> Shaped[np.ndarray, "n size"]:
        distinct = np.unique(rows)
        with self._lock:
            new = distinct[self._slots[distinct] < 0]
            if len(new):
                known = 0 if self._table is None else len(self._table)
                if known and known + len(new) > self._most:
                    self._slots[:], self._table, new, known = -1, None, distinct, 0
                made = np.stack([self._make(int(row)) for row in new])
                self._table = made if self._table is None else np.concatenate([self._table, made])
                self._slots[new] = np.arange(known, known + len(new))
            table, slots = self._table, self._slots[rows]
        assert table is not None, "no row was named"
        return table[slots, columns]
