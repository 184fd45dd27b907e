"""Adapters by the plan: which modules, what shape, what trains, and the guards."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer
from tiny_models import LAYOUTS, TEXTS, TWO_TOWERS
from torch import Tensor, nn

from clipadapt.config import Lora, Train
from clipadapt.errors import AdapterError, ConfigError
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import add_adapters, check_gradients, expression, select_trainable, tally

ALL_LINEAR = (("*.attention.{q,k,v,out}", 4), ("*.mlp.*", 2))


def backward(encoder: TorchEncoder, pixels: Tensor) -> None:
    tokens = None if encoder.context_length is None else encoder.tokenize(TEXTS)
    image, text = encoder(pixels, tokens)
    (image.square().sum() + (0 if text is None else text.square().sum())).backward()


def adapters(encoder: TorchEncoder) -> dict[str, Any]:
    by_path = {path: name for name, path in encoder.logical_names().items()}
    return {by_path[path]: part for path, part in encoder.model.named_modules() if isinstance(part, LoraLayer)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gets_its_adapters_and_gradients(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of(layout)
    base = encoder.encode_images(pixels)
    report = add_adapters(encoder, Lora(plan=ALL_LINEAR, rank=4, dropout=0.0))
    torch.testing.assert_close(encoder.encode_images(pixels), base, atol=1e-6, rtol=0)
    pools = layout in ("siglip", "hf_siglip", "attentional_pool")
    gated = layout == "eva_separate"
    pooled_mlp = layout in ("siglip", "hf_siglip")
    assert report.towers["image"].adapters == 2 * (4 + 2 + gated) + 4 * pools + 2 * pooled_mlp
    if layout in TWO_TOWERS:
        assert report.towers["text"].adapters == 2 * (4 + 2)
    encoder.train()
    backward(encoder, pixels)
    check_gradients(encoder)
    trained = [name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".lora_" in name for name in trained)
    assert not any(p.grad is not None for p in encoder.model.parameters() if not p.requires_grad)
    assert sum(tally.trainable for tally in report.towers.values()) == sum(
        p.numel() for p in encoder.model.parameters() if p.requires_grad
    )


def test_default_is_attention_at_rank_8_in_both_towers(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    total = sum(parameter.numel() for parameter in encoder.model.parameters()) - 1
    report = add_adapters(encoder, Lora())
    found = adapters(encoder)
    parts = ("q", "k", "v", "out")
    wanted = {f"{tower}.blocks.{b}.attention.{p}" for tower in ("image", "text") for b in (0, 1) for p in parts}
    assert set(found) == wanted
    assert {layer.r["default"] for layer in found.values()} == {8}
    assert {layer.scaling["default"] for layer in found.values()} == {2.0}
    assert sum(one.total for one in report.towers.values()) == total
    assert "8 adapters" in str(report)
    assert str(report).startswith("image: 4,096 of ")


@pytest.mark.parametrize("preset", ["image", "text"])
def test_presets_keep_to_their_tower(preset: Any, encoder_of: Callable[[str], TorchEncoder]) -> None:
    """open_clip's CLIP: one tower's paths are ends of the other's."""
    encoder = encoder_of("clip")
    report = add_adapters(encoder, Lora(preset=preset, norms=True))
    other = "text" if preset == "image" else "image"
    assert report.towers[other].adapters == report.towers[other].trainable == 0
    assert report.towers[preset].adapters == 8
    assert report.towers[preset].trainable > 4096


def test_rank_by_plan_and_alpha_that_follows(encoder_of: Callable[[str], TorchEncoder]) -> None:
    plan = (("text.blocks.1.*", None), ("image.blocks.0.attention.{q,v}", 2), ("*.attention.{q,k,v,out}", 6))
    encoder = encoder_of("eva_separate")
    add_adapters(encoder, Lora(plan=plan, rank=4, alpha=8))
    found = adapters(encoder)
    assert found["image.blocks.0.attention.q"].r["default"] == 2
    assert found["image.blocks.0.attention.k"].r["default"] == 6
    assert found["image.blocks.1.attention.q"].r["default"] == 6
    assert not any(name.startswith("text.blocks.1.") for name in found)
    assert {layer.scaling["default"] for layer in found.values()} == {2.0}

    stable = encoder_of("eva_separate")
    add_adapters(stable, Lora(plan=plan, rank=4, alpha=8, options={"use_rslora": True}))
    for layer in adapters(stable).values():
        assert layer.scaling["default"] == pytest.approx(8 / math.sqrt(layer.r["default"]))


