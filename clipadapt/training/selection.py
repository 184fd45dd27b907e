"""Which epoch is the best: recognition of attribute values on tune, judged as the final evaluation judges.

An item's value is the one whose prompts' vector is nearest among all values with training items, or the one that the
encoder's linear head gives the highest score. Accuracy is balanced
over values; rare values are those with few or medium training items. Tune is small, so rare values are pooled over
attributes: a mean per attribute would hang on single items. Nothing here knows of optimizers or files.
"""

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from clipadapt import config
from clipadapt.data.bins import rare
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.towers.encode import value_vectors
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.objective import Objective
from clipadapt.training.vectors import picture_vectors

log = logging.getLogger(__name__)

_FALLBACKS = ("rare_balanced_accuracy", "balanced_accuracy", "top1", "loss")


class Recall(NamedTuple):
    """How one value fares on tune."""

    attribute: str
    value: str
    right: int
    items: int
    rare: bool


class Selection:
    """Measures a model on tune; larger scores are better.

    selection = Selection(config, train, tune, prompts, processes)
    score, figures = selection.measure(encoder, logit_scale)
    """

    def __init__(
        self,
        settings: config.Config,
        train: Catalogue,
        tune: Catalogue,
        prompts: Prompts,
        processes: Processes,
        *,
        told: Collection[str] | None = None,
    ) -> None:
        """`told`: the attributes that the encoder's linear head tells; None: texts tell them all.

        Raises:
            TrainingError: with a head, tune has no labels to choose by.
        """
        self._tune = tune
        self._prompts = prompts
        self._processes = processes
        self._batch = settings.train.micro_batch
        self._global_batch = min(settings.train.batch_size, len(tune))
        self._counts = {
            attribute.name: train.counts(attribute.name)
            for attribute in tune.attributes
            if attribute.kind == "exclusive"
            and attribute.name in (settings.eval.headline or (attribute.name,))
            and (told is None or attribute.name in told)
        }
        self.metric = self._measurable(settings.eval.select_on)
        """What epochs are chosen by."""
        if told is not None and self.metric == "loss":
            raise TrainingError(
                "head linear: tune has no label of a headline attribute that the head tells, so no epoch could be "
                "chosen; raise data.splits.tune, or look at eval.headline"
            )
        self._objective = Objective(settings.loss, tune, prompts, seed=settings.seed) if self.metric == "loss" else None

    def measure(self, encoder: TorchEncoder, logit_scale: LogitScale) -> tuple[tuple[float, ...], dict[str, float]]:
        """(score, figures): the score orders epochs, ties broken by balanced accuracy; figures are for the log.

        Collective: every process calls it and gets the same.
        """
        images = picture_vectors(encoder, self._tune, self._processes, batch_size=self._batch)
        with torch.compiler.set_stance("force_eager"):
            recalls = self._recalls(encoder, images.cpu().numpy())
            figures = summary(recalls)
            if self._objective is not None:
                figures["loss"] = self._loss(self._objective, encoder, logit_scale, images)
        chosen = -figures["loss"] if self.metric == "loss" else figures[self.metric]
        return (chosen, figures.get("balanced_accuracy", 0.0)), figures

    def _recalls(self, encoder: TorchEncoder, images: np.ndarray) -> list[Recall]:
        found = []
        for attribute, counts in self._counts.items():
            values = sorted(counts)
            labels = self._tune.values(attribute)
            known = [item for item, label in enumerate(labels) if label in counts]
            if len(values) < 2 or not known:
                continue
            if encoder.head is not None:
                vectors, bias = encoder.head.scores_of(attribute, values)
            else:
                vectors, bias = value_vectors(encoder, self._prompts, attribute, values), 0.0
            nearest = [values[best] for best in (images[known] @ vectors.T + bias).argmax(axis=1)]
            unusual = rare(counts)
            for value in sorted({label for item in known if (label := labels[item])}):
                right = [guess == value for guess, item in zip(nearest, known, strict=True) if labels[item] == value]
                found.append(Recall(attribute, value, sum(right), len(right), value in unusual))
        return found

    @torch.no_grad()
    def _loss(self, objective: Objective, encoder: TorchEncoder, logit_scale: LogitScale, images: Tensor) -> float:
        """The training loss without augmentation, on the captions of epoch 0, in batches of the training size."""
        losses = []
        for start in range(0, len(images) - self._global_batch + 1, self._global_batch):
            items = np.arange(start, start + self._global_batch)
            text_batch = objective.texts_for(items, epoch=0, step=0).on(images.device)
            texts = encoder.encode_texts(text_batch.texts)
            outcome = objective.loss(text_batch, images[items], texts, scale=logit_scale.scale(), bias=logit_scale.bias)
            losses.append(float(outcome.loss))
        return float(np.mean(losses))

    def _measurable(self, wanted: str) -> str:
        """The metric that was asked for or, where tune has no labels for it, the nearest one it has; said aloud."""
        held = {name: counts.keys() & set(self._tune.values(name)) for name, counts in self._counts.items()}
        possible = {
            "rare_balanced_accuracy": any(held[name] & rare(counts) for name, counts in self._counts.items()),
            "balanced_accuracy": any(held.values()),
            "top1": any(held.values()),
            "loss": True,
        }
        for metric in _FALLBACKS[_FALLBACKS.index(wanted) :]:
            if possible[metric]:
                if metric != wanted:
                    log.warning("eval.select_on %s: tune has no labels for it; epochs are chosen by %s", wanted, metric)
                return metric
        raise AssertionError("loss is always possible")


def summary(recalls: Sequence[Recall]) -> dict[str, float]:
    """Figures over values: means of recalls per attribute, then over attributes; rare values pooled."""
    by_attribute: dict[str, list[Recall]] = {}
    for recall in recalls:
        by_attribute.setdefault(recall.attribute, []).append(recall)
    if not by_attribute:
        return {}
    figures = {
        "balanced_accuracy": float(
            np.mean([np.mean([r.right / r.items for r in group]) for group in by_attribute.values()])
        ),
        "top1": float(
            np.mean([sum(r.right for r in group) / sum(r.items for r in group) for group in by_attribute.values()])
        ),
    }
    unusual = [recall.right / recall.items for recall in recalls if recall.rare]
    if unusual:
        figures["rare_balanced_accuracy"] = float(np.mean(unusual))
    return figures
