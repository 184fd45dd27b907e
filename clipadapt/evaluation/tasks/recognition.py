"""The recognition task: which of an attribute's values each item has, attribute by attribute.

All values on offer compete whatever is reported, so a rare value's figure counts the common ones it is taken for.
Items whose value is not on offer, and unknown ones, are left out. Nothing here knows of intervals.
"""

import numpy as np
from jaxtyping import Float

from clipadapt.evaluation.details import Confusion
from clipadapt.evaluation.suite import Recognition
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.recognition.predict import Predictions, recognise
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import ClassMeans, Resampled, totals_evidence
from clipadapt.statistics.rows import HEADLINE, Bin
from clipadapt.statistics.sampling import Sampler


def recognition(context: EvalContext, task: Recognition) -> Measured:
    """Every attribute, over all values, by bin and by value; then each segment over all values."""
    measured = Measured()
    for attribute in context.attributes(task.attributes):
        values = list(task.candidates.get(attribute, ())) or context.offered(attribute)
        if len(values) < 2:
            few = f"{len(values)} value(s) with {context.suite.min_items} items or more"
            measured.notes.append(f"recognition of {attribute}: {few}; nothing to distinguish")
            continue
        if reason := context.unrecognisable(attribute):
            measured.notes.append(f"recognition of {attribute}: {reason}")
            continue
        texts, biases = context.classifiers(attribute, values, plain=task.prompts == "plain")
        for part in context.parts(task.segments):
            predictions = recognise(attribute, values, part.value_sets(attribute), context.pictures, texts, biases)
            if len(predictions.items):
                measured += _attribute(part, task, predictions)
    return measured


def headlines(context: EvalContext, cells: list[Cell], headline: tuple[str, ...]) -> Measured:
    """The aggregates that are quoted, from the cells of the recognition task: the mean over the headline attributes of
    balanced accuracy, and the mean over all their rare values of recall.
    """
    measured = Measured()
    quoted: tuple[tuple[str, Bin], ...] = (("balanced_accuracy", "all"), ("rare_balanced_accuracy", "rare"))
    for metric, bin_ in quoted:
        wanted = ("recognition", "balanced_accuracy", bin_, None)
        found = {
            cell.attribute: cell
            for cell in cells
            if (cell.task, cell.metric, cell.bin, cell.value) == wanted and cell.attribute in headline
        }
        parts = [cell.evidence for cell in found.values() if isinstance(cell.evidence, ClassMeans)]
        if not parts:
            measured.notes.append(f"headline {metric}: no headline attribute has such values with items enough")
            continue
        evidence = _joined(parts, by_class=bin_ == "rare")
        used = evidence.rows[evidence.weights[evidence.classes] > 0]
        size = (len(used), context.sampler.products(used))
        measured.cells.append(Cell(HEADLINE, None, None, bin_, metric, None, *size, evidence))
        if bin_ == "all" and (missing := [name for name in headline if name not in found]):
            measured.notes.append(f"headline {metric}: without {', '.join(missing)}, which could not be measured")
    return measured


def _attribute(context: EvalContext, task: Recognition, predictions: Predictions) -> Measured:
    """The cells of one attribute."""
    rows = predictions.items[predictions.cases[:, 0]]
    counts = np.bincount(predictions.cases[:, 1], minlength=len(predictions.values))
    scored = np.flatnonzero(counts >= context.suite.min_items)
    measured = Measured()

    def add(
        metric: str, places: list[int], evidence: ClassMeans | Resampled, bin_: Bin, value: str | None = None
    ) -> None:
        used = rows[np.isin(predictions.cases[:, 1], places)]
        about = (context.task("recognition"), predictions.attribute, value, bin_, metric, None)
        measured.cells.append(Cell(*about, len(used), context.sampler.products(used), evidence))

    if not len(scored):
        return measured
    whole = list(range(len(predictions.values)))
    if "top1" in task.metrics:
        right = {system: own.astype(np.float64) for system, own in predictions.right.items()}
        add(
            "top1",
            whole,
            ClassMeans(right, np.zeros(len(predictions.items), np.int64), predictions.items, np.ones(1)),
            "all",
        )
    if "balanced_accuracy" in task.metrics:
        names = [predictions.values[place] for place in scored]
        for bin_, members in context.binned(predictions.attribute, names).items():
            places = [int(scored[member]) for member in members]
            if bin_ == "all" or context.segment is None:
                add("balanced_accuracy", places, class_means(predictions, rows, places), bin_)
    if "macro_f1" in task.metrics and context.exclusive(predictions.attribute):
        add("macro_f1", scored.tolist(), macro_f1(predictions, scored, context.sampler), "all")
    if context.segment is not None:
        return measured
    if "recall" in task.metrics:
        for place in scored.tolist():
            value = predictions.values[place]
            add(
                "recall",
                [place],
                class_means(predictions, rows, [place]),
                context.bin(predictions.attribute, value),
                value,
            )
    if context.exclusive(predictions.attribute):
        tables = {system: predictions.confusion(system) for system in predictions.chosen}
        measured.confusions.append(Confusion(predictions.attribute, predictions.values, tables))
    return measured


def class_means(predictions: Predictions, rows: np.ndarray, places: list[int]) -> ClassMeans:
    """Recall meaned over some values; the others stay as context."""
    weights = np.zeros(len(predictions.values))
    weights[places] = 1.0 / len(places)
    scores = {system: own.astype(np.float64) for system, own in predictions.hit.items()}
    return ClassMeans(scores, predictions.cases[:, 1], rows, weights)


def macro_f1(predictions: Predictions, scored: np.ndarray, sampler: Sampler) -> Resampled:
    """The mean over values of the harmonic mean of precision and recall; for attributes of one value per item."""
    size = len(predictions.values)
    truth = np.eye(size)[predictions.cases[:, 1]]
    totals = {}
    for system, chosen in predictions.chosen.items():
        guess = np.eye(size)[chosen]
        totals[system] = np.hstack([truth * guess, truth, guess])

    def figure(sums: Float[np.ndarray, "columns sums"]) -> Float[np.ndarray, " columns"]:
        both, true, chosen = np.split(sums, 3, axis=1)
        return (2 * both / np.maximum(true + chosen, 1e-12))[:, scored].mean(axis=1)

    return totals_evidence(totals, predictions.items, sampler, figure)


def _joined(parts: list[ClassMeans], *, by_class: bool) -> ClassMeans:
    """One mean over several attributes: each attribute counts alike, or each value does."""
    offsets = np.cumsum([0, *(len(part.weights) for part in parts)])
    weights = [(part.weights > 0) * 1.0 if by_class else part.weights for part in parts]
    merged = np.concatenate(weights)
    return ClassMeans(
        {system: np.concatenate([part.scores[system] for part in parts]) for system in parts[0].scores},
        np.concatenate([part.classes + offset for part, offset in zip(parts, offsets, strict=False)]),
        np.concatenate([part.rows for part in parts]),
        merged / merged.sum(),
    )
