"""Texts at their true cost: each distinct text once, and only as many tokens as the batch needs.

Fashion captions have 8 to 20 tokens of 77, and a batch repeats most of them. Both savings are exact: a causal tower
cannot see beyond a text's end (see backend.OpenClip), and equal texts have equal features. Towers that attend to their
padding, as SigLIP's, keep all their positions. Texts are grouped by length, so that one long caption does not
lengthen every batch. Nothing here knows of templates or losses.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor


class Distinct(NamedTuple):
    """Texts without their repetitions: `texts[places[i]]` is the i-th of the original."""

    texts: list[str]
    places: Int[Tensor, " n"]


def distinct(texts: Sequence[str]) -> Distinct:
    """Each text once, in order of first appearance."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return Distinct(list(places), torch.tensor([places[text] for text in texts], dtype=torch.long))


def by_length(lengths: Sequence[int], size: int) -> Iterator[Int[np.ndarray, " at_most_size"]]:
    """Batches of positions, shortest texts first, at most `size` in each."""
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
