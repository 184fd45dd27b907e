"""Which epoch is the best: recognition of attribute values on tune, judged as the final evaluation judges.

Recognition is that of clipadapt/recognition, by the prompts' texts or by the encoder's linear head. Tune is small, so
every value that it has competes and counts, where the evaluation asks for some items of each. Nothing here knows of
optimizers or files.
"""

import functools
import logging
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from clipadapt import config
from clipadapt.data.bins import rare, training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import Text
from clipadapt.prompts.wordings import Wordings
from clipadapt.recognition.accuracy import accuracies, offered
from clipadapt.recognition.predict import recognise
from clipadapt.recognition.values import Classifier, ensemble_vectors, head_classifier, mixed, value_vectors
from clipadapt.towers.encode import encode_texts_batched
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.value_vectors import ValueVectors
from clipadapt.training.labels import labels_of
from clipadapt.training.logit_scale import LogitScale
from clipadapt.training.objective import Objective
from clipadapt.training.value_vectors import SHARPNESS, ValueTable, choose_weights, smooth_figure
from clipadapt.training.vectors import picture_vectors

log = logging.getLogger(__name__)

FILE, HELD_OUT = "file", "held_out"
"""The wordings that values are judged in: the prompts file's, and one that training never uses."""
_FALLBACKS = ("rare_balanced_accuracy", "balanced_accuracy", "top1", "smooth", "loss")


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
        wordings: Wordings | None = None,
    ) -> None:
        """`wordings`: how training words values, so that what it never uses is known.
        `told`: the attributes that the encoder's linear head tells; None: texts tell them all.

        Raises:
            TrainingError: tune has no labels to choose by, and those of a head, or a loss over values, need some.
        """
        self._tune = tune
        self._prompts = prompts
        self._processes = processes
        self._wordings = wordings or Wordings(prompts, seed=settings.seed)
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
        if self.metric == "loss" and settings.train.order == "pictures_first":
            raise TrainingError(
                "train.order pictures_first: tune has two values of no exclusive attribute in eval.headline, so no "
                f"epoch of pictures could be chosen; raise data.splits.tune (now {settings.data.splits.tune}), look at "
                "eval.headline, or set train.order to texts_first"
            )
        if (
            self.metric == "loss"
            and settings.loss.name == "attributes"
            and not labels_of(tune, settings.loss.attribute_weights)
        ):
            raise TrainingError(
                f"tune has {len(tune)} item(s) and two values of no attribute, so no epoch could be chosen: raise "
                f"data.splits.tune (now {settings.data.splits.tune}), or label more items"
            )
        self._objective = Objective(settings.loss, tune, prompts, seed=settings.seed) if self.metric == "loss" else None

    def measure(
        self, encoder: TorchEncoder, logit_scale: LogitScale, table: ValueTable | None = None
    ) -> tuple[tuple[float, ...], dict[str, float]]:
        """(score, figures): the score orders epochs, ties broken by balanced accuracy; figures are for the log.

        Values are worded as the prompts file does and in words that training never uses, and a score is the mean of
        both; figures of the file's wording begin with `file_`. With a table, the encoder gets its value vectors, and
        their shares in mixtures are chosen here. Collective: every process calls it and gets the same.
        """
        images = self.pictures(encoder)
        with torch.compiler.set_stance("force_eager"):
            pictures = images.cpu().numpy()
            scale = float(logit_scale.scale().detach())
            if table is not None and table.started:
                encoder.value_vectors = self._chosen(encoder, table, pictures, scale)
            figures = self._recognition(encoder, pictures, scale)
            if self._objective is not None:
                figures["loss"] = self._loss(self._objective, encoder, logit_scale, images)
        if self.metric == "loss":
            return (-figures["loss"], figures.get("balanced_accuracy", 0.0)), figures
        return (_of_both(figures, self.metric), _of_both(figures, "balanced_accuracy")), figures

    def pictures(self, encoder: TorchEncoder) -> Tensor:
        """Unit vectors of tune's pictures, on every process."""
        return picture_vectors(encoder, self._tune, self._processes, batch_size=self._batch)

    def _chosen(self, encoder: TorchEncoder, table: ValueTable, pictures: np.ndarray, scale: float) -> ValueVectors:
        """The table's vectors with the shares that tune chooses, for texts in held-out words."""
        fitted = {"by": "both directions, from labelled pictures", "weights_chosen_on": "tune, in held-out wording"}
        learned = table.kept(encoder.image_space, {}, fitted, pictures)
        texts = {name: self._texts(encoder, name, one.values, HELD_OUT) for name, one in learned.attributes.items()}
        weights = choose_weights(learned, self._tune, pictures, texts, scale=scale)
        return table.kept(encoder.image_space, weights, fitted, pictures)

    def _texts(self, encoder: TorchEncoder, attribute: str, values: Sequence[str], wording: str) -> np.ndarray:
        """Unit vectors of the values' texts in one wording."""
        encode = functools.partial(encode_texts_batched, encoder)
        if wording == FILE:
            return value_vectors(self._prompts, attribute, values, encode)
        ensembles = [
            [Text(text, share, -1, "") for text, share in self._wordings.held_out(attribute, value)] for value in values
        ]
        return ensemble_vectors(ensembles, encode)

    def _recognition(self, encoder: TorchEncoder, images: np.ndarray, scale: float) -> dict[str, float]:
        """Accuracies of the attributes, as the final evaluation defines them, and the smooth figure."""
        figures: dict[str, float] = {}
        for wording, prefix in ((HELD_OUT, ""), (FILE, "file_")) if encoder.head is None else ((FILE, ""),):
            predictions, smooth = [], []
            for attribute, values in self._values.items():
                if encoder.head is not None:
                    classifier = head_classifier(encoder.head, attribute, values)
                else:
                    texts = self._texts(encoder, attribute, values, wording)
                    classifier = Classifier.cosine(mixed(encoder, attribute, values, texts))
                sets = self._tune.value_sets(attribute)
                predictions.append(recognise(attribute, values, sets, {"": images}, {"": classifier}))
                smooth.append(_smooth(images, classifier, sets, values, scale))
            means = accuracies(predictions, self._counts)
            figures |= {f"{prefix}{name}": mean.mean("") for name, mean in means.items()}
            if smooth:
                figures[f"{prefix}smooth"] = float(np.mean(smooth))
        return figures

    @torch.no_grad()
    def _loss(self, objective: Objective, encoder: TorchEncoder, logit_scale: LogitScale, images: Tensor) -> float:
        """The training loss without augmentation, on the captions of epoch 0, in batches of training's size or less."""
        losses, parts = [], np.array_split(np.arange(len(images)), -(-len(images) // self._global_batch))
        for items in parts:  # as alike in size as they can be, so that the last ones count like the first
            text_batch = objective.texts_for(items, epoch=0, step=0).on(images.device)
            texts = encoder.encode_texts(text_batch.texts)
            outcome = objective.loss(text_batch, images[items], texts, scale=logit_scale.scale(), bias=logit_scale.bias)
            losses.append(float(outcome.loss))
        return float(np.average(losses, weights=[len(items) for items in parts]))

    def _measurable(self, wanted: str) -> str:
        """The metric that was asked for or, where tune has no labels for it, the nearest one it has; said aloud."""
        rarities = (rare(self._counts.get(name, {}), values) for name, values in self._values.items())
        possible = {
            "rare_balanced_accuracy": any(rarities),
            "balanced_accuracy": bool(self._values),
            "top1": bool(self._values),
            "smooth": bool(self._values),
            "loss": True,
        }
        for metric in _FALLBACKS[_FALLBACKS.index(wanted) :]:
            if possible[metric]:
                if metric != wanted:
                    log.warning("eval.select_on %s: tune has no labels for it; epochs are chosen by %s", wanted, metric)
                return metric
        raise AssertionError("loss is always possible")


def _of_both(figures: Mapping[str, float], metric: str) -> float:
    """The mean of a figure over the wordings it was measured in."""
    return float(np.mean([figures.get(name, 0.0) for name in (metric, f"file_{metric}") if name in figures] or [0.0]))


def _smooth(
    images: np.ndarray, classifier: Classifier, sets: Sequence[frozenset[str]], values: Sequence[str], scale: float
) -> float:
    """`smooth_figure` of one attribute over its labelled items; 0 where tune has none."""
    has = np.array([[value in own for value in values] for own in sets], bool)
    rows = np.flatnonzero(has.any(axis=1))
    if not len(rows):
        return 0.0
    return smooth_figure(classifier.scores(images[rows]), has[rows], scales=[part * scale for part in SHARPNESS])
