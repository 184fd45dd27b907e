"""Text queries that share a gallery, ranked by every system: what the task measures and what examples show."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from clipadapt.metrics import gallery as metrics
from clipadapt.statistics.evidence import Rankings
from clipadapt.statistics.rows import Bin


class Query(NamedTuple):
    """A text, and what is right for it."""

    attribute: str
    """One, or several joined by " + "."""
    value: str
    bin: Bin
    relevant: Bool[np.ndarray, " gallery"]


class Search(NamedTuple):
    """Queries that share a gallery, and what every system found for them."""

    gallery: Int[np.ndarray, " gallery"]
    """Rows of the catalogue."""
    queries: list[Query]
    orders: dict[str, Int[np.ndarray, "queries depth"]]
    """System -> places in the gallery, best first."""

    def rankings(self, number: int, items: int) -> Rankings:
        """One query's rankings, as rows of a catalogue of so many items."""
        relevant = np.zeros(items, bool)
        relevant[self.gallery[self.queries[number].relevant]] = True
        ranked = {system: order[number] for system, order in self.orders.items()}
        return Rankings({system: (metrics.Query(relevant, self.gallery[order]),) for system, order in ranked.items()})
