"""Rows of the token embedding: what they move, that they are kept and merged, and which tokens they are of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from peft import PeftModel
from peft.tuners.trainable_tokens import TrainableTokensLayer
from safetensors.torch import load_file
from tiny_models import TWO_TOWERS
from torch import Tensor

from clipadapt.config import Lora
from clipadapt.errors import AdapterError, ConfigError
from clipadapt.towers.adapter import load_adapter, save_adapter
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.lora import add_adapters, check_gradients
from clipadapt.towers.merge import merge
from clipadapt.towers.packed import split_attention
from clipadapt.towers.tokens import TokenRows, distinctive_tokens, embedding_path
from clipadapt.training.optim import decays, trainable

NAMED, OTHER = "a long blue dress", "a red shirt"


def with_rows(encoder: TorchEncoder, *, move: bool = True) -> list[int]:
    """Adapters that are still the base, and rows for the tokens that NAMED has and OTHER has not, moved."""
    ids = sorted(set(encoder.tokenize([NAMED]).flatten().tolist()) - set(encoder.tokenize([OTHER]).flatten().tolist()))
    add_adapters(encoder, Lora(rank=2), tokens=ids)
    if move:
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            rows = rows_of(encoder)
            rows.add_(torch.randn(rows.shape, generator=generator).to(rows))
    return ids


def rows_of(encoder: TorchEncoder) -> torch.nn.Parameter:
    (rows,) = [one for name, one in encoder.model.named_parameters() if "trainable_tokens" in name]
    return rows


def embedding_of(encoder: TorchEncoder) -> torch.nn.Embedding:
    module = encoder.model.get_submodule(embedding_path(encoder))
    assert isinstance(module, torch.nn.Embedding)
    return module


@pytest.mark.parametrize("layout", TWO_TOWERS)
def test_texts_that_name_nothing_taught_stay_as_they_were_bit_for_bit(
    layout: str, encoder_of: Callable[[str], TorchEncoder]
) -> None:
    encoder = encoder_of(layout)
    split_attention(encoder.model)
    before = [encoder.encode_texts([text]) for text in (NAMED, OTHER)]
    ids = with_rows(encoder)
    after = [encoder.encode_texts([text]) for text in (NAMED, OTHER)]
    assert ids
    assert torch.equal(after[1], before[1])
    assert (after[0] - before[0]).abs().max() > 1e-2
    assert len(rows_of(encoder)) == len(ids)
    assert not encoder.model.get_submodule(f"{embedding_path(encoder)}.token_adapter.base_layer").weight.requires_grad


@pytest.mark.parametrize("layout", ["clip", "hf_clip"])
def test_rows_and_gradients_are_those_of_peft(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    """peft goes by a copy of the whole embedding, this by the rows alone."""
    encoder = encoder_of(layout)
    with_rows(encoder)
    tokens = encoder.tokenize([NAMED, OTHER, f"{NAMED} {NAMED}"])
    layer = encoder.model.get_submodule(f"{embedding_path(encoder)}.token_adapter")
    assert type(layer) is TokenRows
    found, gradients = [], []
    for kind in (TokenRows, TrainableTokensLayer):
        layer.__class__ = kind  # pyright: ignore[reportAttributeAccessIssue]
        features = F.normalize(encoder.text_features(tokens), dim=-1)
        (gradient,) = torch.autograd.grad(
            (features * torch.arange(features.numel()).view_as(features)).sum(), rows_of(encoder)
        )
        found.append(features.detach())
        gradients.append(gradient)
    assert torch.equal(found[0], found[1])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].any(1).all(), "a row that a text uses learned nothing"


@pytest.mark.parametrize("layout", ["clip", "eva_separate", "siglip", "hf_clip", "hf_siglip"])
@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")  # peft asks transformers the old way
def test_rows_are_kept_and_stock_peft_loads_them(
    layout: str, encoder_of: Callable[[str], TorchEncoder], tmp_path: Path
) -> None:
    encoder = encoder_of(layout)
    ids = with_rows(encoder)
    adapted = encoder.encode_texts([NAMED, OTHER])
    save_adapter(encoder, tmp_path)
    (name,) = [name for name in load_file(tmp_path / "adapter_model.safetensors") if "trainable_tokens" in name]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["trainable_token_indices"] == {
        embedding_path(encoder_of(layout)): ids
    }
    assert name == f"base_model.model.{embedding_path(encoder_of(layout))}.token_adapter.trainable_tokens_delta"
    back = encoder_of(layout)
    load_adapter(back, tmp_path)
    assert torch.equal(back.encode_texts([NAMED, OTHER]), adapted)
    assert (back.image_space, back.text_space) == (encoder.image_space, encoder.text_space)
    assert not any(parameter.requires_grad for parameter in back.parameters())
    stock = encoder_of(layout)
    split_attention(stock.model)
    PeftModel.from_pretrained(stock.model, str(tmp_path))  # pyright: ignore[reportArgumentType]
    assert torch.equal(stock.encode_texts([NAMED, OTHER]), adapted)


@pytest.mark.parametrize("layout", ["eva_separate", "hf_clip"])
def test_rows_are_merged(layout: str, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of(layout)
    embedding = embedding_of(encoder)
    base = embedding.weight.detach().clone()
    ids = with_rows(encoder)
    rows, adapted = rows_of(encoder).detach().clone(), encoder.encode_texts([NAMED, OTHER])
    space = encoder.text_space
    merge(encoder)
    assert embedding_of(encoder) is embedding
    assert torch.equal(embedding.weight[ids], rows)
    others = [token for token in range(len(base)) if token not in set(ids)]
    assert torch.equal(embedding.weight[others], base[others])
    torch.testing.assert_close(encoder.encode_texts([NAMED, OTHER]), adapted, atol=1e-6, rtol=0)
    assert encoder.text_space == space


@pytest.mark.parametrize("strength", [0.0, 0.25])
def test_a_strength_goes_for_rows_too(strength: float, encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    embedding = embedding_of(encoder)
    base = embedding.weight.detach().clone()
    ids = with_rows(encoder)
    rows = rows_of(encoder).detach().clone()
    merge(encoder, {"text": strength})
    wanted = base.clone()
    wanted[ids] = base[ids] + strength * (rows - base[ids])
    if strength == 0.0:
        assert torch.equal(embedding.weight, base)
    torch.testing.assert_close(embedding.weight.detach(), wanted)


def test_a_space_says_which_tokens_rows_are_of(encoder_of: Callable[[str], TorchEncoder]) -> None:
    spaces = set()
    for ids in ([5, 9], [5, 10]):
        encoder = encoder_of("clip")
        add_adapters(encoder, Lora(rank=2), tokens=ids)
        rows_of(encoder).data.fill_(1.0)
        spaces.add(encoder.text_space)
    assert len(spaces) == 2


def test_rows_are_counted_checked_and_do_not_decay(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    plain = add_adapters(encoder_of("clip"), Lora(rank=2))
    report = add_adapters(encoder, Lora(rank=2), tokens=[5, 9, 11])
    width = rows_of(encoder).shape[1]
    assert report.towers["text"].tokens == 3
    assert report.towers["text"].trainable == plain.towers["text"].trainable + 3 * width
    assert report.towers["text"].total == plain.towers["text"].total
    assert report.towers["image"] == plain.towers["image"]
    assert str(report).endswith("adapters, 3 tokens")
    (name,) = [name for name in trainable(encoder.model) if "trainable_tokens" in name]
    assert not decays(name, rows_of(encoder)), "decay would pull a word towards no meaning at all"
    for other, parameter in trainable(encoder.model).items():
        parameter.grad = None if other == name else torch.ones_like(parameter)
    with pytest.raises(AdapterError, match="trainable_tokens"):
        check_gradients(encoder)


def test_half_precision_bases_get_rows_in_float32(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    encoder.model.to(torch.bfloat16)
    with_rows(encoder)
    assert rows_of(encoder).dtype == torch.float32
    assert encoder.encode_texts([NAMED]).isfinite().all()


def pieces(encoder: TorchEncoder, word: str) -> list[int]:
    frame = set(encoder.tokenize(["a", ""]).flatten().tolist())
    return [token for token in encoder.tokenize([f"a {word}"])[0].tolist() if token not in frame]


def test_one_piece_of_a_word_that_no_kept_word_has(encoder_of: Callable[[str], TorchEncoder]) -> None:
    encoder = encoder_of("clip")
    (striped,), (letter, ingham) = pieces(encoder, "striped"), pieces(encoder, "gingham")
    assert distinctive_tokens(encoder, ["striped", "gingham"], []) == sorted([striped, ingham])
    assert distinctive_tokens(encoder, ["striped", "gingham"], ["striped"]) == [ingham]
    assert ingham in pieces(encoder, "burlingham")
    assert distinctive_tokens(encoder, ["gingham"], ["burlingham"]) == [], "the other piece is the letter g"
    assert distinctive_tokens(encoder, ["g"], []) == [] and letter
    assert distinctive_tokens(encoder, [], ["shirt"]) == []


@pytest.mark.parametrize("layout", ["siglip", "hf_clip", "hf_siglip"])
def test_words_that_a_vocabulary_does_not_have_have_no_token(
    layout: str, encoder_of: Callable[[str], TorchEncoder]
) -> None:
    encoder = encoder_of(layout)
    (blue,) = pieces(encoder, "blue")
    assert distinctive_tokens(encoder, ["blue", "gingham"], []) == [blue]


def test_a_tokenizer_that_lists_no_tokens_is_refused(
    encoder_of: Callable[[str], TorchEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of("clip")
    monkeypatch.setattr(encoder.backend, "vocabulary", lambda: None)
    with pytest.raises(AdapterError, match=r"lora\.tokens: the tokenizer of .* has no list of its tokens"):
        distinctive_tokens(encoder, ["striped"], [])


def test_a_cut_of_a_word_inside_of_a_text_is_what_counts(
    encoder_of: Callable[[str], TorchEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2's way: after a space a word has another token than at the start, where it may be cut in letters."""
    encoder = encoder_of("clip")
    vocabulary = {"a": 1, "b": 2, "e": 3, "ige": 4, "\u0120beige": 5, "\u0120a": 6, "\u0120shirt": 7}

    def tokenize(texts: list[str], multiple: int = 1) -> Tensor:
        cut = [
            [vocabulary.get(f"\u0120{word}", 9) if place else 1 for place, word in enumerate(text.split(" "))]
            for text in texts
        ]
        return torch.tensor([row + [0] * (8 - len(row)) for row in cut])

    monkeypatch.setattr(encoder, "tokenize", tokenize)
    monkeypatch.setattr(encoder.backend, "vocabulary", lambda: vocabulary)
    assert distinctive_tokens(encoder, ["beige"], ["shirt"]) == [5]
    assert distinctive_tokens(encoder, ["beige"], ["beige"]) == []


