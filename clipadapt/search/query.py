"""What someone searches for -> one unit vector: words, pictures, both with a weight, an item and what to change.

    Query.of("striped midi skirt")                                 Query.of(picture)
    Query((picture, "in red"), text_weight=0.7)                    both; 0 is the picture alone, 1 the words alone
    Query(("midi", "red", "lace"), weights=(1, 0.5, -0.3))         a weight per part; below 0: what it should not be
    Query.of("Pattern: Striped")                                   a value by name, also by what pictures taught of it
    Query.of("red striped skirts")                                 the same, of every value that the words name
    Query((Item("1163"), "long sleeves"))                          more like this item, but with long sleeves
    Query(("linen shirt", "summer"), negatives=("floral",))        several positives, and what it should not be

Similarities to pictures are spread several times wider than similarities to texts, so a plain mean of both vectors is
nearly the picture alone. Each side is divided by how widely its similarities to the catalogue spread; a weight of 0.5
then means an equal weight. One vector per query comes out, so any index can answer it. Knows nothing of indexes.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from clipadapt.errors import SpaceError, UsageError
from clipadapt.search.recall import Kind
from clipadapt.search.understanding.reader import understand
from clipadapt.search.understanding.vocabulary import Value, Vocabulary
from clipadapt.search.understanding.words import tokens
from clipadapt.search.vectors import first
from clipadapt.search.wishes import NO_WISHES, Signals, Wishes
from clipadapt.towers.protocol import Encoder, TextEncoder
from clipadapt.towers.value_vectors import ValueVectors

LONGEST = 1_000
"""Characters of a text query: a tower reads 77 tokens at most, and what is cut off would not be searched for."""
_ROUNDING = 1e-4
"""Share of the lengths added up under which a sum is what rounding left of parts that cancel."""


class Item(NamedTuple):
    """An item of the index, by id; its product is left out of the results."""

    id: str


QueryPart = str | Image.Image | np.ndarray | Item
"""Words, a picture, a vector [dim], or an item."""


@dataclass(frozen=True)
class Query:
    """Everything that one search is after."""

    positives: tuple[QueryPart, ...]
    negatives: tuple[QueryPart, ...] = ()
    text_weight: float | None = None
    """The words' weight where there are words and pictures; null: the words' part of `weights`, else a half."""
    negative_weight: float = 0.5
    """What being like a negative costs, against what being like the positives gains."""
    weights: tuple[float, ...] = ()
    """One per positive, against one another; a part of negative weight is a negative. Empty: all the same."""
    wishes: Wishes = NO_WISHES
    """Values that results should have or not have, beside what vectors say; see wishes.py."""
    seen: tuple[str, ...] = ()
    """Items that are not to be found again, beside those among the parts."""

    def __post_init__(self) -> None:
        if not self.positives:
            raise UsageError(
                "a query needs at least one text, picture or item to look for; negatives alone find nothing"
            )
        if self.weights:
            _check_weights(self.weights, len(self.positives))
        if (self.text_weight is not None and not 0 <= self.text_weight <= 1) or not self.negative_weight >= 0:
            raise UsageError(
                f"text weight {self.text_weight} and negative weight {self.negative_weight}: the first lies between "
                "0 (pictures alone) and 1 (words alone), the second is not below 0"
            )
        for text in (part for part in (*self.positives, *self.negatives) if isinstance(part, str)):
            if not text.strip():
                raise UsageError("a text query is empty; write what to look for")
            if len(text) > LONGEST:
                raise UsageError(
                    f"a text query has {len(text):,} characters ({text[:30]!r}...), {LONGEST:,} are the most; "
                    "a model reads a few dozen words, so shorten it to those that matter"
                )

    @classmethod
    def of(cls, part: "QueryPart | Query") -> "Query":
        """A query from its single part."""
        return part if isinstance(part, Query) else cls((part,))


class CompiledQuery(NamedTuple):
    """A query as an index takes it."""

    vector: Float[np.ndarray, " dim"]
    kind: Kind
    items: tuple[str, ...]
    """Items it was made with, which it should not find again."""
    wishes: Wishes = NO_WISHES
    signals: Signals | None = None
    """What pictures say of values that are wished for; None: labels alone."""


@dataclass(frozen=True)
class Compiler:
    """Turns queries into vectors with what one index knows."""

    dim: int
    text_encoder: Callable[[], TextEncoder]
    """Called when there is a text to encode, after the pictures."""
    encoder: Callable[[], Encoder]
    """Called when there is a picture to encode."""
    vector_of: Callable[[str], Float[np.ndarray, " dim"]]
    """An item's vector, by id."""
    spread: Callable[[Float[np.ndarray, " dim"]], float]
    """Standard deviation of a vector's similarities to the catalogue."""
    expand: Callable[[str], Sequence[str]] | None = None
    """What is encoded for a text, averaged: templates and synonyms of a prompts file; None: the text itself."""
    signals: Signals | None = None
    """What pictures say of values that are wished for; None: labels alone."""
    whole: int | None = None
    """Dimensions of the encoders' vectors, of which the first `dim` are searched with; None: all of them."""

    def compile(self, queries: Sequence[Query]) -> list[CompiledQuery]:
        """One vector per query; texts and pictures of all of them are encoded together.

        Raises:
            UsageError: a vector that is not finite or zero, or words for a model without a text tower.
            SpaceError: a vector of another dimension.
        """
        parts = [part for query in queries for part in (*query.positives, *query.negatives)]
        vectors = iter(self._vectors(parts))
        found = [
            ([next(vectors) for _ in query.positives], [next(vectors) for _ in query.negatives]) for query in queries
        ]
        return [self._composed(query, *sides) for query, sides in zip(queries, found, strict=True)]

    def _composed(self, query: Query, positives: list[np.ndarray], negatives: list[np.ndarray]) -> CompiledQuery:
        weights = query.weights or (1.0,) * len(positives)
        weighted = list(zip(query.positives, positives, weights, strict=True))
        words = [(vector, weight) for part, vector, weight in weighted if weight > 0 and isinstance(part, str)]
        others = [(vector, weight) for part, vector, weight in weighted if weight > 0 and not isinstance(part, str)]
        unwanted = [(vector, -weight) for _, vector, weight in weighted if weight < 0]
        made_with = (part.id for part in (*query.positives, *query.negatives) if isinstance(part, Item))
        items = (*made_with, *query.seen)
        kind: Kind = "picture" if others else "text"
        sides = [side for side in (words, others) if side]
        if len(sides) == 1 and not negatives and not unwanted:
            return CompiledQuery(_unit(_mean(sides[0]), 1.0), kind, items, query.wishes, self.signals)
        total = sum(weight for side in sides for _, weight in side)
        share = sum(weight for _, weight in words) / total if query.weights else 0.5
        share = share if query.text_weight is None else query.text_weight
        share = share if len(sides) == 2 else 1.0 if words else 0.0
        terms = [
            part * self._scaled(_unit(_mean(side), 1.0)) for part, side in ((share, words), (1 - share, others)) if side
        ]
        terms += [-query.negative_weight / len(negatives) * self._scaled(negative) for negative in negatives]
        terms += [-weight / total * self._scaled(vector) for vector, weight in unwanted]
        added = sum(float(np.linalg.norm(term)) for term in terms)
        return CompiledQuery(_unit(np.sum(terms, axis=0), added), kind, items, query.wishes, self.signals)

    def _scaled(self, vector: np.ndarray) -> np.ndarray:
        """So long that its similarities to the catalogue spread by one."""
        return vector / max(self.spread(vector), 1e-6)

    def _vectors(self, parts: Sequence[QueryPart]) -> list[np.ndarray]:
        texts = list(dict.fromkeys(part for part in parts if isinstance(part, str)))
        pictures = [part for part in parts if isinstance(part, Image.Image)]
        of_picture = map(self._cut, self.encoder().encode_images(pictures).cpu().numpy()) if pictures else iter(())
        of_text = dict(zip(texts, map(self._cut, self._texts(texts)), strict=True)) if texts else {}
        found = []
        for part in parts:
            if isinstance(part, str):
                found.append(of_text[part])
            elif isinstance(part, Image.Image):
                found.append(next(of_picture))
            else:
                found.append(self.vector_of(part.id) if isinstance(part, Item) else self._checked(part))
        return found

    def _texts(self, texts: Sequence[str]) -> list[np.ndarray]:
        encoder = self.text_encoder()
        if encoder.context_length is None:
            raise UsageError(f"{encoder.name} has no text tower; search with a picture, or name another --model")
        return encode_words(encoder, texts, self.expand)

    def _cut(self, vector: np.ndarray) -> np.ndarray:
        return first(vector, self.dim) if len(vector) == self.whole else vector

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        vector = self._cut(vector) if vector.ndim == 1 else vector
        if vector.shape != (self.dim,):
            raise SpaceError(
                f"a query vector has shape {vector.shape}, the index holds vectors of {self.dim} dimensions"
            )
        if not np.isfinite(vector).all() or not np.any(vector):
            raise UsageError("a query vector is zero or not finite; check what made it")
        return _unit(vector)


