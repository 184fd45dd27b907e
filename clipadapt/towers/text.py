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
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clipadapt.towers.encoder import TorchEncoder


class Distinct(NamedTuple):
    """Texts without their repetitions: `texts[places[i]]` is the i-th of the original."""

    texts: list[str]
    places: Int[Tensor, " n"]


def distinct(texts: Sequence[str]) -> Distinct:
    """Each text once, in order of first appearance."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    return Distinct(list(places), torch.tensor([places[text] for text in texts], dtype=torch.long))


def encode_distinct(
    encoder: TorchEncoder, texts: Sequence[str], *, normalize: bool = True, multiple: int = 1
) -> Float[Tensor, "n dim"]:
    """Features of `texts` with gradient, each distinct one computed once; unit length unless told otherwise.

    Gradients of repeated texts add up, as if each had been computed. With dropout, repetitions share one draw.
    """
    once = distinct(texts)
    features = encoder.text_features(encoder.tokenize(once.texts, multiple))
    if normalize:
        features = F.normalize(features, dim=-1)
    return features[once.places.to(features.device)]


def by_length(lengths: Sequence[int], size: int) -> Iterator[Int[np.ndarray, " at_most_size"]]:
    """Batches of positions, shortest texts first, at most `size` in each."""
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