def test_tokens_that_the_model_does_not_have_are_refused(
    encoder_of: Callable[[str], TorchEncoder], tmp_path: Path
) -> None:
    encoder = encoder_of("clip")
    with_rows(encoder)
    save_adapter(encoder, tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    for indices, fault in [
        ({"token_embedding": [5, 50_000]}, "has token 50000, and token_embedding of this model has 49408 tokens"),
        ({"embedding": [5]}, "this model has no embedding; load the base"),
        ([5, 9], "a list does not say of which embedding"),
    ]:
        file.write_text(json.dumps(config | {"trainable_token_indices": indices}))
        with pytest.raises(AdapterError, match=fault):
            load_adapter(encoder_of("clip"), tmp_path)


def test_an_image_tower_alone_has_no_tokens(encoder_of: Callable[[str], TorchEncoder], pixels: Tensor) -> None:
    encoder = encoder_of("timm_vit")
    before = encoder.encode_images(pixels)
    with pytest.raises(ConfigError, match=r"lora\.tokens: the text tower's, and image alone is trained"):
        add_adapters(encoder, Lora(rank=2), tokens=[3])
    with pytest.raises(AdapterError, match="has no text tower with a token embedding"):
        embedding_path(encoder)
    torch.testing.assert_close(encoder.encode_images(pixels), before, atol=1e-6, rtol=0)
