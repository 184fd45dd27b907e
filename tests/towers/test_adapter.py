"""Adapters on disk: peft's form, exact round trips, and bases that they refuse."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_models import LAYOUTS, OPEN_CLIP, SIZE, TEXTS, TWO_TOWERS, write_open_clip
from torch import Tensor

from clipadapt.config import Lora, Train
from clipadapt.errors import AdapterError, ModelError
from clipadapt.towers.adapter import load_adapter, save_adapter
from clipadapt.towers.adapter_card import read_adapter_card
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import OPTIONS as ALLOWED
from clipadapt.towers.lora import add_adapters, select_trainable
from clipadapt.towers.packed import split_attention

PLAN = (("text.blocks.0.*", None), ("*.attention.{q,k}", 3), ("*.attention.{v,out}", 2), ("*.mlp.*", 2))


def move(encoder: TorchEncoder, size: float = 0.05, seed: int = 3) -> None:
    """Training's stand-in: everything trainable gets other values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(size * torch.randn(parameter.shape, generator=generator).to(parameter))


def vectors(encoder: TorchEncoder, pixels: Tensor) -> Tensor:
    image = encoder.encode_images(pixels)
    return image if encoder.context_length is None else torch.cat([image, encoder.encode_texts(TEXTS)])


def reloaded(folder: Path) -> TorchEncoder:
    encoder = load(f"run:{folder}")
    assert isinstance(encoder, TorchEncoder)
    return encoder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_comes_back_bit_for_bit(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor, tmp_path: Path
) -> None:
    encoder = encoder_of(layout)
    plan = PLAN if layout in TWO_TOWERS else PLAN[1:]
    add_adapters(encoder, Lora(plan=plan, rank=2, norms=True))
    if layout in TWO_TOWERS:
        encoder.logit_scale.requires_grad_(True)
    base = vectors(encoder, pixels)
    move(encoder)
    adapted = vectors(encoder, pixels)
    assert (adapted - base).abs().max() > 1e-2
    save_adapter(encoder, tmp_path / "run" / "adapter")
    back = reloaded(tmp_path / "run")
    trained = encoder.model.state_dict()
    assert all(torch.equal(value, trained[name]) for name, value in back.model.state_dict().items())
    torch.testing.assert_close(vectors(back, pixels), adapted, atol=1e-6, rtol=0)
    assert (back.image_space, back.text_space) == (encoder.image_space, encoder.text_space)
    assert back.scale == encoder.scale
    assert back.name == f"run:{tmp_path / 'run'}"
    assert not any(parameter.requires_grad for parameter in back.parameters())
    assert not any(part.training for part in back.modules())
    assert load(str(tmp_path / "run" / "adapter")).image_space == encoder.image_space


OPTIONS = [
    {"use_dora": True},
    {"use_rslora": True},
    {"lora_bias": True},
    {"init_lora_weights": "gaussian"},
    {"init_lora_weights": "orthogonal"},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "pissa_niter_4"},
    {"init_lora_weights": "olora"},
    {"init_lora_weights": "pissa", "use_rslora": True},
    {"init_lora_weights": "pissa", "use_dora": True},
    {"use_qalora": True, "qalora_group_size": 8},
]


def test_every_option_that_is_allowed_has_a_round_trip_and_no_other():
    assert {name for options in OPTIONS for name in options} == set(ALLOWED)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(f"{k}={v}" for k, v in options.items()))
def test_peft_options_round_trip_over_the_untouched_base(
    options: dict[str, Any], encoder_of: Callable[[str], TorchEncoder], pixels: Tensor, tmp_path: Path
) -> None:
    encoder = encoder_of("eva_separate")
    base = vectors(encoder, pixels)
    plan = (("*.attention.{q,v}", 2), ("*.mlp.*", 4))
    add_adapters(encoder, Lora(plan=plan, rank=2, alpha=3, dropout=0.1, options=options))
    torch.testing.assert_close(vectors(encoder, pixels), base, atol=1e-5, rtol=0)
    move(encoder)
    adapted = vectors(encoder, pixels)
    assert (adapted - base).abs().max() > 1e-2
    save_adapter(encoder, tmp_path / "adapter")
    back = reloaded(tmp_path)
    torch.testing.assert_close(vectors(back, pixels), adapted, atol=1e-5, rtol=0)
    assert back.image_space == encoder.image_space
    assert back.text_space == encoder.text_space


