"""From gradients to changed weights: averaged over processes, checked, clipped, and stepped at the rate of the step.

Nothing is changed by a step whose loss or gradient is no number. fp16's loss scale lives here too: a step that
overflowed is skipped and tried at a smaller scale next time, as torch's GradScaler does, until the scale is so small
that the numbers themselves are at fault. Nothing here knows of batches or epochs.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from clipadapt.config import Train
from clipadapt.errors import TrainingError
from clipadapt.processes.exchange import Processes
from clipadapt.training import optim
from clipadapt.training.guards import finite

_SMALLEST_SCALE = 1.0
"""Below this fp16 cannot be what makes a gradient infinite."""


class Updates:
    """The optimizer of some parameters.

    updates.clear(); loss.backward(); norm = updates.apply(loss, rate, step=0, items=["17", "31"])
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        settings: Train,
        processes: Processes,
        *,
        scaler: torch.amp.GradScaler | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        """`check` looks at the gradients of the first step, once they are complete."""
        self.parameters = dict(parameters)
        self.optimizer = optim.adamw(self.parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        self._limit = settings.clip
        self._processes = processes
        self._scaler = scaler
        self._check = check

    @property
    def loss_scale(self) -> tuple[float, int] | None:
        """fp16's gradient scale, and the steps since it last changed; None in other precisions."""
        if self._scaler is None:
            return None
        state = self._scaler.state_dict()
        return float(state["scale"]), int(state["_growth_tracker"])

    @loss_scale.setter
    def loss_scale(self, scale: tuple[float, int] | None) -> None:
        if self._scaler is not None and scale is not None:
            changed = {"scale": scale[0], "_growth_tracker": scale[1]}
            self._scaler.load_state_dict(self._scaler.state_dict() | changed)

    def clear(self) -> None:
        """Forgets all gradients."""
        self.optimizer.zero_grad()

    def apply(self, loss: float, rate: float, *, step: int, items: Sequence[str]) -> float:
        """Steps the optimizer; returns the gradient's norm before clipping. `step` and `items` name it in errors.

        Raises:
            TrainingError: the loss or the gradient is no number; nothing was changed.
            AdapterError: from `check`, in the first step.
        """
        parameters = list(self.parameters.values())
        self._processes.average_gradients(parameters)
        if self._check is not None:
            self._check()
            self._check = None
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        norm = optim.clip(parameters, self._limit)
        scaled = self._scaler is not None and self._scaler.get_scale() > _SMALLEST_SCALE
        if fault := finite(loss, 0.0 if scaled else norm, step=step, items=items):
            raise TrainingError(fault)
        optim.set_lr(self.optimizer, rate)
        if self._scaler is None:
            self.optimizer.step()
        else:
            self._scaler.step(self.optimizer)
            self._scaler.update()
        return norm
