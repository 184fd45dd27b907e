"""What a query wants and does not want of an item, as a number beside its similarity: labels, else probabilities.

    signals = Signals.load("runs/shop/queries.safetensors")
    wishes = Wishes(wanted=((Value("Pattern", "Striped"),),), unwanted=(Value("Length", "Mini"),))
    Weigher(items, signals).weigh(wishes, rows, vectors)     # [rows], 0 where all is as wished, else below

Each wish adds the logarithm of its probability. A label counts as right but for `MISTAKEN`; where an attribute is
unknown, its calibrated probability (softmax or sigmoid of slope x cosine with the values' vectors) counts by a weight
that tune chose, and the value's share among labelled items for the rest: with a weight of 0, where tune could not tell,
that share is all. Values without probabilities go by labels and shares alone. Vectors in, numbers out; nothing here
searches or encodes.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from jaxtyping import Bool, Float, Integer
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from clipadapt.atomic import atomic_write
from clipadapt.errors import ConfigError, SpaceError
from clipadapt.prompts import Prompts
from clipadapt.recognition.calibration import Scale, sigmoid, softmax
from clipadapt.search.items import Items
from clipadapt.search.understanding.vocabulary import Value
from clipadapt.search.vectors import first
from clipadapt.search.views import Texts

_SCHEMA_VERSION = 2
"""1: probabilities did not take into account how frequent values are."""
QUERIES = "queries.safetensors"
"""Beside a run's or release's index."""
MISTAKEN = 0.02
"""How often a label is taken to be wrong."""
LEAST = 1e-4
"""The smallest probability that counts, so that no single wish decides alone against many."""
_REMEMBERED = 32
"""Values of which it is remembered where they are."""
Probabilities = Callable[[str, np.ndarray], np.ndarray]
"""An attribute and rows -> probabilities [rows, v] of its values."""


class Wishes(NamedTuple):
    """What a query says of an item's values."""

    wanted: tuple[tuple[Value, ...], ...] = ()
    """All of them; of each any value."""
    unwanted: tuple[Value, ...] = ()
    kept: tuple[Value, ...] = ()
    """What nobody said, and an item had that a query began with: all of them weigh as much as one that was said."""

    def and_(self, more: "Wishes") -> "Wishes":
        """Both."""
        return Wishes(
            tuple(dict.fromkeys((*self.wanted, *more.wanted))),
            tuple(dict.fromkeys((*self.unwanted, *more.unwanted))),
            tuple(dict.fromkeys((*self.kept, *more.kept))),
        )


NO_WISHES = Wishes()