def test_options_that_draw_repeat_by_seed(encoder_of: Callable[[str], TorchEncoder]) -> None:
    """A resumed run builds the same PiSSA residual before it loads its checkpoint."""
    states = []
    for _ in range(2):
        encoder = encoder_of("eva_separate")
        add_adapters(encoder, Lora(rank=2, options={"init_lora_weights": "pissa_niter_4"}), seed=5)
        states.append(encoder.model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # peft asks transformers the old way
@pytest.mark.parametrize("layout", ["clip", "eva_fused", "siglip", "hf_clip", "timm_beit"])
@pytest.mark.parametrize("dora", [False, True])
def test_stock_peft_loads_it_over_the_split_model(
    layout: str, dora: bool, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor, tmp_path: Path
) -> None:
    """Trained norms and the logit scale included, with public names alone."""
    encoder = encoder_of(layout)
    add_adapters(encoder, Lora(rank=2, norms=True, options={"use_dora": dora}))
    if layout in TWO_TOWERS:
        encoder.logit_scale.requires_grad_(True)
    move(encoder)
    save_adapter(encoder, tmp_path / "adapter")
    stock = encoder_of(layout)
    split_attention(stock.model)
    PeftModel.from_pretrained(stock.model, str(tmp_path / "adapter"))  # pyright: ignore[reportArgumentType]
    assert torch.equal(vectors(stock, pixels), vectors(encoder, pixels))
    assert stock.scale == encoder.scale


def test_the_readme_of_an_adapter_loads_it_and_notices_when_attention_was_not_split(
    encoder_of: Callable[[str], TorchEncoder], folder_of: Any, tmp_path: Path
) -> None:
    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(rank=2))
    move(encoder)
    save_adapter(encoder, tmp_path / "adapter")
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert str(tmp_path) not in text
    code = text.split("```python")[1].split("```")[0].replace("ADAPTER", str(tmp_path / "adapter"))
    folder = Path(folder_of("clip"))
    code = code.replace(f"local-dir:{folder.name}", f"local-dir:{folder}")
    exec(code, {})
    with pytest.raises(AssertionError, match=r"peft took \d+ of \d+ tensors: split the attention first"):
        exec(code.replace("clipadapt.split_attention(model)", ""), {})


@pytest.mark.parametrize("trainable", ["norms", "all"])
def test_runs_without_adapters_are_kept_in_the_same_form(
    trainable: Any, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor, tmp_path: Path
) -> None:
    encoder = encoder_of("eva_fused")
    select_trainable(encoder, Train(trainable=trainable), Lora())
    move(encoder, 0.02)
    adapted = vectors(encoder, pixels)
    save_adapter(encoder, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "adapter_config.json").exists()
    back = reloaded(tmp_path)
    assert torch.equal(vectors(back, pixels), adapted)
    assert back.image_space == encoder.image_space
    card = read_adapter_card(tmp_path / "adapter")
    assert card is not None
    assert card.kind == trainable


