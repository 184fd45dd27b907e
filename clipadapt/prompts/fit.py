"""What only a model can tell of a prompts file: which words its context cuts off, and which values it hears as one.

The tokenizer comes in as a function from one text to its ids and the text tower as a function from a value to its
vector, so nothing here knows a library. Tokenizers cut without a word; the cut is found by comparing ids of shorter
and shorter texts, which holds for every tokenizer at the price of a dozen calls per long text.
"""

import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from clipadapt.prompts.library import Prompts
from clipadapt.prompts.lint import SHOWN, Finding, Source, listed, place_of, values_of

Ids = Callable[[str], Sequence[int]]
"""One text -> its token ids, cut to the context; padding, if any, at the end."""


class Context:
    """How much of a text a model reads."""

    def __init__(self, ids: Ids, length: int):
        self.length = length
        """Tokens that fit, with the start and end tokens."""
        self._ids = ids
        self._empty = list(ids(""))

    def count(self, text: str) -> int:
        """Tokens of a text as far as it is read; the end token counts where it differs from padding."""
        return len(self._content(text))

    def cut(self, text: str) -> list[str]:
        """The words that are not read, or not read to their end; empty when all is read."""
        if len(text.encode("utf-8")) + 2 <= self.length:
            return []
        whole = self._content(text)
        if len(whole) < self.length - 1:
            return []
        words = text.split()
        kept = bisect.bisect_left(
            range(len(words) + 1), True, key=lambda number: self._content(" ".join(words[:number])) == whole
        )
        partly = kept > 0 and self._content(" ".join(words[:kept])[:-1]) == whole
        return words[kept - partly :]

    def _content(self, text: str) -> list[int]:
        """Ids up to the last one that differs from those of an empty text, which is where padding begins."""
        ids = list(self._ids(text))
        end = len(ids)
        while end and end <= len(self._empty) and ids[end - 1] == self._empty[end - 1]:
            end -= 1
        return ids[:end]


def too_long(prompts: Prompts, source: Source | None, context: Context) -> Iterator[Finding]:
    """Captions of the source and texts of its values that lose words; a value's text that does is an error."""
    for entry in prompts.library.captions if source is not None else ():
        texts = [(kind, prompts.caption_of(entry.what, kind.row)) for kind in source.kinds] if source else []
        cuts = [(kind, text, cut) for kind, text in texts if (cut := context.cut(text))]
        if cuts:
            kind, text, cut = max(cuts, key=lambda found: len(found[2]))
            items = sum(found[0].items for found in cuts)
            message = f"{items} item(s) have a caption longer than the {context.length} tokens that are read"
            shown = f"{' '.join(text.split()[: -len(cut)])} | {' '.join(cut)}"
            yield Finding(entry.place, "warning", f"{message}; of item {kind.first} the words after | are cut: {shown}")
    for attribute in prompts.attributes:
        for value in values_of(prompts, attribute, source):
            for text in prompts.value_texts(attribute, value):
                if cut := context.cut(text):
                    message = (
                        f"{attribute}: a text of {value!r} is longer than the {context.length} tokens that are read"
                    )
                    shown = f"{message}; cut are: {' '.join(cut)}"
                    yield Finding(place_of(prompts, attribute, value), "error", shown)


def nearly_same(
    prompts: Prompts,
    source: Source | None,
    vectors: Callable[[str, Sequence[str]], Float[np.ndarray, "values dim"]],
    threshold: float,
) -> Iterator[Finding]:
    """Pairs of values whose vectors have a cosine above `threshold`: the model hears them as one.

    `vectors` gives the unit vectors of an attribute's values, in order.
    """
    for attribute in prompts.attributes:
        values = values_of(prompts, attribute, source)
        if len(values) < 2:
            continue
        rows = vectors(attribute, values)
        cosines = np.triu(rows @ rows.T, k=1)
        pairs = sorted(zip(*np.nonzero(cosines > threshold), strict=True), key=lambda pair: -cosines[pair])
        near: dict[str, list[str]] = {}
        for one, other in pairs:
            near.setdefault(values[other], []).append(f"{values[one]} ({cosines[one, other]:.3f})")
        for value, others in near.items():
            message = f"{attribute}: for the model {value!r} is nearly the same as {listed(others[:SHOWN])}"
            yield Finding(place_of(prompts, attribute, value), "warning", f"{message}; say what sets it apart")


def token_counts(texts: Sequence[str], context: Context) -> Mapping[str, int]:
    """Tokens per distinct text."""
    return {text: context.count(text) for text in dict.fromkeys(texts)}
