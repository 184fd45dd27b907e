"""What scores an attribute's values: vectors of their texts, or the rows of a linear head.

    encode = partial(encode_texts_batched, encoder)                      # or VectorCache(...).encode(encoder)
    value_vectors(prompts, "Pattern", ["Striped", "Solid"], encode)      # [2, dim], unit length
    text_classifier(prompts, "Pattern", values, encode).scores(pictures) # [n, 2]
    text_classifier(HeldOutWording(prompts), "Pattern", values, encode)  # the same in words that training never uses
    head_classifier(head, "Pattern", values).scores(pictures)

A value's vector is the renormalised mean of its texts' vectors by their shares, in float64. Every distinct text is
encoded once. Nothing here chooses a value or knows what is right.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from clipadapt.prompts import Prompts
from clipadapt.prompts.wording import Text
from clipadapt.prompts.wordings import Wordings
from clipadapt.towers.classifier import LinearHead
from clipadapt.towers.value_vectors import ValueVectors

Encode = Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]
"""Texts -> unit vectors, float32."""


@runtime_checkable
class Wording(Protocol):
    """What of a prompts library is needed here."""

    def plain(self, attribute: str, value: str) -> str: ...

    def ensemble(self, attribute: str, value: str) -> list[Text]: ...


class HeldOutWording:
    """A prompts file's values in words that training never uses, in the form of the file itself."""

    def __init__(self, prompts: Prompts) -> None:
        """
        Raises:
            PromptError: `held_out: true` leaves a value of the file with no name to train with.
        """
        self._wordings = Wordings(prompts)

    def plain(self, attribute: str, value: str) -> str:
        """The first of the texts."""
        return self.ensemble(attribute, value)[0].text

    def ensemble(self, attribute: str, value: str) -> list[Text]:
        """`Wordings.held_out`, each text with the table's spelling as its name."""
        name = self._wordings.spelling(attribute, value)
        return [Text(text, share, -1, name) for text, share in self._wordings.held_out(attribute, value)]


class Classifier(NamedTuple):
    """A score of each value: picture vector times its row of weights, plus its bias."""

    weights: Float[np.ndarray, "v dim"]
    bias: Float[np.ndarray, " v"]

    @classmethod
    def cosine(cls, vectors: Float[np.ndarray, "v dim"]) -> Self:
        """Cosines with unit vectors of the values."""
        return cls(vectors, np.zeros(len(vectors)))

    def scores(self, pictures: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n v"]:
        """In float32; the whole matrix, so hand in some pictures at a time where values are many."""
        return pictures @ self.weights.T.astype(np.float32) + self.bias.astype(np.float32)


def text_classifier(
    prompts: Wording, attribute: str, values: Sequence[str], encode: Encode, *, plain: bool = False
) -> Classifier:
    """Scores are cosines with the values' vectors; arguments and errors as those of `value_vectors`."""
    return Classifier.cosine(value_vectors(prompts, attribute, values, encode, plain=plain))


def head_classifier(head: LinearHead, attribute: str, values: Sequence[str]) -> Classifier:
    """Scores of a linear head; a value it never saw scores below all others, always."""
    return Classifier(*head.scores_of(attribute, values))


def value_vectors(
    prompts: Wording, attribute: str, values: Sequence[str], encode: Encode, *, plain: bool = False
) -> Float[np.ndarray, "v dim"]:
    """One unit vector per value, float64, of its ensemble of texts, or of its one plain text.

    Raises:
        PromptError: the prompts have no text for the attribute or a value.
    """
    if plain:
        return ensemble_vectors([[Text(prompts.plain(attribute, value), 1.0, 0, "")] for value in values], encode)
    return ensemble_vectors([prompts.ensemble(attribute, value) for value in values], encode)


def mixed(
    encoder: object,
    attribute: str,
    values: Sequence[str],
    texts: Float[np.ndarray, "v dim"],
    weight: float | None = None,
) -> Float[np.ndarray, "v dim"]:
    """The values' texts mixed with the value vectors that an encoder has; the texts alone where it has none.

    `weight`: share of the value vectors; None: the one that was chosen on tune.
    """
    learned: ValueVectors | None = getattr(encoder, "value_vectors", None)
    return texts if learned is None else learned.mixed(attribute, values, texts, weight)


def ensemble_vectors(ensembles: Sequence[Sequence[Text]], encode: Encode) -> Float[np.ndarray, "v dim"]:
    """One unit vector per ensemble of texts, float64."""
    place: dict[str, int] = {}
    entries = [
        (row, place.setdefault(text.text, len(place)), text.share) for row, one in enumerate(ensembles) for text in one
    ]
    vectors = encode(list(place)).astype(np.float64)
    rows, columns, shares = (np.array(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    # Sparse: thousands of values with a few texts each would make a matrix of mostly zeros that fills the memory.
    means = csr_matrix((shares, (rows, columns)), shape=(len(ensembles), len(place))) @ vectors
    return means / np.linalg.norm(means, axis=1, keepdims=True)
