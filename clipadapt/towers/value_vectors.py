"""Value vectors: for each attribute and value one unit vector in the joint space, learned from labelled pictures.

    known = ValueVectors.load(folder / VALUES)
    known.mixed("Pattern", ["Striped", "Solid"], texts)     # [2, d]: texts where they say more, vectors where those do

A value that is named (`Pattern: Striped`) has two vectors: that of its texts, which an editor can change, and this one,
which pictures taught. `weight` says per attribute how much of the second is taken; it was chosen on tune. Free words
have texts alone. On disk a safetensors file with a tensor [values, d] per attribute, whose metadata hold the values,
the weights, the image space and how they were fitted. Nothing here fits anything.
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

VALUES = "values.safetensors"
"""In an adapter's folder, and in that of every export."""


class Learned(NamedTuple):
    """The vectors of one attribute."""

    values: tuple[str, ...]
    vectors: Float[np.ndarray, "v d"]
    """Unit length."""
    weight: float = 0.5
    """Share of these vectors in a mixture with those of texts, from 0 to 1."""


@dataclass(frozen=True)
class ValueVectors:
    """The value vectors of one model."""

    attributes: Mapping[str, Learned]
    image_space: str
    """Of the pictures they were learned from."""
    fitted: Mapping[str, Any] = field(default_factory=dict)
    """How they came about, for the record."""

    def mixed(
        self, attribute: str, values: Sequence[str], texts: Float[np.ndarray, "v d"], weight: float | None = None
    ) -> Float[np.ndarray, "v d"]:
        """Unit vectors of these values: texts and learned vectors, mixed; a value without one has its texts alone.

        Args:
            texts: unit vectors of the values' texts, in their order.
            weight: of the learned vectors; None: the one chosen on tune.
        """
        learned = self.attributes.get(attribute)
        if learned is None:
            return texts
        place = {value: row for row, value in enumerate(learned.values)}
        rows = [row for row, value in enumerate(values) if value in place]
        share = learned.weight if weight is None else weight
        mixed = np.array(texts, np.float64)
        own = learned.vectors[[place[values[row]] for row in rows]].astype(np.float64)
        mixed[rows] = (1.0 - share) * mixed[rows] + share * own
        length = np.linalg.norm(mixed, axis=1, keepdims=True)
        return mixed / np.maximum(length, 1e-12)

    def require(self, image_space: str, name: str) -> None:
        """Raises:
        SpaceError: the pictures of `name` are of another space.
        """
        if image_space != self.image_space:
            raise SpaceError(
                f"{name}: its {VALUES} was learned from pictures of {self.image_space} and these are of {image_space}; "
                "copy the folder whole again, or remove the file to go by texts alone"
            )

    def save(self, file: Path) -> None:
        """Writes the file; whoever calls sees to it that its folder appears whole."""
        document = {
            "schema_version": 1,
            "image_space": self.image_space,
            "attributes": {n: {"values": list(one.values), "weight": one.weight} for n, one in self.attributes.items()},
            "fitted": dict(self.fitted),
        }
        tensors = {name: np.ascontiguousarray(one.vectors, np.float32) for name, one in self.attributes.items()}
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
                    name: Learned(tuple(one["values"]), opened.get_tensor(name), float(one["weight"]))
                    for name, one in document["attributes"].items()
                }
            for name, one in found.items():
                if one.vectors.ndim != 2 or len(one.vectors) != len(one.values):
                    raise ValueError(f"{name}: {one.vectors.shape} for {len(one.values)} values")
            return cls(found, document["image_space"], document["fitted"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise AdapterError(f"{file}: cannot be read as value vectors ({error}); copy it again") from error

    @classmethod
    def beside(cls, folder: Path) -> Self | None:
        """Those of a folder; None where it has none."""
        return cls.load(folder / VALUES) if (folder / VALUES).is_file() else None
