"""Searches of which each query is an item: by its name, by its picture for others like it, for its own text.

Every query has a score of its own, so its certainty comes from the products of the queries; queries are compared with
the gallery in blocks and forgotten. More than the suite's `queries` are thinned by a key, alike for every system.
Nothing here knows of intervals.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from clipadapt import keyed
from clipadapt.data.catalogue import Catalogue
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.ranking import ranking
from clipadapt.evaluation.tasks.task import Ranking, no_column
from clipadapt.sections import Count
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import ClassMeans
from clipadapt.statistics.galleries import Figure, RankingMetric, figures, ranked
from clipadapt.statistics.rows import Bin

_ANSWERS = 4_000_000
"""Answers looked at at once."""

Scores = Mapping[Figure, Mapping[str, Float[np.ndarray, " queries"]]]
"""Figure -> system -> score of every query."""


class ItemQueries(NamedTuple):
    """Queries and what is right for them."""

    rows: Int[np.ndarray, " queries"]
    """The items that the queries stand for, as rows of the catalogue."""
    vectors: Mapping[str, Float[np.ndarray, "queries dim"]]
    gallery: Mapping[str, Float[np.ndarray, "gallery dim"]]
    right: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(queries [b, 1], answers [b, depth] as places in the gallery) -> which answers are right."""
    totals: Int[np.ndarray, " queries"]
    """Right answers in the gallery; positive."""
    void: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda _, answers: answers < 0
    """As `right`: answers that do not count, such as the query itself."""
    most_void: int = 0
    """How many of those a query can have."""

    def scores(self, task: Ranking, metrics: list[Figure]) -> Scores:
        """Every figure of every system and query."""
        size = len(next(iter(self.gallery.values())))
        depth = min(task.depth, size)
        scored: dict[Figure, dict[str, list[np.ndarray]]] = {
            figure: {system: [] for system in self.vectors} for figure in metrics
        }
        step = max(1, _ANSWERS // depth)
        for system, vectors in self.vectors.items():
            for start in range(0, len(vectors), step):
                block = np.arange(start, min(start + step, len(vectors)))

                def right_of(numbers: np.ndarray, answers: np.ndarray, start: int = start) -> np.ndarray:
                    return self.right(start + numbers, answers)

                deep = min(depth + self.most_void, size)
                answers = ranking(vectors[block], self.gallery[system], deep, right_of)
                right = self.right(block[:, None], answers)
                if self.most_void:
                    void = self.void(block[:, None], answers)
                    kept = np.argsort(void, axis=1, kind="stable")[:, :depth]
                    right = np.take_along_axis(right & ~void, kept, axis=1)
                for figure, values in ranked(right, self.totals[block]).measure(metrics).items():
                    scored[figure][system].append(values)
        return {
            figure: {system: np.concatenate(parts) for system, parts in by_system.items()}
            for figure, by_system in scored.items()
        }


class ImageToImage(Ranking):
    """A picture asks, pictures of other products answer (by: attributes), or of the same product (by: product)."""

    task: str = "image_to_image"
    by: Literal["attributes", "product"] = "attributes"
    attributes: tuple[str, ...] | None = None
    depth: Count = 1000

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """Columns that are not there."""
        yield from super().faults(catalogue)
        for name in self.attributes or ():
            yield from no_column(catalogue, name, "attributes")

    def attributes_of(self, context: EvalContext) -> tuple[str, ...]:
        """Those by which pictures are alike."""
        return context.attributes(self.attributes)

    def measure(self, context: EvalContext) -> Measured:
        """A picture asks for others of its product, or for other products' that share its value, by attribute."""
        measured = Measured()
        for part in context.parts(self.segments):
            if self.by == "product":
                measured += _same_product(part, self)
                continue
            for attribute in part.attributes(self.attributes):
                measured += _shared_value(part, self, attribute)
        return measured


class ImageToText(Ranking):
    """A picture asks among all names of a column; its own is the one right answer."""

    task: str = "image_to_text"
    needs_texts: ClassVar[bool] = True
    column: str
    metrics: tuple[RankingMetric, ...] = ("recall_at", "reciprocal_rank")

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """Columns that are not there."""
        yield from super().faults(catalogue)
        yield from no_column(catalogue, self.column, "column")

    def measure(self, context: EvalContext) -> Measured:
        """A picture asks among all texts of the column."""
        measured = Measured()
        for part in context.parts(self.segments):
            measured += _own_text(part, self)
        return measured


def text_to_image_by_name(context: EvalContext, task: Ranking, column: str) -> Measured:
    """An item's name asks; the items of its product, and of products of equal name, are right."""
    measured = Measured()
    for part in context.parts(task.segments):
        measured += _by_name(part, task, column)
    return measured


def _by_name(context: EvalContext, task: Ranking, column: str) -> Measured:
    gallery, names, codes = _texts(context, column)
    if len(names) < 2:
        return Measured(notes=_nothing(context, "text_to_image_name", column))
    queries = _thinned(context, np.unique(codes, return_index=True)[1], task)
    place = np.full(len(names), -1)
    place[codes[queries]] = np.arange(len(queries))
    products = context.sampler.of_row[gallery]
    size = len(context.sampler.names)
    wanted = place[codes] >= 0
    pairs = np.unique(place[codes[wanted]] * size + products[wanted])  # (query, product) as one number
    totals = np.zeros(len(queries), np.int64)
    np.add.at(totals, pairs // size, np.bincount(products, minlength=size)[pairs % size])

    def right(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return np.isin(block * size + products[answers], pairs)

    pictures = {system: vectors[gallery] for system, vectors in context.pictures.items()}
    vectors = context.of_texts([names[code] for code in codes[queries]])
    item_queries = ItemQueries(gallery[queries], vectors, pictures, right, totals)
    return Measured(_cells(context, "text_to_image_name", column, item_queries, task))


def _own_text(context: EvalContext, task: ImageToText) -> Measured:
    known, texts, codes = _texts(context, task.column)
    if len(texts) < 2:
        return Measured(notes=_nothing(context, "image_to_text", task.column))
    queries = _thinned(context, np.arange(len(known)), task)

    def right(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return answers == codes[queries[block]]

    pictures = {system: vectors[known[queries]] for system, vectors in context.pictures.items()}
    item_queries = ItemQueries(
        known[queries], pictures, context.of_texts(texts), right, np.ones(len(queries), np.int64)
    )
    return Measured(_cells(context, "image_to_text", task.column, item_queries, task))


def _same_product(context: EvalContext, task: ImageToImage) -> Measured:
    inside = np.arange(len(context.catalogue)) if context.within is None else np.flatnonzero(context.within)
    products = context.sampler.of_row[inside]
    sizes = np.bincount(products, minlength=len(context.sampler.names))[products]
    queries = _thinned(context, np.flatnonzero(sizes > 1), task)
    if len(queries) < 2:
        return Measured(
            notes=["image_to_image_product: no product has two pictures"] if context.segment is None else []
        )

    def right(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return products[answers] == products[queries[block]]

    def void(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return answers == queries[block]

    pictures = {system: vectors[inside] for system, vectors in context.pictures.items()}
    vectors = {system: gallery[queries] for system, gallery in pictures.items()}
    item_queries = ItemQueries(inside[queries], vectors, pictures, right, sizes[queries] - 1, void, 1)
    return Measured(_cells(context, "image_to_image_product", None, item_queries, task))


def _shared_value(context: EvalContext, task: ImageToImage, attribute: str) -> Measured:
    if not context.exclusive(attribute):
        return Measured(notes=[f"image_to_image of {attribute}: measured for attributes of one value per item only"])
    known, values, codes = _texts(context, attribute)
    products = context.sampler.of_row[known]
    pairs = codes * len(context.sampler.names) + products
    _, pair, sizes = np.unique(pairs, return_inverse=True, return_counts=True)
    totals = np.bincount(codes, minlength=len(values))[codes] - sizes[pair]
    enough = np.bincount(codes, minlength=len(values))[codes] >= context.min_items
    queries = _thinned(context, np.flatnonzero(enough & (totals > 0)), task)
    if len(queries) < 2:
        return Measured(notes=_nothing(context, "image_to_image", attribute))

    def right(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return codes[answers] == codes[queries[block]]

    def void(block: np.ndarray, answers: np.ndarray) -> np.ndarray:
        return products[answers] == products[queries[block]]

    pictures = {system: vectors[known] for system, vectors in context.pictures.items()}
    vectors = {system: gallery[queries] for system, gallery in pictures.items()}
    most = int(np.bincount(products).max())
    item_queries = ItemQueries(known[queries], vectors, pictures, right, totals[queries], void, most)
    return Measured(_cells(context, "image_to_image", attribute, item_queries, task, values, codes[queries]))


def _cells(
    context: EvalContext,
    name: str,
    attribute: str | None,
    item_queries: ItemQueries,
    task: Ranking,
    values: list[str] | None = None,
    codes: Int[np.ndarray, " queries"] | None = None,
) -> list[Cell]:
    """Means over queries; where queries have values, means over the values' means, also by bin."""
    groups: dict[Bin, list[int]] = {"all": [0]}
    classes = np.zeros(len(item_queries.rows), np.int64)
    if values is not None and codes is not None and attribute is not None:
        present = np.unique(codes)
        groups = context.binned(attribute, [values[code] for code in present])
        classes = np.searchsorted(present, codes)
    scores = item_queries.scores(task, figures(task.metrics, task.k))
    cells = []
    for bin_, members in groups.items():
        if bin_ != "all" and context.segment is not None:
            continue
        weights = np.zeros(int(classes.max()) + 1)
        weights[members] = 1.0 / len(members)
        rows = item_queries.rows[np.isin(classes, members)]
        size = (len(rows), context.sampler.products(rows))
        for (metric, k), by_system in scores.items():
            evidence = ClassMeans(dict(by_system), classes, item_queries.rows, weights)
            cells.append(Cell(context.task(name), attribute, None, bin_, metric, k, *size, evidence))
    return cells


def _texts(context: EvalContext, column: str) -> tuple[Int[np.ndarray, " known"], list[str], Int[np.ndarray, " known"]]:
    """Rows whose cell is known, the distinct cells, and which of them each row has."""
    known = context.rows(column)
    sets = context.value_sets(column)
    texts, codes = np.unique(np.array([next(iter(sets[row])) for row in known], np.str_), return_inverse=True)
    return known, texts.tolist(), codes


def _thinned(context: EvalContext, places: Int[np.ndarray, " n"], task: Ranking) -> Int[np.ndarray, " m"]:
    """At most `queries` of them, in their order."""
    if len(places) <= task.queries:
        return places
    chosen = keyed.generator(context.statistics.seed, "queries").choice(len(places), task.queries, replace=False)
    return places[np.sort(chosen)]


def _nothing(context: EvalContext, name: str, column: str) -> list[str]:
    return [] if context.segment is not None else [f"{name} of {column}: fewer than two queries; nothing to compare"]