def test_norms_train_in_place(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("vit_fused")
    add_adapters(encoder, Lora(norms=True))
    names = encoder.logical_names()
    norms = {path for name, path in names.items() if ".norm." in name}
    trained = {
        name.rpartition(".")[0]
        for name, parameter in encoder.model.named_parameters()
        if parameter.requires_grad and ".lora_" not in name
    }
    assert trained == norms
    encoder.train()
    backward(encoder, pixels)
    check_gradients(encoder)


def test_initial_values_depend_on_the_seed_alone(encoder_of: Callable[[str], TorchEncoder]) -> None:
    def values(seed: int) -> list[Tensor]:
        encoder = encoder_of("clip")
        torch.rand(3)
        before = torch.get_rng_state()
        add_adapters(encoder, Lora(), seed)
        assert torch.equal(torch.get_rng_state(), before)
        return [p for p in encoder.parameters() if p.requires_grad]

    one, same, other = values(0), values(0), values(1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_adapters_are_float32_on_a_half_model_and_float64_on_a_double(
    encoder_of: Callable[[str], TorchEncoder],
) -> None:
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        encoder = encoder_of("clip").to(dtype)
        add_adapters(encoder, Lora())
        assert {p.dtype for p in encoder.model.parameters() if p.requires_grad} == {expected}


def test_select_norms_and_all(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_fused")
    report = select_trainable(encoder, Train(trainable="norms"), Lora(preset="image"))
    trained = [name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("norm" in name and name.startswith("visual.") for name in trained)
    assert report.towers["text"].trainable == 0

    encoder = encoder_of("eva_fused")
    report = select_trainable(encoder, Train(trainable="all"), Lora())
    frozen = [name for name, parameter in encoder.model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["logit_scale"]
    assert all(one.trainable == one.total for one in report.towers.values())
    encoder.train()
    backward(encoder, pixels)
    check_gradients(encoder)
    with pytest.raises(AdapterError, match="already carries adapters"):
        add_adapters(encoder, Lora())


def test_a_missing_projection_is_named(
    encoder_of: Callable[[str], TorchEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silent failure that the guard is for: a fused qkv that nobody split."""
    from clipadapt.towers import lora

    monkeypatch.setattr(lora, "split_attention", lambda model: None)
    with pytest.raises(AdapterError, match=r"16 adapters are planned .* and 10 found") as caught:
        add_adapters(encoder_of("eva_separate"), Lora())
    assert "text.blocks.1.attention.v" in str(caught.value)


def test_an_adapter_without_gradient_is_named(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_separate")
    add_adapters(encoder, Lora(dropout=0.0))
    attn: Any = encoder.model.get_submodule("visual.trunk.blocks.1.attn")
    linear = attn.v_proj.base_layer
    original = type(attn).forward

    def bypass(self: Any, *args: Any, **kwargs: Any) -> Tensor:
        wrapped, self._modules["v_proj"] = self._modules["v_proj"], linear
        try:
            return original(self, *args, **kwargs)
        finally:
            self._modules["v_proj"] = wrapped

    attn.forward = bypass.__get__(attn)
    backward(encoder, pixels)
    with pytest.raises(AdapterError, match=r"1 adapter\(s\) or weight\(s\) got no gradient") as caught:
        check_gradients(encoder)
    assert "image.blocks.1.attention.v" in str(caught.value)
    check_gradients(encoder, towers=("text",))


def test_a_tower_that_took_no_part_is_not_checked(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(dropout=0.0))
    encoder.text_features(encoder.tokenize(TEXTS)).square().sum().backward()
    check_gradients(encoder, towers=("text",))
    with pytest.raises(AdapterError, match=r"8 adapter"):
        check_gradients(encoder, towers=("image",))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (Lora(plan=(("*.atention.*", 8),)), r"'\*\.atention\.\*' matches nothing"),
        (Lora(plan=(("*.norm.*", 8),)), r"gives a rank to \d+ norm\(s\)"),
        (Lora(plan=(("*", None),)), "freezes everything"),
        (Lora(options={"use_dorra": True}), "did you mean use_dora"),
        (Lora(options={"target_modules": ["q"], "r": 3}), r"2 fault\(s\)"),
        (Lora(options={"init_lora_weights": "eva"}), "needs passes over data"),
        (Lora(options={"kasa_config": {}}), "kasa_config: not used here.*options that do: use_dora"),
        (Lora(options={"velora_config": {}, "use_bdlora": {}}), r"2 fault\(s\)"),
        (Lora(options={"arrow_config": {}}), "arrow_config: not used here"),
        (Lora(options={"alora_invocation_tokens": [1]}), "alora_invocation_tokens: not used here"),
        (Lora(options={"runtime_config": {}, "monteclora_config": {}}), "runtime_config: not used here"),
        (Lora(options={"init_lora_weights": "nonsense"}), "peft refuses them"),
        (Lora(options={"lora_bias": True, "use_dora": True}), "peft refuses them"),
        (Lora(rank=3, options={"init_lora_weights": "orthogonal"}), "peft refuses them: .*rank to be even"),
    ],
)
def test_plans_and_options_that_cannot_be_followed(
    lora: Lora, message: str, encoder_of: Callable[[str], TorchEncoder]
) -> None:
    with pytest.raises(ConfigError, match=message):
        add_adapters(encoder_of("clip"), lora)


def test_a_bias_that_could_not_be_merged_is_refused(encoder_of: Callable[[str], TorchEncoder]) -> None:
    with pytest.raises(
        ConfigError, match=r"2 Linear\(s\) without a bias, such as visual\.trunk\.blocks\.0\.attn\.k_proj"
    ):
        add_adapters(encoder_of("eva_separate"), Lora(options={"lora_bias": True}))


@pytest.mark.parametrize(("rank", "initial"), [(3, "orthogonal"), (40, "pissa")])
def test_what_peft_refuses_half_way_leaves_the_model_as_it_was(
    rank: int, initial: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of("eva_separate")
    base = encoder.encode_images(pixels)
    with pytest.raises(ConfigError):
        add_adapters(encoder, Lora(rank=rank, options={"init_lora_weights": initial}))
    assert not any(isinstance(part, LoraLayer) for part in encoder.modules())
    assert torch.equal(encoder.encode_images(pixels), base)
    add_adapters(encoder, Lora(rank=2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_full_fine_tuning_reaches_every_weight(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of(layout)
    select_trainable(encoder, Train(trainable="all"), Lora())
    encoder.train()
    backward(encoder, pixels)
    check_gradients(encoder)


def test_a_text_preset_needs_a_text_tower(encoder_of: Callable[[str], TorchEncoder]) -> None:
    with pytest.raises(ConfigError, match="image tower alone"):
        add_adapters(encoder_of("timm_vit"), Lora(preset="text"))


def test_a_resnet_has_no_place_for_adapters(tmp_path: Any) -> None:
    from tiny_models import OPEN_CLIP, write_open_clip

    from clipadapt.towers.load import load

    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    folder = write_open_clip(tmp_path / "rn", {**OPEN_CLIP["clip"], "vision_cfg": vision})
    encoder = load(str(folder))
    assert isinstance(encoder, TorchEncoder)
    with pytest.raises(AdapterError, match=r"the image tower has no transformer blocks.*choose lora\.preset text"):
        add_adapters(encoder, Lora())
    assert add_adapters(encoder, Lora(preset="text")).towers["text"].adapters == 8


def test_expressions_match_exactly_their_paths() -> None:
    import re

    paths = [f"visual.blocks.{n}.attn.{p}" for n in (1, 11) for p in ("q_proj", "v_proj")] + ["head.proj", "blocks.1.x"]
    pattern = re.compile(expression(paths))
    others = ["visual.blocks.11.attn.k_proj", "blocks.1.attn.q_proj", "visual.blocks.111.attn.q_proj", "xhead.proj"]
    assert all(pattern.fullmatch(path) for path in paths)
    assert not any(pattern.fullmatch(path) for path in others)
    assert len(expression([f"a.{n}.b.{p}" for n in range(24) for p in "qkvo"])) < 120


def test_tally_counts_the_base_without_adapters(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("timm_eva")
    total = sum(parameter.numel() for parameter in encoder.model.parameters())
    add_adapters(encoder, Lora(rank=2))
    counted = tally(encoder).towers["image"]
    assert (counted.trainable, counted.total, counted.adapters) == (2 * 2 * 4 * (32 + 32), total, 8)
    assert isinstance(encoder.model, nn.Module)
