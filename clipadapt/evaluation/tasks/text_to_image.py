"""Searches by text: a value, two values together, a pair that training never saw, a category, or an item's own name.

The gallery of a value is the items whose value is known: an unknown item is neither right nor wrong. A pair needs both
known. Names are scored per query, everything else by reweighing the gallery. Nothing here knows of intervals.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Int
from pydantic import field_validator

from clipadapt.data.catalogue import Catalogue
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.examples import ExampleCollector
from clipadapt.evaluation.tasks.item_queries import text_to_image_by_name
from clipadapt.evaluation.tasks.ranking import ranking
from clipadapt.evaluation.tasks.search import Query, Search
from clipadapt.evaluation.tasks.side_by_side import side_by_side
from clipadapt.evaluation.tasks.task import Ranking, no_column, no_values
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import Rankings, Resampled, gallery_evidence
from clipadapt.statistics.galleries import AVERAGE_PRECISION, Figure, RankingMetric, figures
from clipadapt.statistics.rows import HEADLINE, QUOTED, Bin


class TextToImage(Ranking):
    """A text asks, pictures answer."""

    task: str = "text_to_image"
    needs_texts: ClassVar[bool] = True
    by: Literal["value", "pair", "held_out_pair", "name", "category"] = "value"
    """value: each value of each attribute; pair: two values together; held_out_pair: pairs kept out of training;
    name: an item's own name, its product is right; category: each value of `column`."""
    attributes: tuple[str, ...] | None = None
    """value and pair; null: all attributes of the catalogue."""
    pairs: tuple[dict[str, str], ...] = ()
    """pair: those, instead of all pairs with `min_items` items."""
    column: str | None = None
    """name and category: the column; must be given there."""
    metrics: tuple[RankingMetric, ...] = ("precision", "r_precision", "average_precision", "ndcg")

    @property
    def by_wording(self) -> bool:
        """All but names, which are the items' own texts."""
        return self.by != "name"

    @field_validator("pairs")
    @classmethod
    def _two_each(cls, pairs: tuple[dict[str, str], ...]) -> tuple[dict[str, str], ...]:
        if short := [pair for pair in pairs if len(pair) < 2]:
            raise ValueError(f"{short[0]} is no pair; name two attributes or more")
        return pairs

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """Columns and values that are not there, and a column that is not named."""
        yield from super().faults(catalogue)
        for pair in self.pairs:
            for attribute, value in pair.items():
                yield from no_values(catalogue, attribute, (value,), "pairs")
        if self.by in ("name", "category") and self.column is None:
            yield f"column: missing; by {self.by} needs the column that holds it"
        for name in self.attributes or ():
            yield from no_column(catalogue, name, "attributes")
        if self.column is not None:
            yield from no_column(catalogue, self.column, "column")

    def row_tasks(self) -> tuple[str, ...]:
        """The one of its rows."""
        return ("text_to_image" if self.by == "value" else f"text_to_image_{self.by}",)

    def attributes_of(self, context: EvalContext) -> tuple[str, ...]:
        """Those that are searched."""
        return context.attributes(self.attributes)

    def measure(self, context: EvalContext) -> Measured:
        """All queries of the task in the whole gallery, then within each segment."""
        if self.by == "name":
            return text_to_image_by_name(context, self, self.column or "")
        measured, examples = Measured(), ExampleCollector(context)
        (name,) = self.row_tasks()
        for part in context.parts(self.segments):
            by_attribute: dict[str, list[MeasuredQuery]] = {}
            for search in searches(part, self):
                for result in _measured(part, self, search):
                    by_attribute.setdefault(result.query.attribute, []).append(result)
                if self.by == "value" and part.segment is None and part.wording in (None, QUOTED):
                    examples.add(search)
            for attribute, some in by_attribute.items():
                measured.cells += _cells(part, self, part.task(name), attribute, some)
            if self.by in ("pair", "held_out_pair") and by_attribute:
                every = [result for some in by_attribute.values() for result in some]
                measured.cells += _means(part, self, part.task(name), None, "all", every)
            if not by_attribute and part.segment is None:
                what = {"held_out_pair": "no held-out pair", "pair": "no pair"}.get(self.by, "no value")
                measured.notes.append(f"{name}: {what} that {part.min_items} items of this split have")
        measured.examples = examples.examples()
        return measured

    @classmethod
    def headlines(cls, context: EvalContext, measured: Measured, headline: Sequence[str]) -> Measured:
        """The mean average precision over every value of the headline attributes."""
        about = ("text_to_image", "average_precision", "all", None)
        some = [
            cell
            for cell in measured.cells
            if (cell.task, cell.metric, cell.bin, cell.value) == about and cell.attribute in headline
        ]
        evidence = [cell.evidence for cell in some if isinstance(cell.evidence, Rankings)]
        if not evidence:
            return Measured()
        known = np.unique(np.concatenate([context.rows(cell.attribute or "") for cell in some]))
        size = (len(known), context.sampler.products(known))
        whole = Rankings.of(evidence)
        return Measured([Cell(HEADLINE, None, None, "all", "average_precision", None, *size, whole, context.wording)])


class MeasuredQuery(NamedTuple):
    """One query, measured."""

    query: Query
    rankings: Rankings
    resampled: dict[Figure, Resampled]
    """Every figure but average precision."""
    rows: Int[np.ndarray, " relevant"]
    """Relevant items, as rows of the catalogue."""


