"""Searches shown side by side: the value queries that gained most and those that lost most, with thumbnails.

The rule is the page's own sentence, so that no one picks by hand. Of all searches only what may be shown is kept.
"""

from typing import Literal, NamedTuple

import numpy as np

from clipadapt.evaluation.details import Answer, Example
from clipadapt.evaluation.tasks.context import EvalContext
from clipadapt.evaluation.tasks.search import Query, Search
from clipadapt.statistics.galleries import AVERAGE_PRECISION, ranked

SHOWN = 6
"""Answers of each query."""
EACH = 4
"""Most wins, and most losses."""
RULE = (
    f"Of all searches for one value, the {EACH} whose average precision rose most and the {EACH} whose fell most; "
    f"for each the first {SHOWN} answers of both models. Items whose value is unknown are not in the gallery."
)


class _Candidate(NamedTuple):
    """A query that may be shown."""

    rise: float
    """Of average precision, over the model compared with."""
    query: Query
    scores: dict[str, float]
    shown: dict[str, list[tuple[int, bool]]]
    """System -> row of the catalogue and whether it is right, best first."""


class ExampleCollector:
    """Keeps what moved most of all searches that it is shown, and no more."""

    def __init__(self, context: EvalContext) -> None:
        self._context = context
        self._wins: list[_Candidate] = []
        self._losses: list[_Candidate] = []

    def add(self, search: Search) -> None:
        """Looks at every query of a search; nothing happens where nothing is compared."""
        if self._context.systems[1] is None:
            return
        candidates = [self._candidate(search, number) for number in range(len(search.queries))]
        rises = sorted([*self._wins, *(one for one in candidates if one.rise > 0)], key=lambda one: -one.rise)
        falls = sorted([*self._losses, *(one for one in candidates if one.rise < 0)], key=lambda one: one.rise)
        self._wins, self._losses = rises[:EACH], falls[:EACH]

    def examples(self) -> list[Example]:
        """Wins, the largest first, then losses."""
        wins = [self._example("win", one) for one in self._wins]
        return wins + [self._example("loss", one) for one in self._losses]

    def _candidate(self, search: Search, number: int) -> _Candidate:
        query, scores, shown = search.queries[number], {}, {}
        for system, orders in search.orders.items():
            right = query.relevant[orders[number]]
            found = ranked(right[None], np.array([query.relevant.sum()])).measure([AVERAGE_PRECISION])
            scores[system] = float(found[AVERAGE_PRECISION][0])
            rows = search.gallery[orders[number][:SHOWN]].tolist()
            shown[system] = list(zip(rows, right[:SHOWN].tolist(), strict=True))
        model, against = scores
        return _Candidate(scores[model] - scores[against], query, scores, shown)

    def _example(self, kind: Literal["win", "loss"], one: _Candidate) -> Example:
        catalogue, query = self._context.catalogue, one.query
        text = self._context.prompts.ensemble(query.attribute, query.value)[0].text
        answers = {
            system: tuple(
                Answer(catalogue.ids[row], right, self._context.thumbnail(row)) for row, right in one.shown[system]
            )
            for system in reversed(one.shown)
        }
        return Example(kind, query.attribute, query.value, text, one.scores, answers)
