"""Merging: equal to the adapted model in every layout, exact at both ends, and honest about half precision."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from jaxtyping import TypeCheckError
from safetensors.torch import save_file
from tiny_models import LAYOUTS, OPEN_CLIP, TEXTS, TWO_TOWERS
from torch import Tensor

from clipadapt.config import Lora, Train
from clipadapt.errors import AdapterError, ConfigError
from clipadapt.towers.adapter import load_adapter, save_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import add_adapters, select_trainable
from clipadapt.towers.merge import merge
from clipadapt.towers.packed import fuse_attention

PLAN = (("*.attention.{q,k,v,out}", 4), ("*.mlp.*", 2))


def move(encoder: TorchEncoder, size: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def features(encoder: TorchEncoder, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        image = encoder.image_features(pixels)
        if encoder.context_length is None:
            return image
        return torch.cat([image, encoder.text_features(encoder.tokenize(TEXTS))])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", [{}, {"use_dora": True}], ids=["lora", "dora"])
def test_merged_fused_and_stock_loaded_are_the_adapted_model(
    layout: str,
    options: dict[str, Any],
    encoder_of: Callable[[str], TorchEncoder],
    folder_of: Callable[[str], Path],
    pixels: Tensor,
) -> None:
    encoder = encoder_of(layout)
    before = encoder.model.state_dict()
    base = features(encoder, pixels)
    add_adapters(encoder, Lora(plan=PLAN, rank=4, norms=True, options=options))
    move(encoder)
    adapted = features(encoder, pixels)
    spaces = encoder.image_space, encoder.text_space
    assert (adapted - base).abs().max() > 0.1

    done = merge(encoder)
    torch.testing.assert_close(features(encoder, pixels), adapted, atol=1e-5, rtol=0)
    assert (encoder.image_space, encoder.text_space) == spaces
    assert all(share == 1.0 for share in done.changed.values())
    assert set(done.changed) == ({"image", "text"} if layout in TWO_TOWERS else {"image"})
    assert not hasattr(encoder.model, "peft_config")

    fuse_attention(encoder.model)
    torch.testing.assert_close(features(encoder, pixels), adapted, atol=1e-5, rtol=0)
    after = encoder.model.state_dict()
    assert list(after) == list(before)
    assert all(after[name].shape == before[name].shape for name in before)
    if layout in OPEN_CLIP:
        import open_clip

        stock: Any = open_clip.create_model(f"local-dir:{folder_of(layout)}").eval()
        stock.load_state_dict(after, strict=True)
        with torch.no_grad():
            text = stock.encode_text(encoder.backend.tokens(TEXTS))
            found = torch.cat([stock.encode_image(pixels), text])
        torch.testing.assert_close(found, adapted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", ["clip", "eva_fused", "siglip", "hf_siglip", "timm_vit"])
@pytest.mark.parametrize("options", [{}, {"init_lora_weights": "pissa"}], ids=["lora", "pissa"])
def test_strength_zero_is_the_base_bit_for_bit(
    layout: str, options: dict[str, Any], encoder_of: Callable[[str], TorchEncoder]
) -> None:
    encoder, base = encoder_of(layout), encoder_of(layout)
    add_adapters(encoder, Lora(plan=PLAN, rank=4, norms=True, options=options))
    move(encoder)
    merge(encoder, {"image": 0.0, "text": 0.0})
    fuse_attention(encoder.model)
    assert (encoder.image_space, encoder.text_space) == (base.image_space, base.text_space)
    assert encoder.written_lineage().image_weights == base.lineage.image_weights
    for name, value in base.model.state_dict().items():
        assert torch.equal(encoder.model.state_dict()[name], value), name


def test_between_is_a_straight_line_per_tower(encoder_of: Callable[[str], TorchEncoder]) -> None:
    adapted = encoder_of("eva_separate")
    base = {name: value.clone() for name, value in adapted.model.state_dict().items()}
    add_adapters(adapted, Lora(plan=PLAN, rank=4, norms=True, options={"use_dora": True}))
    move(adapted)
    twin = copy.deepcopy(adapted)
    merge(adapted)
    merge(twin, {"image": 0.3})
    for encoder in (adapted, twin):
        fuse_attention(encoder.model)
    whole, part = adapted.model.state_dict(), twin.model.state_dict()
    for name, value in base.items():
        share = 0.3 if name.startswith("visual.") else 1.0
        torch.testing.assert_close(part[name], value + share * (whole[name] - value), atol=1e-6, rtol=1e-5)
    assert twin.image_space not in (adapted.image_space, encoder_of("eva_separate").image_space)
    assert twin.text_space == adapted.text_space
    assert twin.lineage.strength == {"image": 0.3, "text": 1.0}


@pytest.mark.parametrize("trainable", ["norms", "all"])
def test_weights_trained_in_place_interpolate_too(trainable: Any, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("vit_fused")
    base = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    select_trainable(encoder, Train(trainable=trainable), Lora())
    move(encoder)
    trained = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    merge(encoder, {"image": 0.5, "text": 0.0})
    for name, value in encoder.model.state_dict().items():
        expected = (base[name] + trained[name]) / 2 if name.startswith("visual.") else base[name]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)
    assert encoder.text_space == encoder_of("vit_fused").text_space


def test_half_precision_that_swallows_the_update_is_warned_of(
    encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    for size, warned in ((1e-6, True), (0.3, False)):
        encoder = encoder_of("clip")
        add_adapters(encoder, Lora(plan=PLAN, rank=4))
        move(encoder, size)
        expected = encoder.encode_images(pixels)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            done = merge(encoder, dtype=torch.bfloat16)
        assert bool(caught) == warned
        if warned:
            assert "swallows the update" in str(caught[0].message)
            assert max(done.changed.values()) < 0.2
        else:
            assert min(done.changed.values()) > 0.9
        assert {p.dtype for p in encoder.model.parameters() if p.dim() > 0} == {torch.bfloat16}
        assert encoder.logit_scale.dtype == torch.float32
        assert (encoder.encode_images(pixels) * expected).sum(-1).min() > 0.99


def test_a_half_base_is_merged_in_float32_and_rounded_once(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(plan=PLAN, rank=4))
    move(encoder, 0.3)
    encoder.model.requires_grad_(False)
    encoder.cast_frozen(torch.float32)
    for part in encoder.model.modules():
        if hasattr(part, "base_layer"):
            part.base_layer.to(torch.bfloat16)
    layer: Any = encoder.model.get_submodule("transformer.resblocks.1.mlp.c_fc")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    wanted = (layer.base_layer.weight.float() + layer.scaling["default"] * (b @ a)).to(torch.bfloat16)
    merge(encoder)
    merged: Any = encoder.model.get_submodule("transformer.resblocks.1.mlp.c_fc")
    assert merged.weight.dtype == torch.bfloat16
    assert torch.equal(merged.weight, wanted)


def test_float64_stays_exact(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_fused").double()
    add_adapters(encoder, Lora(plan=PLAN, rank=4, norms=True, options={"use_rslora": True}))
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted = features(encoder, pixels)
    merge(encoder)
    torch.testing.assert_close(features(encoder, pixels), adapted, atol=1e-12, rtol=0)


def test_a_merged_model_can_be_the_base_of_another_run(
    encoder_of: Callable[[str], TorchEncoder], folder_of: Callable[[str], Path], pixels: Tensor, tmp_path: Path
) -> None:
    import shutil

    from clipadapt.towers.identity import write_card
    from clipadapt.towers.load import load

    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(rank=2))
    move(encoder)
    merge(encoder, {"image": 0.5})
    fuse_attention(encoder.model)
    export = tmp_path / "export"
    export.mkdir()
    shutil.copy(folder_of("clip") / "open_clip_config.json", export)
    save_file(
        {k: v.contiguous() for k, v in encoder.model.state_dict().items()}, export / "open_clip_model.safetensors"
    )
    write_card(export, encoder.written_lineage())
    loaded = load(f"local-dir:{export}")
    assert isinstance(loaded, TorchEncoder)
    assert (loaded.image_space, loaded.text_space) == (encoder.image_space, encoder.text_space)
    assert loaded.lineage.base == f"local-dir:{folder_of('clip')}"
    add_adapters(loaded, Lora(rank=2))
    move(loaded)
    save_adapter(loaded, tmp_path / "run" / "adapter")
    again: Any = load(f"run:{tmp_path / 'run'}")
    assert torch.equal(features(again, pixels), features(loaded, pixels))
    with pytest.raises(AdapterError, match="is not that model"):
        load_adapter(encoder_of("clip"), tmp_path / "run" / "adapter")


def test_nothing_to_merge(encoder_of: Callable[[str], TorchEncoder]) -> None:
    with pytest.raises(AdapterError, match="nothing to merge"):
        merge(encoder_of("clip"))


def test_a_strength_for_no_tower_is_refused(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(rank=2))
    with pytest.raises((ConfigError, TypeCheckError), match="images"):
        merge(encoder, cast("Any", {"images": 0.5}))
    assert encoder.adapters is not None