def searches(context: EvalContext, task: TextToImage) -> Iterator[Search]:
    """Every query of a task by value, category or pair, ranked by every system; one Search for each gallery."""
    if task.by in ("value", "category"):
        named = (task.column,) if task.by == "category" and task.column else task.attributes
        for attribute in context.attributes(named):
            values = context.offered(attribute)[: task.queries]
            if values:
                yield _search(context, task, (attribute,), [{attribute: value} for value in values])
        return
    for attributes, pairs in _pairs(context, task).items():
        yield _search(context, task, attributes, pairs)


def text_of_pair(context: EvalContext, values: Mapping[str, str]) -> str:
    """A pair as someone types it: first names, or the table's in held-out wording: "striped cotton"."""
    names = (context.prompts.ensemble(attribute, value)[0].name or value for attribute, value in values.items())
    return " ".join(names)


def _search(
    context: EvalContext, task: TextToImage, attributes: Sequence[str], wanted: Sequence[Mapping[str, str]]
) -> Search:
    sets = [context.value_sets(attribute) for attribute in attributes]
    gallery = np.flatnonzero([all(known) for known in zip(*sets, strict=True)])
    queries = []
    for values in wanted:
        has = [[values[name] in one[row] for row in gallery] for name, one in zip(attributes, sets, strict=True)]
        bin_ = context.bin(attributes[0], values[attributes[0]]) if len(attributes) == 1 else "all"
        label = " + ".join(values[name] for name in attributes)
        queries.append(Query(" + ".join(attributes), label, bin_, np.all(has, axis=0)))
    if len(attributes) == 1:
        vectors = context.of_values(attributes[0], [values[attributes[0]] for values in wanted])
    else:
        vectors = context.of_texts([text_of_pair(context, values) for values in wanted])
    depth = min(task.depth, len(gallery))
    relevant = np.array([query.relevant for query in queries])

    def right(numbers: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return relevant[numbers, answers]

    orders = {
        system: ranking(texts, context.pictures[system][gallery], depth, right) for system, texts in vectors.items()
    }
    return Search(gallery, queries, orders)


def _pairs(context: EvalContext, task: TextToImage) -> dict[tuple[str, ...], list[dict[str, str]]]:
    """Attributes -> the pairs that enough items have, most frequent first, at most `queries` in all."""
    named = context.holdout_pairs if task.by == "held_out_pair" else task.pairs
    counted: Counter[tuple[tuple[str, str], ...]] = Counter()
    for pair in named:
        sets = [context.value_sets(attribute) for attribute in pair]
        wanted = tuple(pair.values())
        has = (all(one in had for one, had in zip(wanted, row, strict=True)) for row in zip(*sets, strict=True))
        counted[tuple(pair.items())] = sum(has)
    if task.by == "pair" and not named:
        for first, second in combinations(context.attributes(task.attributes), 2):
            for one, two in zip(context.value_sets(first), context.value_sets(second), strict=True):
                counted.update(((first, a), (second, b)) for a in one for b in two)
    enough = [(pair, count) for pair, count in counted.items() if count >= context.min_items]
    grouped: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for pair, _ in sorted(enough, key=lambda found: (-found[1], found[0]))[: task.queries]:
        grouped.setdefault(tuple(name for name, _ in pair), []).append(dict(pair))
    return grouped


def _measured(context: EvalContext, task: TextToImage, search: Search) -> Iterator[MeasuredQuery]:
    wanted = [figure for figure in figures(task.metrics, task.k) if figure != AVERAGE_PRECISION]

    def measured(number: int) -> MeasuredQuery:
        relevant = search.queries[number].relevant
        orders = {system: order[number] for system, order in search.orders.items()}
        resampled = gallery_evidence(orders, relevant, search.gallery, context.sampler, wanted)
        rankings = search.rankings(number, len(context.catalogue))
        return MeasuredQuery(search.queries[number], rankings, resampled, search.gallery[relevant])

    numbers = [number for number, query in enumerate(search.queries) if query.relevant.any()]
    yield from side_by_side(measured, numbers)


def _cells(
    context: EvalContext, task: TextToImage, name: str, attribute: str, some: Sequence[MeasuredQuery]
) -> list[Cell]:
    """Means over an attribute's values, all and by bin, then each value's own first figure."""
    cells = []
    for bin_, places in context.binned(attribute, [result.query.value for result in some]).items():
        if bin_ == "all" or (context.segment is None and " + " not in attribute):
            cells += _means(context, task, name, attribute, bin_, [some[place] for place in places])
    if context.segment is not None:
        return cells
    wanted = figures(task.metrics, task.k)
    figure = AVERAGE_PRECISION if AVERAGE_PRECISION in wanted else wanted[0]
    for result in some:
        about = (name, attribute, result.query.value, result.query.bin, *figure)
        size = (len(result.rows), context.sampler.products(result.rows))
        cells.append(Cell(*about, *size, _evidence([result], figure), context.wording))
    return cells


def _means(
    context: EvalContext, task: TextToImage, name: str, attribute: str | None, bin_: Bin, some: Sequence[MeasuredQuery]
) -> list[Cell]:
    rows = np.unique(np.concatenate([result.rows for result in some]))
    size = (len(rows), context.sampler.products(rows))
    return [
        Cell(name, attribute, None, bin_, *figure, *size, _evidence(some, figure), context.wording)
        for figure in figures(task.metrics, task.k)
    ]


def _evidence(some: Sequence[MeasuredQuery], figure: Figure) -> Rankings | Resampled:
    """A figure's mean over queries."""
    if figure == AVERAGE_PRECISION:
        return Rankings.of([result.rankings for result in some])
    return Resampled.mean_of([result.resampled[figure] for result in some])
