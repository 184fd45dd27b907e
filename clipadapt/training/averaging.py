"""An exponential moving average of what is trained: what tune judges and a run keeps, smoother than any single step.

    average = Average(parameters, decay=0.98)
    average.update()              # after each step of the optimizer
    with average.applied():       # the averages in place of the weights; the weights again afterwards
        ...

The average starts at the weights themselves, so there is nothing to correct for. Nothing here knows of optimizers.
Source: Polyak & Juditsky, "Acceleration of stochastic approximation by averaging" (1992), in its exponential form.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """Averages of some parameters; a decay of 0 keeps none, and `applied` changes nothing."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.kept: dict[str, nn.Parameter] = {}
        """The averages by name, for a checkpoint, which puts its values into them in place."""
        if decay:
            self.kept = {
                f"average.{name}": nn.Parameter(parameter.detach().clone(), requires_grad=False)
                for name, parameter in parameters.items()
            }

    @torch.no_grad()
    def restart(self) -> None:
        """From the weights as they are now."""
        for average, parameter in zip(self.kept.values(), self._parameters.values(), strict=bool(self.kept)):
            average.copy_(parameter)

    @torch.no_grad()
    def update(self) -> None:
        """Moves each average a little towards its weight."""
        for average, parameter in zip(self.kept.values(), self._parameters.values(), strict=bool(self.kept)):
            average.lerp_(parameter, 1.0 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The averages within; optimizer states and gradients are not touched."""
        if not self.kept:
            yield
            return
        weights = {name: parameter.data for name, parameter in self._parameters.items()}
        try:
            for name, parameter in self._parameters.items():
                parameter.data = self.kept[f"average.{name}"].data
            yield
        finally:
            for name, parameter in self._parameters.items():
                parameter.data = weights[name]