@dataclass(frozen=True)
class Signal:
    """What pictures say of one attribute."""

    values: tuple[str, ...]
    vectors: Float[np.ndarray, "v dim"]
    """Of the values' texts, mixed with learned ones; of unit length but for values that nothing was learned of."""
    kind: Literal["exclusive", "multi"]
    scale: Scale
    shares: tuple[float, ...]
    """Of each value among the labelled items of tune."""
    wanted: float = 0.0
    """Weight of the probability that an item has a wanted value; 0: tune cannot tell."""
    unwanted: float = 0.0
    """The same of the probability that it does not have one."""

    def first(self, dim: int) -> "Signal":
        """By the vectors' first dimensions."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        return replace(self, vectors=lengths * first(self.vectors, dim))

    def probabilities(self, pictures: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n v"]:
        """Of every value."""
        similarity = pictures @ self.vectors.T
        return softmax(similarity, self.scale) if self.kind == "exclusive" else sigmoid(similarity, self.scale)


@dataclass(frozen=True)
class Signals:
    """Of all attributes, for one model and one prompts file; kept in a release."""

    attributes: Mapping[str, Signal]
    image_space: str
    text_space: str
    prompts: Mapping[str, str]
    """path and digest."""
    fitted_on: Mapping[str, Any] = field(default_factory=dict)
    refusal: float = 1.0
    """How much more what is not wanted weighs than what is: an item that may have it stands behind one that has not."""

    @property
    def named(self) -> tuple[Value, ...]:
        """Every value that is known."""
        return tuple(Value(name, value) for name, one in self.attributes.items() for value in one.values)

    def require(self, image_space: str, name: str, prompts: Prompts | None = None) -> None:
        """Refuses vectors or words that they were not fitted for.

        Raises:
            SpaceError: other vectors.
            ConfigError: another prompts file, or one that was changed since.
        """
        if image_space != self.image_space:
            raise SpaceError(
                f"{name} is of {image_space}, and its query weights were fitted for {self.image_space}; fit them again "
                "with clipadapt tag, or leave them out"
            )
        if prompts is not None and prompts.digest != self.prompts["digest"]:
            raise ConfigError(
                f"{prompts.path}: is not the prompts file of the query weights ({self.prompts['path']}), "
                "or was changed since; name that one with --prompts, or fit them again with clipadapt tag"
            )

    def save(self, path: str | Path) -> None:
        """One safetensors file: a tensor per attribute, all else in its metadata.

        Raises:
            StoreError: it cannot be written.
        """
        document = {
            "schema_version": _SCHEMA_VERSION,
            "image_space": self.image_space,
            "text_space": self.text_space,
            "prompts": dict(self.prompts),
            "fitted_on": dict(self.fitted_on),
            "refusal": self.refusal,
            "attributes": {
                name: {
                    "values": one.values, "kind": one.kind, "scale": one.scale._asdict(), "shares": one.shares,
                    "wanted": one.wanted, "unwanted": one.unwanted,
                }
                for name, one in self.attributes.items()
            },
        }  # fmt: skip
        tensors = {name: np.ascontiguousarray(one.vectors, np.float32) for name, one in self.attributes.items()}
        atomic_write(path, save_tensors(tensors, metadata={"clipadapt": json.dumps(document, ensure_ascii=False)}))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads the file.

        Raises:
            ConfigError: no such file, or not one of these.
        """
        try:
            with safe_open(path, framework="numpy") as opened:
                document = json.loads((opened.metadata() or {})["clipadapt"])
                if document["schema_version"] != _SCHEMA_VERSION:
                    raise ValueError(f"schema version {document['schema_version']}")
                found = {
                    name: Signal(
                        tuple(one["values"]), opened.get_tensor(name), one["kind"],
                        Scale(one["scale"]["slope"], one["scale"]["offset"], tuple(one["scale"]["prior"])),
                        tuple(one["shares"]), one["wanted"], one["unwanted"],
                    )
                    for name, one in document["attributes"].items()
                }  # fmt: skip
            return cls(
                found, *(document[key] for key in ("image_space", "text_space", "prompts", "fitted_on", "refusal"))
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path}: cannot be read as {QUERIES} ({error}); write it again with clipadapt tag"
            ) from error

    def first(self, dim: int, whole: int | None) -> "Signals":
        """For an index that keeps the first `dim` of `whole` dimensions; None: all of them, and nothing changes.

        Each value's vector keeps its length, so that cosines stay on the scale that probabilities were fitted on.
        """
        if whole is None:
            return self
        return replace(self, attributes={name: one.first(dim) for name, one in self.attributes.items()})

    def weighed(self, weights: Mapping[str, tuple[float, float]]) -> "Signals":
        """The same with weights (wanted, unwanted) of attributes; the others keep theirs."""
        changed = {
            name: replace(one, wanted=weights[name][0], unwanted=weights[name][1]) if name in weights else one
            for name, one in self.attributes.items()
        }
        return replace(self, attributes=changed)


