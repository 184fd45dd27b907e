"""Which epoch is the best: recognition of attribute values on tune, judged as the final evaluation judges.

Recognition is that of clipadapt/recognition, by the prompts' texts or by the encoder's linear head. Tune is small, so
every value that it has competes and counts, where the evaluation asks for some items of each. Nothing here knows of
optimizers or files.
"""

import functools
import logging
from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from clipadapt import config
from clipadapt.data.bins import rare, training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.recognition.accuracy import accuracies, offered
from clipadapt.recognition.predict import recognise
from clipadapt.recognition.values import head_classifier, text_classifier
from clipadapt.towers.encode import encode_texts_batched
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.objective import Objective
from clipadapt.training.vectors import picture_vectors

log = logging.getLogger(__name__)

_FALLBACKS = ("rare_balanced_accuracy", "balanced_accuracy", "top1", "loss")


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
        wanted = [
            attribute.name
            for attribute in tune.attributes
            if attribute.kind == "exclusive"
            and attribute.name in (settings.eval.headline or (attribute.name,))
            and (told is None or attribute.name in told)
        ]
        self._counts = training_counts(train, tune)
        values = {name: offered(tune.counts(name)) for name in wanted}
        self._values = {name: own for name, own in values.items() if len(own) > 1}
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
            figures = self._recognition(encoder, images.cpu().numpy())
            if self._objective is not None:
                figures["loss"] = self._loss(self._objective, encoder, logit_scale, images)
        chosen = -figures["loss"] if self.metric == "loss" else figures[self.metric]
        return (chosen, figures.get("balanced_accuracy", 0.0)), figures

    def _recognition(self, encoder: TorchEncoder, images: np.ndarray) -> dict[str, float]:
        """Accuracies of the attributes, as the final evaluation defines them."""
        encode = functools.partial(encode_texts_batched, encoder)
        predictions = []
        for attribute, values in self._values.items():
            if encoder.head is not None:
                classifier = head_classifier(encoder.head, attribute, values)
            else:
                classifier = text_classifier(self._prompts, attribute, values, encode)
            sets = self._tune.value_sets(attribute)
            predictions.append(recognise(attribute, values, sets, {"": images}, {"": classifier}))
        return {name: means.mean("") for name, means in accuracies(predictions, self._counts).items()}

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
        rarities = (rare(self._counts.get(name, {}), values) for name, values in self._values.items())
        possible = {
            "rare_balanced_accuracy": any(rarities),
            "balanced_accuracy": bool(self._values),
            "top1": bool(self._values),
            "loss": True,
        }
        for metric in _FALLBACKS[_FALLBACKS.index(wanted) :]:
            if possible[metric]:
                if metric != wanted:
                    log.warning("eval.select_on %s: tune has no labels for it; epochs are chosen by %s", wanted, metric)
                return metric
        raise AssertionError("loss is always possible")
