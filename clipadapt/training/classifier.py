"""`head: linear` in training: a classifier per attribute on the image tower, and cross-entropy over its values.

It starts from the linear probe on the base's frozen vectors and is trained with the tower, so the probe is where
selection begins and what an epoch has to beat. A logit is scale x (weight . vector + bias): the factor lets a rate that
suits adapters move the classifier too. The frequency prior is added while training and left out when recognising, as
with texts. Nothing here knows of files.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from clipadapt import config
from clipadapt.config import Config
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import TrainingError
from clipadapt.prompts import Prompts
from clipadapt.towers.classifier import Linear, LinearHead
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.labels import Labels, labels_of
from clipadapt.training.objective import Base, Objective, Outcome, TextBatch
from clipadapt.training.probe import fit_probe

SCALE = 50.0
"""Factor on the classifier's outputs where `loss.scale` is null."""


class Classifier(nn.Module):
    """A weight and a bias for each value of each attribute, in training; zero until `start`."""

    def __init__(self, labels: Sequence[Labels], dim: int, scale: float | None) -> None:
        super().__init__()
        self.values = {one.attribute: tuple(one.values) for one in labels}
        self.factor = SCALE if scale is None else scale
        rows = dict.fromkeys(self.values, dim + 1)
        self._at = {name: number for number, name in enumerate(rows)}
        self.lines = nn.ParameterList([torch.zeros(len(self.values[name]), wide) for name, wide in rows.items()])
        """Per attribute the weights, the bias as the last column."""

    def line(self, attribute: str) -> Float[Tensor, "v wide"]:
        """Weights and bias of one attribute, over vectors with a one appended."""
        return self.lines[self._at[attribute]]

    @torch.no_grad()
    def start(self, probe: LinearHead) -> None:
        """Takes a probe's weights."""
        for name in self.values:
            own = probe.attributes[name]
            whole = np.concatenate([own.weight, own.bias[:, None]], axis=1) / self.factor
            self.line(name).copy_(torch.from_numpy(whole))

    def head(self, image_space: str, fitted: dict[str, Any]) -> LinearHead:
        """As it is now, for recognising and for the file."""
        found = {}
        for name, values in self.values.items():
            whole = (self.line(name).detach().float() * self.factor).cpu().numpy().copy()
            found[name] = Linear(values, whole[:, :-1], whole[:, -1])
        return LinearHead(found, image_space, fitted)


class ClassifierObjective(Objective):
    """Cross-entropy over the values of each attribute, from pictures alone."""

    def __init__(
        self,
        loss: config.Loss,
        catalogue: Catalogue,
        prompts: Prompts,
        *,
        seed: int,
        titles: Sequence[str] = (),
    ) -> None:
        """Raises:
        TrainingError: no attribute with two values to tell apart.
        """
        if not labels_of(catalogue, loss.attribute_weights):
            raise TrainingError(
                f"head linear: in {catalogue.split!r} of {catalogue.source} no attribute has two values with items; "
                "name filled columns in data.attributes"
            )
        own = loss.model_copy(update={"name": "attributes", "caption_weight": 0.0})
        super().__init__(own, catalogue, prompts, seed=seed, titles=titles)
        self.classifier: Classifier | None = None
        """To be set before the first loss."""

    def texts_for(self, items: np.ndarray, *, epoch: int, step: int, captioned: int | None = None) -> TextBatch:
        """No text at all."""
        return TextBatch(torch.from_numpy(np.ascontiguousarray(items)), [], None, {})

    def loss(
        self,
        text_batch: TextBatch,
        image: Float[Tensor, "b d"],
        text: Float[Tensor, "t d"],
        *,
        scale: Tensor,
        bias: Tensor | None = None,
        base: Base | None = None,
    ) -> Outcome:
        """From the unit vectors of all pictures; the classifier gets its gradient here."""
        assert self.classifier is not None
        factor = torch.tensor(self.classifier.factor, device=image.device)
        with_one = F.pad(image, (0, 1), value=1.0)
        return super().loss(text_batch, with_one, with_one[:0], scale=factor)

    def value_rows(self, labels: Labels, text_batch: TextBatch, text: Tensor) -> Iterator[tuple[str, Tensor, float]]:
        """The classifier's rows in place of texts."""
        assert self.classifier is not None
        yield "head", self.classifier.line(labels.attribute), 1.0


class HeadTraining:
    """A run's linear head: where it starts, and how the encoder comes by it."""

    def __init__(self, objective: ClassifierObjective, encoder: TorchEncoder, config: Config) -> None:
        self.classifier = Classifier(objective.labels, encoder.dim, config.loss.scale).to(encoder.device)
        objective.classifier = self.classifier
        self._encoder = encoder
        self._probe_alone = config.train.trainable == "head"

    def start(self, train: Catalogue, vectors: Tensor, tune: Catalogue, tuned: Tensor) -> None:
        """Fits the linear probe on the frozen vectors of train, chosen on tune, and starts from it."""
        values, space = self.classifier.values, self._encoder.lineage.image_space
        some = [
            (one.cpu().numpy(), {name: of.values(name) for name in values})
            for of, one in ((train, vectors), (tune, tuned))
        ]
        self._encoder.base_probe = fit_probe(values, some[0], some[1], image_space=space)
        self.classifier.start(self._encoder.base_probe)

    def put(self) -> None:
        """Lets the encoder tell attributes by the classifier as it is now."""
        probe = self._encoder.base_probe
        if probe is not None:
            by = "the linear probe it started from, trained on with the image tower"
            fitted = dict(probe.fitted) if self._probe_alone else {"by": by, "chosen_on": "tune"}
            self._encoder.head = self.classifier.head(self._encoder.image_space, fitted)
