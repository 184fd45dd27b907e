"""The recognition task: which of an attribute's values each item has, attribute by attribute.

All values on offer compete whatever is reported, so a rare value's figure counts the common ones it is taken for.
Items whose value is not on offer, and unknown ones, are left out. Nothing here knows of intervals.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field
from scipy.sparse import csr_matrix

from clipadapt.data.catalogue import Catalogue
from clipadapt.evaluation.details import Confusion
from clipadapt.evaluation.inputs import prepare
from clipadapt.evaluation.tasks.context import EvalContext, Measured
from clipadapt.evaluation.tasks.flips import flips
from clipadapt.evaluation.tasks.reliability import reliabilities
from clipadapt.evaluation.tasks.task import Task, no_column, no_values
from clipadapt.recognition.accuracy import accuracies, recall, recalls
from clipadapt.recognition.predict import Predictions, recognise
from clipadapt.statistics.cells import Cell
from clipadapt.statistics.evidence import ClassMeans, Resampled, totals_evidence
from clipadapt.statistics.rows import HEADLINE, QUOTED, Bin
from clipadapt.statistics.sampling import Sampler

Metric = Literal["top1", "balanced_accuracy", "macro_f1", "recall"]


class Recognition(Task):
    """Which of an attribute's values a picture has, the one whose texts are nearest."""

    task: str = "recognition"
    attributes: tuple[str, ...] | None = None
    """null: all attributes of the catalogue."""
    candidates: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Attribute -> the values to choose from; where not named, those with `min_items` items in the split."""
    prompts: Literal["ensemble", "plain"] = "ensemble"
    """ensemble: the mean of all the prompts file says of a value; plain: its one plain text."""
    metrics: tuple[Metric, ...] = ("top1", "balanced_accuracy", "macro_f1", "recall")
    segments: tuple[str, ...] = ()
    """Columns whose values are measured apart as well, such as gender."""

    @property
    def by_wording(self) -> bool:
        """Ensembles of texts are; a plain text is one of its own."""
        return self.prompts == "ensemble"

    def faults(self, catalogue: Catalogue) -> Iterator[str]:
        """Columns and values that are not there."""
        for name in self.segments:
            yield from no_column(catalogue, name, "segments")
        for attribute, values in self.candidates.items():
            yield from no_values(catalogue, attribute, values, "candidates")
        for name in self.attributes or ():
            yield from no_column(catalogue, name, "attributes")

    def attributes_of(self, context: EvalContext) -> tuple[str, ...]:
        """Those it recognises."""
        return context.attributes(self.attributes)

    def measure(self, context: EvalContext) -> Measured:
        """Every attribute, over all values, by bin and by value; then each segment over all values."""
        measured = Measured()
        tune = None
        for attribute in context.attributes(self.attributes):
            values = list(self.candidates.get(attribute, ())) or context.offered(attribute)
            if len(values) < 2:
                few = f"{len(values)} value(s) with {context.min_items} items or more"
                measured.notes.append(f"recognition of {attribute}: {few}; nothing to distinguish")
                continue
            if reason := context.unrecognisable(attribute):
                measured.notes.append(f"recognition of {attribute}: {reason}")
                continue
            classifiers = context.classifiers(attribute, values, plain=self.prompts == "plain")
            measured_before = context.wording not in (None, QUOTED) and context.wording_of(attribute) is None
            for part in context.parts(self.segments):
                predictions = recognise(attribute, values, part.value_sets(attribute), context.pictures, classifiers)
                if not len(predictions.items):
                    continue
                if measured_before:  # by linear heads, whatever the wording: headlines alone need it again
                    measured.predictions[attribute] = predictions
                    continue
                measured += _attribute(part, self, predictions)
                if part.segment is None and context.exclusive(attribute):
                    if context.tune is not None and tune is None:
                        tune = prepare(context.encoders, context.tune, context.vectors, progress=context.progress)
                    measured += reliabilities(context, predictions, classifiers, tune)
        return measured

    @classmethod
    def headlines(cls, context: EvalContext, measured: Measured, headline: Sequence[str]) -> Measured:
        """The mean over the headline attributes of balanced accuracy, and the mean over all their rare values of
        recall.
        """
        quoted = Measured()
        parts = [one for name, one in measured.predictions.items() if name in headline]
        means = accuracies(parts, context.train_counts, context.min_items)
        wanted: tuple[tuple[str, Bin], ...] = (("balanced_accuracy", "all"), ("rare_balanced_accuracy", "rare"))
        for metric, bin_ in wanted:
            if metric not in means:
                quoted.notes.append(f"headline {metric}: no headline attribute has such values with items enough")
                continue
            evidence = means[metric]
            used = np.unique(evidence.rows[evidence.weights[evidence.classes] > 0])
            size = (len(used), context.sampler.products(used))
            wording = context.wording if any(context.wording_of(one.attribute) for one in parts) else None
            quoted.cells.append(Cell(HEADLINE, None, None, bin_, metric, None, *size, evidence, wording))
        missing = [name for name in headline if name not in measured.predictions]
        if parts and missing:
            without = ", ".join(missing)
            quoted.notes.append(f"headline balanced_accuracy: without {without}, which could not be measured")
        return quoted


def _attribute(context: EvalContext, task: Recognition, predictions: Predictions) -> Measured:
    """The cells of one attribute."""
    rows = predictions.rows
    scored = np.flatnonzero(predictions.counts >= context.min_items)
    measured = Measured()

    def add(
        metric: str, places: list[int], evidence: ClassMeans | Resampled, bin_: Bin, value: str | None = None
    ) -> None:
        used = np.unique(rows[np.isin(predictions.cases[:, 1], places)])
        about = (context.task("recognition"), predictions.attribute, value, bin_, metric, None)
        size = (len(used), context.sampler.products(used))
        measured.cells.append(Cell(*about, *size, evidence, context.wording_of(predictions.attribute)))

    if not len(scored):
        return measured
    whole = list(range(len(predictions.values)))
    if "top1" in task.metrics:
        right = {system: hits.astype(np.float64) for system, hits in predictions.right.items()}
        one_class = np.zeros(len(predictions.items), np.int64)
        add("top1", whole, ClassMeans(right, one_class, predictions.items, np.ones(1)), "all")
    if "balanced_accuracy" in task.metrics:
        names = [predictions.values[place] for place in scored]
        for bin_, members in context.binned(predictions.attribute, names).items():
            places = [int(scored[member]) for member in members]
            if bin_ == "all" or context.segment is None:
                add("balanced_accuracy", places, recall(predictions, places), bin_)
    if "macro_f1" in task.metrics and context.exclusive(predictions.attribute):
        add("macro_f1", scored.tolist(), macro_f1(predictions, scored, context.sampler), "all")
    if context.segment is not None:
        return measured
    if "recall" in task.metrics:
        of_value = recalls(predictions)
        for place in scored.tolist():
            value = predictions.values[place]
            add("recall", [place], of_value[place], context.bin(predictions.attribute, value), value)
    if context.exclusive(predictions.attribute):
        truth = predictions.cases[:, 1]
        measured.confusions.append(Confusion(predictions.attribute, predictions.values, truth, predictions.chosen))
        changed = flips(context, predictions) if context.wording in (None, QUOTED) else None
        measured.flips += [] if changed is None else [changed]
    if "balanced_accuracy" in task.metrics:
        measured.predictions[predictions.attribute] = predictions
    return measured


def macro_f1(predictions: Predictions, scored: np.ndarray, sampler: Sampler) -> Resampled:
    """The mean over values of the harmonic mean of precision and recall; for attributes of one value per item."""
    size, items = len(predictions.values), np.arange(len(predictions.items))
    truth = predictions.cases[:, 1]
    totals = {}
    for system, chosen in predictions.chosen.items():
        right = items[chosen == truth]
        rows = np.concatenate([right, items, items])  # each item counts as right, as of its value and as chosen
        sums = np.concatenate([truth[right], size + truth, 2 * size + chosen])
        totals[system] = csr_matrix((np.ones(len(rows)), (rows, sums)), shape=(len(items), 3 * size))

    def figure(sums: Float[np.ndarray, "columns sums"]) -> Float[np.ndarray, " columns"]:
        both, true, chosen = np.split(sums, 3, axis=1)
        return (2 * both / np.maximum(true + chosen, 1e-12))[:, scored].mean(axis=1)

    return totals_evidence(totals, predictions.items, sampler, figure)
