"""Which value each picture is recognised as, for many sets of value vectors over the same pictures.

Cosines are computed in float32 and settled in float64 where the two best are closer than float32 can tell, so that a
table made here equals one computed slowly in float64. Vectors in, codes out: texts come as ensembles and are encoded
by whoever is handed in.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from clipadapt.prompts.wording import Text

Encode = Callable[[Sequence[str]], Float[np.ndarray, "texts dim"]]
"""Texts -> unit vectors, float32; keeps what it has encoded."""

_ROWS = 1 << 15
"""Pictures at a time: the cosines of 100,000 pictures and 70 values would not stay in cache."""
_TELLS = 1e-5
"""Differences of cosines that float32 sums over a thousand dimensions tell for certain."""


def value_vectors(ensembles: Sequence[Sequence[Text]], encode: Encode) -> Float[np.ndarray, "values dim"]:
    """One unit vector per value: the normalised mean of its texts by their shares, in float64."""
    distinct = list(dict.fromkeys(text.text for texts in ensembles for text in texts))
    vectors = encode(distinct).astype(np.float64)
    place = {text: at for at, text in enumerate(distinct)}
    shares = np.zeros((len(ensembles), len(distinct)))
    for row, texts in enumerate(ensembles):
        for text in texts:
            shares[row, place[text.text]] += text.share
    means = shares @ vectors
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def recognise(
    pictures: Float[np.ndarray, "items dim"], vectors: Float[np.ndarray, "values dim"]
) -> Int[np.ndarray, " items"]:
    """The value with the largest cosine; the first of equal ones."""
    single = vectors.T.astype(np.float32)
    codes = np.empty(len(pictures), np.int64)
    for start in range(0, len(pictures), _ROWS):
        rows = pictures[start : start + _ROWS]
        cosines = rows @ single
        best = cosines.argmax(axis=1)
        top = cosines.max(axis=1)
        close = np.flatnonzero((cosines > top[:, None] - _TELLS).sum(axis=1) > 1)
        if len(close):
            best[close] = (rows[close].astype(np.float64) @ vectors.T).argmax(axis=1)
        codes[start : start + _ROWS] = best
    return codes


def without(texts: Sequence[Text], template: int) -> list[Text]:
    """An ensemble that lacks one template; whole where it has no other."""
    kept = [text for text in texts if text.template != template]
    total = sum(text.share for text in kept)
    return [text._replace(share=text.share / total) for text in kept] if kept else list(texts)
