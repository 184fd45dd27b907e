"""Logical names are the same for every library and layout."""

from collections.abc import Callable

import pytest
from tiny_models import LAYOUTS, TWO_TOWERS
from torch import nn

from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.names import PROJECTIONS
from clipadapt.towers.packed import split_attention


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_have_the_same_names_everywhere(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of(layout)
    split_attention(encoder.model)
    names = encoder.logical_names()
    for tower in ("image", "text") if layout in TWO_TOWERS else ("image",):
        for block in (0, 1):
            for part in PROJECTIONS:
                assert f"{tower}.blocks.{block}.attention.{part}" in names
            for part in ("norm.1", "norm.2", "mlp.fc2"):
                assert f"{tower}.blocks.{block}.{part}" in names
            assert any(f"{tower}.blocks.{block}.mlp.{part}" in names for part in ("fc1", "fc1_g"))
        assert f"{tower}.norm.post" in names
    assert not [name for name in names if ".other." in name]
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_lost(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    """Every Linear and LayerNorm of the towers has exactly one name."""
    encoder = encoder_of(layout)
    split_attention(encoder.model)
    wanted = {path for path, part in encoder.model.named_modules() if isinstance(part, nn.Linear | nn.LayerNorm)}
    assert set(encoder.logical_names().values()) == wanted


@pytest.mark.parametrize("layout", ["siglip", "hf_siglip", "attentional_pool"])
def test_attention_pools_are_named(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of(layout)
    split_attention(encoder.model)
    assert {f"image.pool.attention.{part}" for part in PROJECTIONS} <= set(encoder.logical_names())


def test_what_no_rule_names_can_still_be_reached(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    encoder.model.add_module("extra", nn.ModuleDict({"thing": nn.Linear(2, 2)}))
    assert encoder.logical_names()["text.other.extra.thing"] == "extra.thing"