class Weigher:
    """What items are worth to wishes."""

    def __init__(self, items: Items, signals: Signals | None = None) -> None:
        self.items, self.signals = items, signals
        self._counted: dict[str, np.ndarray] = {}
        self._chosen: OrderedDict[tuple[str, tuple[str, ...]], tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def weigh(
        self,
        wishes: Wishes,
        rows: Integer[np.ndarray, " n"],
        vectors: Float[np.ndarray, "n dim"] | Probabilities,
    ) -> Float[np.ndarray, " n"]:
        """Logarithm of the probability that an item is as wished; 0 at best.

        Args:
            vectors: of the rows, or what gives probabilities of their values.
        """
        total = np.zeros(len(rows))
        chances: dict[str, np.ndarray] = {}
        refusal = self.signals.refusal if self.signals is not None else 1.0
        for values, weight in (
            *((values, 1.0) for values in wishes.wanted),
            *(((value,), 1.0 / len(wishes.kept)) for value in wishes.kept),
        ):
            absent = np.ones(len(rows))
            for name, some in _grouped(values).items():
                absent *= 1.0 - self._has(name, some, rows, vectors, chances, wanted=True)
            total += weight * np.log(np.clip(1.0 - absent, LEAST, 1.0))
        for name, some in _grouped(wishes.unwanted).items():
            chance = self._has(name, some, rows, vectors, chances, wanted=False)
            total += refusal * np.log(np.clip(chance, LEAST, 1.0))
        return total

    def as_wished(self, wishes: Wishes) -> Bool[np.ndarray, " rows"]:
        """Rows whose labels say that all is as wished; an unknown says nothing."""
        mask, rows = np.ones(self.items.rows, bool), np.arange(self.items.rows)
        for values in wishes.wanted:
            mask &= np.logical_or.reduce([self._labels(name, some, rows)[1] for name, some in _grouped(values).items()])
        for name, some in _grouped(wishes.unwanted).items():
            known, has = self._labels(name, some, rows)
            mask &= known & ~has
        return mask

    def _has(
        self, name: str, values: Sequence[str], rows: np.ndarray, vectors: np.ndarray | Probabilities,
        chances: dict[str, np.ndarray], *, wanted: bool,
    ) -> Float[np.ndarray, " n"]:  # fmt: skip
        """Probability that rows have any of an attribute's values; with `wanted` False, that they have none."""
        known, has = self._labels(name, values, rows)
        right, wrong = 1.0 - MISTAKEN * 0.5, MISTAKEN
        found = np.where(has, right, wrong) if wanted else np.where(has, wrong, right)
        unknown = np.flatnonzero(~known)
        if len(unknown):
            found[unknown] = self._predicted(name, values, vectors, unknown, rows, chances, wanted)
        return found

    def _predicted(
        self, name: str, values: Sequence[str], vectors: np.ndarray | Probabilities, places: np.ndarray,
        rows: np.ndarray, chances: dict[str, np.ndarray], wanted: bool,
    ) -> Float[np.ndarray, " unknown"]:  # fmt: skip
        signal = self.signals.attributes.get(name) if self.signals is not None else None
        columns = [signal.values.index(value) for value in values if value in signal.values] if signal else []
        shares = [signal.shares[column] for column in columns] if signal else []
        share = sum(shares) if shares else self._share(name, values)
        share = float(np.clip(share if wanted else 1.0 - share, LEAST, 1.0 - LEAST))
        weight = 0.0 if signal is None or not columns else signal.wanted if wanted else signal.unwanted
        if signal is None or not weight:
            return np.full(len(places), share)
        if name not in chances:
            chances[name] = np.full((len(rows), len(signal.values)), np.nan)
            chances[name][places] = (
                vectors(name, rows[places]) if callable(vectors) else signal.probabilities(vectors[places])
            )
        one = chances[name][places][:, columns]
        any_ = one.sum(axis=1) if signal.kind == "exclusive" else 1.0 - np.prod(1.0 - one, axis=1)
        chance = np.clip(any_ if wanted else 1.0 - any_, LEAST, 1.0)
        return np.exp(weight * np.log(chance) + max(0.0, 1.0 - weight) * np.log(share))

    def _labels(
        self, name: str, values: Sequence[str], rows: Integer[np.ndarray, " n"]
    ) -> tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        """Of rows, whether the attribute is known, and whether it has one of the values."""
        view = self._view(name)
        if view is None:
            return np.zeros(len(rows), bool), np.zeros(len(rows), bool)
        known, has = self._looked_up(name, view, tuple(values))
        return known[of := view.codes[rows] if view.rows is None else rows], has[of]

    def _looked_up(self, name: str, view: Texts, values: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Whether a code, or of a list column a row, is known and is one of the values; recent ones are remembered."""
        found = self._chosen.get((name, values))
        if found is None:
            chosen = np.array([*(value in values for value in view.values), False])
            if view.rows is None:
                found = np.array([*(True for _ in view.values), False]), chosen
            else:
                found = np.zeros(self.items.rows, bool), np.zeros(self.items.rows, bool)
                found[0][view.rows] = True
                found[1][view.rows[chosen[view.codes]]] = True
            self._chosen[name, values] = found
            while len(self._chosen) > _REMEMBERED:
                self._chosen.popitem(last=False)
        return found

    def _share(self, name: str, values: Sequence[str]) -> float:
        """Of the labelled items, how many have one of the values, where each has one."""
        view = self._view(name)
        if view is None:
            return 0.5
        if name not in self._counted:
            self._counted[name] = np.bincount(view.codes[view.codes >= 0], minlength=len(view.values))
        counts = self._counted[name]
        wanted = sum(int(counts[code]) for code, value in enumerate(view.values) if value in values)
        return wanted / max(int(counts.sum()), 1)

    def _view(self, name: str) -> Texts | None:
        view = self.items.view(name) if name in self.items.columns else None
        return view if isinstance(view, Texts) else None


def _grouped(values: Sequence[Value]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in values:
        found.setdefault(name, []).append(value)
    return found
