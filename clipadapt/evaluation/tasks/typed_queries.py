"""Queries as people type them, understood, against the vectors of the words as they stand and against hard filters.

    - {task: queries, head: articleType, known: [1.0, 0.5, 0.1]}

Every query ranks the whole gallery, exactly: understood by cosine and wishes (search/wishes.py); plain by the vector of
the words; filtered by that vector among items whose known labels fit. `known` of the labels are given to all of them,
the rest are hidden; relevance goes by all labels. The same but starts from an item: what changed, and what was kept.
Query weights are those of the model's run, else labels and shares alone decide. Indexes are search's business.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from clipadapt import keyed
from clipadapt.data.catalogue import Catalogue
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.side_by_side import side_by_side
from clipadapt.evaluation.tasks.task import Task, no_column
from clipadapt.evaluation.tasks.typed_cases import FEWEST, TOP, Case, Labels, cases
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import names_of
from clipadapt.search.filters import matching
from clipadapt.search.index import Index
from clipadapt.search.items import Items
from clipadapt.search.query import Item, encode_words
from clipadapt.search.typed import Known, Typed, same_but, typed
from clipadapt.search.understanding.vocabulary import Vocabulary
from clipadapt.search.vectors import Vectors
from clipadapt.search.wishes import QUERIES, Signals, Weigher
from clipadapt.sections import Count
from clipadapt.statistics.cells import Cell, to_rows
from clipadapt.statistics.evidence import ClassMeans, Resampled, gallery_evidence
from clipadapt.statistics.galleries import Figure
from clipadapt.statistics.rows import Row

PLAIN, FILTERED = "plain vectors", "hard filters"
_KIND = re.compile("categor|type|kind|class|article", re.IGNORECASE)
_Figure = tuple[str, int | None]
"""A figure and its k; what is not wanted has one that rankings do not know."""
_WANTED: tuple[Figure, ...] = (("precision", TOP), ("ndcg", TOP))
_STARTS = 12
"""Of each attribute, items that the same but begins with."""


class TypedQueries(Task):
    """Wishes, negations, choices, numbers, dates and the same but, as people type them."""

    task: str = "queries"
    needs_texts: ClassVar[bool] = True
    head: str | None = None
    """The attribute that says what kind of product an item is; null: the first whose name says so, else the first."""
    known: tuple[float, ...] = (1.0,)
    """Shares of the labels that a search is given."""
    most: Count = 40
    """Queries of a kind, each in several wordings."""
    weights: Path | None = None
    """Query weights; null: those of the model's run, if it has any."""

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """A column that is not there, shares that are none, or nothing to combine."""
        if self.head is not None:
            yield from no_column(catalogue, self.head, "head")
        if not all(0 < share <= 1 for share in self.known):
            yield f"known: {', '.join(f'{share:g}' for share in self.known)}; shares are above 0 and at most 1"
        if len(catalogue.attributes) < 2:
            yield "needs two attributes or more to combine"

    def measure(self, context: EvalContext) -> Measured:
        """Rows of each kind and share: against plain vectors, and as `queries_filtered` against hard filters."""
        measured = Measured()
        if not isinstance(context.prompts, Prompts):
            return measured
        system = context.systems[0]
        weights = _weights(self, context.encoders[system].name)
        signals = None if weights is None else Signals.load(weights)
        if signals is None:
            measured.notes.append(
                "queries: no query weights, so labels and shares alone decide; clipadapt tag fits them"
            )
        else:
            signals.require(context.encoders[system].image_space, str(weights), context.prompts)
        names = [one.name for one in context.catalogue.attributes]
        head = self.head or next((name for name in names if _KIND.search(name)), names[0])
        measured.notes.append(
            f"queries: exchanged attributes (a striped shirt with plain trousers) are not measured, for labels are of "
            f"whole items, and none says which of two of {head} it is about"
        )
        for share in self.known:
            with tempfile.TemporaryDirectory() as folder:
                search = _Search.open(context, context.prompts, signals, share, head, Path(folder) / "index")
                measured.rows += search.typed_rows(self.most) + search.changed_rows()
        return measured


def _weights(task: TypedQueries, model: str) -> Path | None:
    if task.weights is not None:
        return task.weights
    kind, _, place = model.partition(":")
    file = Path(place) / QUERIES
    return file if kind in ("run", "release") and file.is_file() else None


