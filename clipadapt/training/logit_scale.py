"""The factor on cosines: the base's own, another one for training, or one that is trained.

A frozen scale that a config sets is used by the loss and not written into the model; a trained one is the model's own
parameter and leaves with the adapter. Nothing here knows of batches.
"""

import logging
import math

import torch
from torch import Tensor, nn

from clipadapt import config
from clipadapt.recipe import LARGEST_SCALE
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.training.optim import clamp_scale

log = logging.getLogger(__name__)


class LogitScale:
    """Scale and bias of one run; `prepare` must have run before the optimizer is made."""

    def __init__(self, encoder: TorchEncoder, loss: config.Loss) -> None:
        alone = encoder.context_length is None
        self._parameter = nn.Parameter(torch.zeros((), device=encoder.device), False) if alone else encoder.logit_scale
        self.trained = loss.logit_scale == "trained"
        if self.trained:
            with torch.no_grad():
                if loss.scale is not None:
                    self._parameter.fill_(math.log(loss.scale))
                elif encoder.scale > LARGEST_SCALE:
                    log.warning(
                        "loss.logit_scale trained: begins at %g, where a trained scale ends, and not at the base's %g",
                        LARGEST_SCALE, encoder.scale,
                    )  # fmt: skip
                clamp_scale(self._parameter)
            self._parameter.requires_grad_(True)
        self._fixed = encoder.scale if loss.scale is None else loss.scale
        self._bias = encoder.logit_bias
        if self.trained and self._bias is not None:
            self._bias.requires_grad_(True)

    def scale(self) -> Tensor:
        """The factor, in float32; with gradient when it is trained."""
        if self.trained:
            return self._parameter.float().exp() if self._parameter.dtype != torch.float64 else self._parameter.exp()
        return torch.tensor(self._fixed, device=self._parameter.device)

    @property
    def bias(self) -> nn.Parameter | None:
        """SigLIP's own bias; None for a base without one."""
        return self._bias

    def clamp(self) -> None:
        """After each optimizer step."""
        if self.trained:
            clamp_scale(self._parameter)
