"""Texts of SigLIP 2, whose Gemma tokenizer leaves lower-casing to the caller."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import write_transformers
from transformers import GemmaTokenizer

from clipadapt.export.tokens import TextInput
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load

PIECES = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"▁{word}" for word in ("a", "red", "shirt", "A", "Red", "Shirt"))]


@pytest.fixture(scope="module")
def siglip2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SigLIP folder with a Gemma tokenizer that knows words in both cases."""
    folder = write_transformers(tmp_path_factory.mktemp("siglip2") / "model", "hf_siglip")
    (folder / "tokenizer.json").unlink()
    letters = [letter for letter in "▁aredshitARSλόγοςΛΌΓΣ" if letter not in PIECES]
    vocabulary = {piece: row for row, piece in enumerate(dict.fromkeys([*PIECES, *letters]))}
    GemmaTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return folder


def encoder_at(folder: Path) -> TorchEncoder:
    encoder = load(f"transformers:{folder}")
    assert isinstance(encoder, TorchEncoder)
    return encoder


def test_upper_and_lower_case_are_one_text_for_siglip2(siglip2: Path):
    encoder = encoder_at(siglip2)
    one, other = encoder.encode_texts(["A Red Shirt", "a red shirt"])
    assert torch.equal(one, other)


def test_the_exported_tokenizer_lower_cases_too(siglip2: Path, tmp_path: Path):
    backend = encoder_at(siglip2).backend
    file = TextInput.of(backend)
    file.save(tmp_path)
    again = TextInput.read(tmp_path, file.settings())
    texts = ["A Red Shirt", "a red shirt"]
    assert np.array_equal(again.padded(texts), backend.tokens(texts).numpy())
    assert np.array_equal(*again.padded(texts))


def test_a_siglip_of_the_first_kind_keeps_its_own_tokenizers_rule(tmp_path: Path):
    assert not encoder_at(write_transformers(tmp_path / "model", "hf_siglip")).backend.lowercases  # type: ignore[attr-defined]
