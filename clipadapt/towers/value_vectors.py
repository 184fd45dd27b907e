"""Value vectors: for each attribute and value one unit vector in the joint space, learned from labelled pictures.

    known = ValueVectors.load(folder / VALUES)
    known.mixed("Pattern", ["Striped", "Solid"], texts)     # [2, d]: texts where they say more, vectors where those do

A value that is named (`Pattern: Striped`) has two vectors: that of its texts, which an editor can change, and this one,
which pictures taught. `weight` says per attribute how much of the second is taken; it was chosen on tune. Free words
have texts alone.

A value that no picture taught, such as one that was added to the prompts file later, has texts alone, too. Their
cosines with pictures lie on another level than those of learned vectors, so that it would win or lose against all of
them everywhere. It is placed where its text lies among the texts of values that were taught: the same way from their
middle, as much wider as theirs became, for which the pictures' covariance is kept. Values of which none was taught
are compared by their texts.

On disk a safetensors file with a tensor [values, d] per attribute and one of the pictures, whose metadata hold the
values, the weights, the image space and how they were fitted. Nothing here fits anything.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from clipadapt.errors import AdapterError, SpaceError

log = logging.getLogger(__name__)
VALUES = "values.safetensors"
"""In an adapter's folder, and in that of every export."""


_SCHEMA_VERSION = 2
"""1: without the pictures' covariance. Early files of version 2 hold the pictures' mean, too, which nothing needs."""
_COVARIANCE = "pictures: covariance"
"""Name of a tensor."""


class Cloud(NamedTuple):
    """How the pictures lie that values are compared with."""

    covariance: Float[np.ndarray, "d d"]

    @classmethod
    def of(cls, pictures: Float[np.ndarray, "n d"]) -> Self | None:
        """None of fewer than two pictures, which have no spread."""
        return cls(np.cov(pictures.astype(np.float64), rowvar=False)) if len(pictures) > 1 else None

    def spread(self, vectors: Float[np.ndarray, "v d"]) -> float:
        """Standard deviation of a vector's products with the pictures, on average."""
        variance = ((vectors @ self.covariance.astype(np.float64)) * vectors).sum(axis=1)
        return float(np.sqrt(np.maximum(variance, 0.0)).mean())


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
    cloud: Cloud | None = None
    """Of tune's pictures; None in files of earlier versions, and of a tune of fewer than two."""

    def mixed(
        self, attribute: str, values: Sequence[str], texts: Float[np.ndarray, "v d"], weight: float | None = None
    ) -> Float[np.ndarray, "v d"]:
        """Vectors of these values: texts and learned ones mixed, of unit length; a value without a learned vector is
        placed among the others as its text lies among theirs, and is of another length.

        Args:
            texts: unit vectors of the values' texts, in their order.
            weight: of the learned vectors; None: the one chosen on tune.
        """
        learned = self.attributes.get(attribute)
        share = 0.0 if learned is None else learned.weight if weight is None else weight
        place = {} if learned is None else {value: row for row, value in enumerate(learned.values)}
        known = np.array([value in place for value in values], bool)
        if learned is None or not share or not known.any():
            return texts
        own = learned.vectors[[place[value] for value in values if value in place]].astype(np.float64)
        mixed = np.array(texts, np.float64)
        mixed[known] = (1.0 - share) * mixed[known] + share * own
        mixed[known] /= np.maximum(np.linalg.norm(mixed[known], axis=1, keepdims=True), 1e-12)
        if not known.all():
            mixed[~known] = self._placed(texts[~known], texts[known], mixed[known])
        return mixed

    def _placed(self, texts: np.ndarray, taught: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        """Where texts lie among the texts of taught values, there among what these became."""
        if self.cloud is None:
            log.warning(
                "%s does not say how pictures lie, as it does since schema version 2 with two items of tune or more: "
                "values that it does not hold cannot be compared with those that it holds; train again, or go by texts "
                "alone",
                VALUES,
            )
            return texts
        wider = self.cloud.spread(mixed) / max(self.cloud.spread(taught.astype(np.float64)), 1e-9)
        return mixed.mean(axis=0) + wider * (texts - taught.mean(axis=0))

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
            "schema_version": _SCHEMA_VERSION,
            "image_space": self.image_space,
            "attributes": {n: {"values": list(one.values), "weight": one.weight} for n, one in self.attributes.items()},
            "fitted": dict(self.fitted),
        }
        tensors = {name: np.ascontiguousarray(one.vectors, np.float32) for name, one in self.attributes.items()}
        if self.cloud is not None:
            tensors[_COVARIANCE] = np.ascontiguousarray(self.cloud.covariance, np.float32)
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
                kept = _COVARIANCE in set(opened.keys())
                cloud = Cloud(opened.get_tensor(_COVARIANCE)) if kept else None
            for name, one in found.items():
                if one.vectors.ndim != 2 or len(one.vectors) != len(one.values):
                    raise ValueError(f"{name}: {one.vectors.shape} for {len(one.values)} values")
            return cls(found, document["image_space"], document["fitted"], cloud)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise AdapterError(f"{file}: cannot be read as value vectors ({error}); copy it again") from error

    @classmethod
    def beside(cls, folder: Path) -> Self | None:
        """Those of a folder; None where it has none."""
        return cls.load(folder / VALUES) if (folder / VALUES).is_file() else None
