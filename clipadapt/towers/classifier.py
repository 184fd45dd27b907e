"""A linear head: for each attribute a weight and a bias per value, over the unit vectors of one image space.

    head = LinearHead.load(folder / HEAD)
    weight, bias = head.scores_of("Pattern", ["Striped", "Solid"])
    (vectors @ weight.T + bias).argmax(1)          # the value predicted for each picture

On disk a safetensors file with ATTRIBUTE/weight [values, dim] and ATTRIBUTE/bias, whose metadata hold the values, the
image space and how it was fitted. A head speaks of one image space alone: with another adapter, or another strength,
its weights mean nothing. Nothing here fits a head.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from clipadapt.errors import AdapterError, SpaceError

HEAD, PROBE = "head.safetensors", "base_probe.safetensors"
"""In an adapter's folder: what was trained, and the linear probe on the base's frozen vectors that it started from."""


class Linear(NamedTuple):
    """The classifier of one attribute."""

    values: tuple[str, ...]
    weight: Float[np.ndarray, "v d"]
    bias: Float[np.ndarray, " v"]


@dataclass(frozen=True)
class LinearHead:
    """The classifiers of one model."""

    attributes: Mapping[str, Linear]
    image_space: str
    """Of the vectors it reads."""
    fitted: Mapping[str, Any] = field(default_factory=dict)
    """How it came about, for the record."""

    def scores_of(
        self, attribute: str, values: Sequence[str]
    ) -> tuple[Float[np.ndarray, "v d"], Float[np.ndarray, " v"]]:
        """Weight and bias of these values, in this order; a value it never saw scores below all others, always."""
        linear = self.attributes[attribute]
        place = {value: row for row, value in enumerate(linear.values)}
        known = [place[value] for value in values if value in place]
        weight = np.zeros((len(values), linear.weight.shape[1]), np.float32)
        # Below what any unit vector scores.
        lowest = (linear.bias - np.linalg.norm(linear.weight, axis=1)).min() - 1.0
        bias = np.full(len(values), lowest, np.float32)
        rows = [row for row, value in enumerate(values) if value in place]
        weight[rows], bias[rows] = linear.weight[known], linear.bias[known]
        return weight, bias

    def require(self, image_space: str, name: str) -> None:
        """Raises:
        SpaceError: the vectors of `name` are of another space.
        """
        if image_space != self.image_space:
            raise SpaceError(
                f"{name}: its linear head reads vectors of {self.image_space} and these are of {image_space}; "
                "load the run as it was trained, without another strength"
            )

    def save(self, file: Path) -> None:
        """Writes the file; whoever calls sees to it that its folder appears whole."""
        tensors = {}
        for name, linear in self.attributes.items():
            for part, value in (("weight", linear.weight), ("bias", linear.bias)):
                # safetensors writes memory as it lies: a transposed or cut array would come back scrambled
                tensors[f"{name}/{part}"] = np.ascontiguousarray(value, np.float32)
        document = {
            "schema_version": 1,
            "image_space": self.image_space,
            "values": {name: list(linear.values) for name, linear in self.attributes.items()},
            "fitted": dict(self.fitted),
        }
        save_file(tensors, file, metadata={"clipadapt": json.dumps(document, ensure_ascii=False)})

    @classmethod
    def load(cls, file: Path) -> Self:
        """Raises:
        AdapterError: the file is not one of these.
        """
        try:
            with safe_open(file, framework="numpy") as opened:
                document = json.loads((opened.metadata() or {})["clipadapt"])
                found = {
                    name: Linear(tuple(values), opened.get_tensor(f"{name}/weight"), opened.get_tensor(f"{name}/bias"))
                    for name, values in document["values"].items()
                }
            return cls(found, document["image_space"], document["fitted"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise AdapterError(f"{file}: cannot be read as a linear head ({error}); copy it again") from error