def test_what_is_written(encoder_of: Callable[[str], TorchEncoder], folder_of: Any, tmp_path: Path) -> None:
    encoder = encoder_of("clip")
    base = encoder.image_space, encoder.text_space
    add_adapters(encoder, Lora(preset="text", rank=2))
    save_adapter(encoder, tmp_path)
    move(encoder)
    save_adapter(encoder, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    card = read_adapter_card(tmp_path)
    assert card is not None
    assert card.base == f"local-dir:{folder_of('clip')}"
    assert card.image_size == SIZE
    assert (card.base_image_space, card.base_text_space) == base
    assert card.image_space == base[0], "pictures' vectors are the base's"
    assert card.text_space == encoder.text_space != base[1]
    names = set(load_file(tmp_path / "adapter_model.safetensors"))
    assert "base_model.model.logit_scale" in names
    assert "base_model.model.transformer.resblocks.0.attn.q_proj.lora_A.weight" in names
    assert not any("visual" in name for name in names)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA"
    assert config["base_model_name_or_path"] == "local-dir:../models0/clip"  # from the adapter, wherever it goes


def test_another_size_is_remembered(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    encoder = load(str(folder_of("eva_separate")), image_size=2 * SIZE)
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, Lora(rank=2))
    move(encoder)
    save_adapter(encoder, tmp_path / "adapter")
    back = reloaded(tmp_path)
    pixels = torch.randn(2, 3, 2 * SIZE, 2 * SIZE)
    assert torch.equal(back.encode_images(pixels), encoder.encode_images(pixels))
    with pytest.raises(ModelError, match="was trained at 64 pixels"):
        load(f"run:{tmp_path}", image_size=SIZE)


@pytest.fixture
def saved(encoder_of: Callable[[str], TorchEncoder], tmp_path: Path) -> Path:
    encoder = encoder_of("clip")
    add_adapters(encoder, Lora(rank=2))
    move(encoder)
    return save_adapter(encoder, tmp_path / "run" / "adapter")


def test_another_base_is_refused(saved: Path, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    for layout in ("eva_separate", "hf_clip", "timm_vit"):
        other = encoder_of(layout)
        with pytest.raises(AdapterError, match=r"was trained on local-dir:.*clip, and .* is not that model"):
            load_adapter(other, saved)
    same = encoder_of("clip")
    load_adapter(same, saved)
    with pytest.raises(AdapterError, match="already carries adapters"):
        load_adapter(same, saved)


def test_an_adapter_made_elsewhere_has_to_fit(
    saved: Path, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    """Without clipadapt.json, names and shapes decide."""
    expected = encoder_of("clip")
    load_adapter(expected, saved)
    (saved / "clipadapt.json").unlink()
    encoder = encoder_of("clip")
    load_adapter(encoder, saved)
    assert torch.equal(vectors(encoder, pixels), vectors(expected, pixels))
    other = encoder_of("eva_separate")
    before = vectors(other, pixels)
    with pytest.raises(AdapterError, match=r"does not fit this base: 32 of 32 tensors have no place"):
        load_adapter(other, saved)
    torch.testing.assert_close(vectors(other, pixels), before, atol=1e-6, rtol=0)
    with pytest.raises(ModelError, match=r"no clipadapt\.json, so its base is not known"):
        load(f"run:{saved.parent}")


def test_half_an_adapter_is_none(saved: Path, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    weights = saved / "adapter_model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "lora_B" in name)
    base = vectors(encoder_of("clip"), pixels)
    for broken in (
        {key: value for key, value in tensors.items() if key != name},
        tensors | {name: tensors[name][:, :1].contiguous()},
        tensors | {name.replace("resblocks.0", "resblocks.7"): tensors[name].clone()},
    ):
        save_file(broken, weights)
        encoder = encoder_of("clip")
        with pytest.raises(AdapterError, match="does not fit this base"):
            load_adapter(encoder, saved)
        torch.testing.assert_close(vectors(encoder, pixels), base, atol=1e-6, rtol=0)
        assert encoder.adapters is None
    weights.write_bytes(b"not safetensors")
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapter(encoder_of("clip"), saved)
    weights.unlink()
    with pytest.raises(ModelError, match="no adapter in"):
        load(f"run:{saved.parent}")
    (saved / "clipadapt.json").write_text('{"adapter": {"kind": 1}}')
    with pytest.raises(AdapterError, match="does not describe an adapter"):
        read_adapter_card(saved)


def test_a_base_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "base", OPEN_CLIP["clip"])
    encoder = load(str(folder))
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, Lora(rank=2))
    save_adapter(encoder, tmp_path / "run" / "adapter")
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"its base cannot be loaded: local-dir:.*no such folder"):
        load(str(tmp_path / "run"))


def test_nothing_adapted_is_nothing_to_save(encoder_of: Callable[[str], TorchEncoder], tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="nothing was adapted"):
        save_adapter(encoder_of("clip"), tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
