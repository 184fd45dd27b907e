"""The encoder equals the stock libraries, in every architecture, trimmed, in half precision, and leaves no trace."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tiny_models import DIM, LAYOUTS, OPEN_CLIP, TEXTS, TWO_TOWERS
from torch import Tensor

from clipadapt.errors import AdapterError, ModelError
from clipadapt.towers.encoder import Encoder, Features, TorchEncoder, evaluating
from clipadapt.towers.packed import split_attention


@pytest.mark.parametrize("layout", OPEN_CLIP)
def test_equal_to_stock_open_clip(
    layout: str,
    folder_of: Callable[[str], Path],
    encoder_of: Callable[[str], TorchEncoder],
    pictures: list[Image.Image],
) -> None:
    import open_clip

    encoder = encoder_of(layout)
    name = f"local-dir:{folder_of(layout)}"
    created: Any = open_clip.create_model_and_transforms(name)
    stock, preprocess = created[0].eval(), created[2]
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    with torch.no_grad():
        image = stock.encode_image(torch.stack([preprocess(picture) for picture in pictures]), normalize=True)
        text = stock.encode_text(tokens, normalize=True)
    torch.testing.assert_close(encoder.encode_images(pictures), image, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), text, atol=1e-6, rtol=0)
    assert encoder.scale == pytest.approx(float(stock.logit_scale.detach().exp()))
    assert encoder.dim == image.shape[1]
    assert encoder.context_length == tokens.shape[1]


@pytest.mark.parametrize("layout", ["hf_clip", "hf_siglip"])
def test_equal_to_stock_transformers(
    layout: str,
    folder_of: Callable[[str], Path],
    encoder_of: Callable[[str], TorchEncoder],
    pictures: list[Image.Image],
) -> None:
    from transformers import AutoModel, AutoTokenizer

    encoder = encoder_of(layout)
    model: Any = AutoModel.from_pretrained(folder_of(layout)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder_of(layout))
    ids = tokenizer(TEXTS, padding="max_length", max_length=12, return_tensors="pt").input_ids
    pixels = torch.stack([encoder.preprocess(picture) for picture in pictures])
    with torch.no_grad():
        image = F.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        text = F.normalize(model.get_text_features(input_ids=ids).pooler_output, dim=-1)
    torch.testing.assert_close(encoder.encode_images(pixels), image, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), text, atol=1e-6, rtol=0)


def test_a_timm_model_is_an_image_tower_alone(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("timm_vit")
    with torch.no_grad():
        expected = encoder.model(pixels)
    assert torch.equal(encoder.image_features(pixels), expected)
    assert encoder.context_length is None
    assert encoder.text is None
    assert encoder.text_space is None
    assert encoder.scale == 1.0
    for call in (lambda: encoder.encode_texts(["a"]), lambda: encoder.tokenize(["a"]), lambda: encoder.logit_scale):
        with pytest.raises(ModelError, match="image tower alone"):
            call()


CAUSAL = ("clip", "raw_in_proj", "attentional_pool", "eva_separate", "vit_fused", "hf_clip")


@pytest.mark.parametrize("layout", CAUSAL)
@pytest.mark.parametrize("split", [False, True])
def test_trimming_is_exact(layout: str, split: bool, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of(layout)
    if split:
        split_attention(encoder.model)
    full = encoder.backend.tokens(TEXTS)
    short = encoder.tokenize(TEXTS)
    assert short.shape[1] < full.shape[1] or layout == "hf_clip"
    assert encoder.tokenize(["skirt"]).shape[1] == (2 if layout == "hf_clip" else 3)
    with torch.no_grad():
        torch.testing.assert_close(encoder.text_features(short), encoder.text_features(full), atol=1e-5, rtol=0)
        units = [F.normalize(encoder.text_features(tokens), dim=-1) for tokens in (short, full)]
        torch.testing.assert_close(*units, atol=1e-6, rtol=0)
        alone = F.normalize(encoder.text_features(encoder.tokenize(["skirt"])), dim=-1)
        torch.testing.assert_close(alone[0], units[1][2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("layout", ["siglip", "hf_siglip"])
def test_towers_that_see_their_padding_keep_it(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of(layout)
    assert encoder.tokenize(["skirt"]).shape[1] == encoder.context_length == 12
    apart = torch.cat([encoder.encode_texts([text]) for text in TEXTS])
    torch.testing.assert_close(encoder.encode_texts(TEXTS), apart, atol=1e-6, rtol=0)


def test_lengths_round_up_but_never_past_the_context(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    assert encoder.tokenize(["skirt"], multiple=8).shape == (1, 8)
    assert encoder.tokenize(["skirt " * 40], multiple=8).shape == (1, 20)
    assert encoder.tokenize([]).shape[0] == 0
    assert encoder.encode_texts([]).shape == (0, DIM)
    assert encoder.encode_images([]).shape == (0, DIM)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_half_precision_is_close_and_returns_float32(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of(layout)
    exact = encoder.encode_images(pixels), encoder.encode_texts(TEXTS) if layout in TWO_TOWERS else torch.ones(1, 1)
    encoder.precision = "bf16"
    for cast in (False, True):
        if cast:
            encoder.cast_frozen(torch.bfloat16)
        image = encoder.encode_images(pixels)
        text = encoder.encode_texts(TEXTS) if layout in TWO_TOWERS else torch.ones(1, 1)
        assert image.dtype == text.dtype == torch.float32
        assert (image * exact[0]).sum(-1).min() > 0.99
        assert (text * exact[1]).sum(-1).min() > 0.99
    if layout in TWO_TOWERS:
        assert encoder.logit_scale.dtype == torch.float32


def test_float64_stays_float64(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_separate").double()
    image, text = encoder(pixels, encoder.tokenize(TEXTS))
    assert image.dtype == text.dtype == torch.float64


def test_forward_gives_what_was_asked_for(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("clip")
    features = encoder(pixels)
    assert isinstance(features, Features)
    assert features.text is None
    assert features.image is not None
    assert torch.equal(features.image, encoder.image_features(pixels))
    assert encoder(tokens=encoder.tokenize(TEXTS)).image is None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_towers_are_views_that_export_and_share_parameters(
    layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of(layout)
    own = {id(parameter) for parameter in encoder.model.parameters()}
    views = [view for view in (encoder.image, encoder.text) if view is not None]
    seen = [id(parameter) for view in views for parameter in view.parameters()]
    assert len(seen) == len(set(seen))
    outside = {"logit_scale", "logit_bias"} & {name for name, _ in encoder.model.named_parameters()}
    assert len(seen) == len(own) - len(outside)
    inputs = [pixels, encoder.tokenize(TEXTS)] if layout in TWO_TOWERS else [pixels]
    direct = encoder(*inputs)
    for view, one, expected in zip(views, inputs, direct, strict=False):
        assert torch.equal(view(one), expected)


def test_encoding_restores_every_mode_and_needs_no_gradient(
    encoder_of: Callable[[str], TorchEncoder], pixels: Tensor
) -> None:
    encoder = encoder_of("clip")
    model: Any = encoder.model
    model.visual.train()
    modes = [part.training for part in encoder.modules()]
    with evaluating(encoder):
        assert not any(part.training for part in encoder.modules())
    assert not encoder.encode_images(pixels).requires_grad
    assert [part.training for part in encoder.modules()] == modes


@pytest.mark.parametrize("layout", ["clip", "eva_fused", "hf_clip", "timm_vit"])
def test_checkpointing_changes_nothing(layout: str, encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of(layout).train()
    encoder.requires_grad_(True)
    gradients = []
    for enable in (False, True):
        encoder.checkpointing(enable)
        encoder.zero_grad()
        tokens = encoder.tokenize(TEXTS) if layout in TWO_TOWERS else None
        image, text = encoder(pixels, tokens)
        (image.square().sum() + (0 if text is None else text.square().sum())).backward()
        named = encoder.named_parameters()
        gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_compiled_towers_take_any_text_length(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("eva_separate")
    expected = encoder.encode_texts(TEXTS)
    for stack in encoder.backend.stacks().values():
        stack.compile(backend="eager", dynamic=True)
    for texts in (TEXTS[:1], TEXTS[1:2], TEXTS[2:3]):
        encoder.encode_texts(texts)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), expected)
    assert list(encoder.model.state_dict()) == list(copy.deepcopy(encoder_of("eva_separate")).model.state_dict())


def test_it_is_an_encoder(encoder_of: Callable[[str], TorchEncoder]) -> None:
    assert isinstance(encoder_of("clip"), Encoder)


def test_a_split_model_has_no_written_lineage(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    assert encoder.written_lineage() == encoder.lineage
    split_attention(encoder.model)
    with pytest.raises(AdapterError, match="fuse the attention"):
        encoder.written_lineage()