def hidden(catalogue: Catalogue, known: float, seed: int) -> pa.Table:
    """The table with a share of the labelled cells of each attribute left."""
    table = catalogue.table()
    for name in (one.name for one in catalogue.attributes if one.name in table.column_names):
        cells = table.column(name).to_pylist()
        kept = keyed.generator(seed, "known labels", name).random(len(cells)) < known
        left = pa.array([cell if keep else None for cell, keep in zip(cells, kept, strict=True)], pa.string())
        table = table.set_column(table.column_names.index(name), name, left)
    return table


@dataclass(frozen=True)
class _Search:
    """One index of the split with some of its labels, and all labels to judge by."""

    context: EvalContext
    prompts: Prompts
    index: Index
    vocabulary: Vocabulary
    labels: Labels
    items: Items
    head: str
    share: float

    @classmethod
    def open(
        cls, context: EvalContext, prompts: Prompts, signals: Signals | None, share: float, head: str, folder: Path
    ) -> "_Search":
        """Over exact vectors, for what is measured is the ranking."""
        catalogue, encoder = context.catalogue, context.encoders[context.systems[0]]
        shown = Items.of(hidden(catalogue, share, context.statistics.seed), catalogue.separators)
        pictures = np.ascontiguousarray(context.pictures[context.systems[0]], np.float32)
        Index.build(Vectors(pictures, shown, encoder.image_space, None), folder, factory="Flat")
        index = Index.open(folder, encoder=encoder, signals=signals, mapped=False)
        labels = Labels({one.name: catalogue.value_sets(one.name) for one in catalogue.attributes})
        whole = Items.of(catalogue.table(), catalogue.separators)
        vocabulary = Known(prompts, signals).vocabulary(index)
        return cls(context, prompts, index, vocabulary, labels, whole, head, share)

    @property
    def pictures(self) -> Float[np.ndarray, "items dim"]:
        return self.context.pictures[self.context.systems[0]]

    @cached_property
    def weigher(self) -> Weigher:
        return Weigher(self.index.items, self.index.signals)

    def said(self, attribute: str, value: str) -> str:
        """What a value is called."""
        library = self.prompts.library
        return names_of(library, library.attributes.get(attribute), value)[0].what.text

    def typed_rows(self, most: int) -> list[Row]:
        """Of every kind but the same but."""
        listed = list(cases(self.labels, self.items, self.head, self.said, most))
        asked = {text: typed(text, self.vocabulary) for case in listed for text in case.texts}
        texts = list(dict.fromkeys([*asked, *(str(one.query.positives[0]) for one in asked.values())]))
        encoder = self.context.encoders[self.context.systems[0]]
        vectors = dict(zip(texts, encode_words(encoder, texts), strict=True)) if texts else {}
        found: dict[tuple[str, str, _Figure], list[Resampled]] = {}

        def measured(one: tuple[Case, str]) -> list[tuple[tuple[str, str, _Figure], Resampled]]:
            case, text = one
            scores = self._scores(asked[text], vectors[str(asked[text].query.positives[0])], vectors[text])
            return [
                ((case.kind, other, figure), evidence)
                for other in (PLAIN, FILTERED)
                for figure, evidence in self._evidence(case, scores, other).items()
            ]

        for some in side_by_side(measured, [(case, text) for case in listed for text in case.texts]):
            for about, evidence in some:
                found.setdefault(about, []).append(evidence)
        rows: list[Row] = []
        for (kind, other, (metric, k)), some in found.items():
            products = int(sum(one.products for one in some) / len(some))
            cell = Cell(
                self._task(kind, other), None, None, "all", metric, k, len(some), products, Resampled.mean_of(some)
            )
            rows += self._rows(cell, other)
        return rows

    def _scores(self, asked: Typed, words: np.ndarray, whole: np.ndarray) -> dict[str, np.ndarray]:
        ours, plain = self.pictures @ words, self.pictures @ whole
        worth = self.weigher.weigh(asked.query.wishes, np.arange(len(ours)), self.pictures)
        meets = matching(self.index.items, asked.conditions)
        fits = meets & self.weigher.as_wished(asked.query.wishes)
        return {
            self.context.systems[0]: np.where(meets, ours + float(ours.std()) * worth, -np.inf),
            PLAIN: plain,
            FILTERED: np.where(fits, plain, -np.inf),
        }

    def _evidence(self, case: Case, scores: dict[str, np.ndarray], other: str) -> dict[_Figure, Resampled]:
        gallery, sampler = np.flatnonzero(case.gallery), self.context.sampler
        orders = {}
        for system in (self.context.systems[0], other):
            of = scores[system][gallery]
            order = np.argsort(-of, kind="stable")
            orders[system] = order[np.isfinite(of[order])]
        ranked = gallery_evidence(orders, case.relevant[gallery], gallery, sampler, _WANTED)
        found: dict[_Figure, Resampled] = {figure: ranked[figure] for figure in _WANTED}
        if case.kind == "negation":
            bad = gallery_evidence(orders, case.violating[gallery], gallery, sampler, [("precision", TOP)])
            found["violations", TOP] = bad["precision", TOP]
        return found

    def changed_rows(self) -> list[Row]:
        """Of the same but: hits with the new value, and what else they share with the start."""
        starts = self._starts()
        if not starts:
            return []
        texts = list({self.said(name, value) for _, name, value in starts})
        words = dict(zip(texts, encode_words(self.context.encoders[self.context.systems[0]], texts), strict=True))
        rows = np.arange(len(self.pictures))
        system, products = self.context.systems[0], self.context.catalogue.products
        found: dict[str, list[tuple[float, float]]] = {system: [], PLAIN: []}
        for row, name, value in starts:
            text = self.said(name, value)
            asked = same_but(Item(self.context.catalogue.ids[row]), text, self.index, self.vocabulary)
            cosine = self.pictures @ self.index.encoded(asked.query)
            worth = self.weigher.weigh(asked.query.wishes, rows, self.pictures)
            sides = [self.pictures @ one for one in (self.pictures[row], words[text])]
            gallery = self.labels.known(name) & (products != products[row])
            for one, score in (
                (system, cosine + float(cosine.std()) * worth),
                (PLAIN, np.sum([side / float(side.std()) for side in sides], axis=0)),
            ):
                order = np.argsort(-score, kind="stable")
                top = order[gallery[order]][:TOP]
                changed = float(self.labels.has(name, value)[top].mean()) if len(top) else 0.0
                found[one].append((changed, self._kept(row, name, top)))
        places = np.array([row for row, _, _ in starts])
        size = len(places), self.context.sampler.products(places)
        listed: list[Row] = []
        for column, metric in enumerate(("changed", "kept")):
            scores = {one: np.array(values)[:, column] for one, values in found.items()}
            evidence = ClassMeans(scores, np.zeros(len(places), np.int64), places, np.ones(1))
            cell = Cell(self._task("the same but", PLAIN), None, None, "all", metric, TOP, *size, evidence)
            listed += self._rows(cell, PLAIN)
        return listed

    def _starts(self) -> list[tuple[int, str, str]]:
        """Items, and of an attribute the commonest other value among their kind of product."""
        starts = []
        for name in (name for name in self.labels.sets if name != self.head):
            labelled = np.flatnonzero(self.labels.known(name) & self.labels.known(self.head))
            some = keyed.generator(self.context.statistics.seed, "the same but", name).permutation(labelled)[:_STARTS]
            for row in some.tolist():
                alike = np.flatnonzero(self.labels.has(self.head, min(self.labels.sets[self.head][row]))).tolist()
                own = self.labels.sets[name][row]
                near = Counter(value for one in alike for value in self.labels.sets[name][one] if value not in own)
                value = next((value for value, count in near.most_common() if count >= FEWEST), None)
                if value is not None:
                    starts.append((row, name, value))
        return starts

    def _kept(self, start: int, exchanged: str, top: np.ndarray) -> float:
        """Of the start's other labels, the share that the hits have where they are labelled for it, too."""
        shares: list[bool] = []
        for name, sets in self.labels.sets.items():
            if name != exchanged and sets[start]:
                shares += [bool(sets[row] & sets[start]) for row in top.tolist() if sets[row]]
        return float(np.mean(shares)) if shares else 1.0

    def _task(self, kind: str, other: str) -> str:
        name = "queries" if other == PLAIN else "queries_filtered"
        return f"{name}:{kind}" + ("" if self.share == 1.0 else f"@known={self.share:g}")

    def _rows(self, cell: Cell, other: str) -> Sequence[Row]:
        context: Any = self.context
        return to_rows([cell], (context.systems[0], other), context.split, context.sampler, context.statistics)