def encode_words(
    encoder: TextEncoder, texts: Sequence[str], expand: Callable[[str], Sequence[str]] | None = None
) -> list[Float[np.ndarray, " dim"]]:
    """A unit vector per text, mixed with what the encoder learned of values that it names.

    `expand`: text -> the texts whose mean stands for it.
    """
    expanded = [list(expand(text)) if expand else [text] for text in texts]
    flat = encoder.encode_texts([form for forms in expanded for form in forms])
    flat = flat if isinstance(flat, np.ndarray) else flat.cpu().numpy()
    ends = np.cumsum([len(forms) for forms in expanded])[:-1]
    means = [_unit(part.mean(axis=0)) for part in np.split(flat, ends)]
    learned: ValueVectors | None = getattr(encoder, "value_vectors", None)
    if learned is None:
        return means
    return [_with_value(text, mean, learned) for text, mean in zip(texts, means, strict=True)]


def _check_weights(weights: Sequence[float], parts: int) -> None:
    if len(weights) != parts:
        raise UsageError(f"{len(weights)} weight(s) for {parts} part(s) of a query; give one for each, in their order")
    if not all(np.isfinite(weight) and weight for weight in weights) or not any(weight > 0 for weight in weights):
        shown = ", ".join(f"{weight:g}" for weight in weights)
        raise UsageError(f"weights {shown}: each is a number other than 0, and one of them is above 0")


