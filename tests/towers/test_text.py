"""Each text once, and only as long as needed: values and gradients equal those of the plain way."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import TEXTS

from clipadapt.config import Lora
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import add_adapters
from clipadapt.towers.text import by_length, distinct


@given(st.lists(st.sampled_from(["a", "b", "c d", ""])))
def test_distinct_puts_everything_back(texts: list[str]) -> None:
    once = distinct(texts)
    assert [once.texts[place] for place in once.places.tolist()] == texts
    assert sorted(set(texts)) == sorted(once.texts)


@given(st.lists(st.integers(1, 30), max_size=20), st.integers(1, 6))
def test_batches_by_length_hold_everything_once_and_rise(lengths: list[int], size: int) -> None:
    batches = list(by_length(lengths, size))
    order = np.concatenate(batches).tolist() if batches else []
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[place] for place in order] == sorted(lengths)
    assert all(len(batch) <= size for batch in batches)


@pytest.mark.parametrize("layout", ["clip", "eva_separate", "siglip", "hf_clip", "hf_siglip"])
def test_gradients_equal_the_plain_way(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    """Full length and every repetition computed, in float64."""
    gradients = []
    for plain in (True, False):
        encoder = encoder_of(layout).double()
        add_adapters(encoder, Lora(preset="text", rank=2, dropout=0.0, norms=True))
        with torch.no_grad():
            for parameter in encoder.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05)
        if plain:
            features = F.normalize(encoder.text_features(encoder.backend.tokens(TEXTS)), dim=-1)
        else:
            once = distinct(TEXTS)
            features = F.normalize(encoder.text_features(encoder.tokenize(once.texts)), dim=-1)[once.places]
        weights = torch.linspace(-1, 1, features.numel(), dtype=torch.float64).reshape(features.shape)
        (features * weights).sum().backward()
        gradients.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-12)