def _mean(weighted: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    vectors, weights = zip(*weighted, strict=True)
    return np.average(np.stack(vectors), axis=0, weights=weights)


class Names(NamedTuple):
    """The values that a text names, of those that were learned."""

    values: tuple[Value, ...]
    """In the order of the text, none twice; none that it does not want, and none that two attributes share."""
    share: float
    """Of the text's words, how many belong to these names; from 0 to 1."""


def values_named(text: str, learned: ValueVectors) -> Names:
    """What a text names of learned values, by the same reading as a query's."""
    found = understand(text, _learned(tuple((name, one.values) for name, one in learned.attributes.items())))
    parts = [
        part
        for part in found.parts
        if part.kind == "wanted" and len({value.value.casefold() for value in part.values}) == len(part.values)
    ]
    words = [token for token in tokens(text) if token.kind != "sign"]
    counted = sum(any(part.start <= word.start < part.end for part in parts) for word in words)
    values = tuple(dict.fromkeys(value for part in parts for value in part.values))
    return Names(values, counted / len(words) if words else 0.0)


@functools.lru_cache(maxsize=8)
def _learned(attributes: tuple[tuple[str, tuple[str, ...]], ...]) -> Vocabulary:
    return Vocabulary.of_values(dict(attributes))


def _with_value(text: str, mean: np.ndarray, learned: ValueVectors) -> np.ndarray:
    """A text's vector; of a text that names values, mixed with theirs, by how much of it the names are."""
    names = values_named(text, learned)
    if not names.values:
        return mean
    known = [learned.attributes[attribute] for attribute, _ in names.values]
    own = [one.vectors[one.values.index(value)] for one, (_, value) in zip(known, names.values, strict=True)]
    share = names.share * float(np.mean([one.weight for one in known]))
    return _unit((1.0 - share) * mean + share * _unit(np.mean(own, axis=0)))


def _unit(vector: np.ndarray, added: float = 0.0) -> Float[np.ndarray, " dim"]:
    """`added`: the lengths of what the vector is the sum of; of what cancels, rounding leaves a direction, too."""
    length = float(np.linalg.norm(vector))
    if not length > max(1e-12, _ROUNDING * added):
        raise UsageError("what is wanted and what is not cancel each other out; change a part or a weight")
    return (vector / length).astype(np.float32)
