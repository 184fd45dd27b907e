"""Exports are loaded by the stock libraries, strictly, and give the adapted model's vectors."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from clipadapt import config
from clipadapt.errors import ParityError, UsageError
from clipadapt.export import export
from clipadapt.export.parity import BOUND, compare, probe
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters
from clipadapt.towers.small import create_small


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_small(tmp_path_factory.mktemp("base") / "small", seed=1)


def adapted(base: Path) -> TorchEncoder:
    encoder = load(f"local-dir:{base}")
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, config.Lora(dropout=0.0), seed=0)
    draws = torch.Generator().manual_seed(5)
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1, generator=draws)
    return encoder


def test_stock_open_clip_gives_the_adapted_vectors(base: Path, tmp_path: Path) -> None:
    encoder = adapted(base)
    pixels = torch.rand(3, 3, encoder.preprocess.size, encoder.preprocess.size)
    texts = ["a pleated midi skirt", "a shirt", ""]
    expected_image = encoder.encode_images(pixels)
    expected_text = encoder.encode_texts(texts)
    plain = load(f"local-dir:{base}")
    assert (plain.encode_images(pixels) - expected_image).abs().max() > 100 * BOUND, "adapters must do something"
    spaces = encoder.image_space, encoder.text_space

    done = export(encoder, "open_clip", tmp_path / "out")

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{done.path}")
    stock: Any = model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{done.path}")(texts)
    with torch.no_grad():
        assert (F.normalize(stock.encode_image(pixels), dim=-1) - expected_image).abs().max() <= BOUND
        assert (F.normalize(stock.encode_text(tokens), dim=-1) - expected_text).abs().max() <= BOUND
    assert (
        load_file(done.path / "open_clip_model.safetensors").keys()
        == load_file(base / "open_clip_model.safetensors").keys()
    )
    again = load(str(done.path))
    assert (again.image_space, again.text_space) == spaces == (done.image_space, done.text_space)
    card = json.loads((done.path / "clipadapt.json").read_text())
    assert card["base"] == f"local-dir:{base}"
    assert card["strength"] == {"image": 1.0, "text": 1.0}


def test_strength_zero_is_the_base_bit_for_bit(base: Path, tmp_path: Path) -> None:
    done = export(adapted(base), "open_clip", tmp_path / "out", strength={"image": 0.0, "text": 0.0})
    written, original = (load_file(p / "open_clip_model.safetensors") for p in (done.path, base))
    assert all(torch.equal(written[name], original[name]) for name in original)
    assert load(str(done.path)).image_space == load(str(base)).image_space


def test_a_text_only_strength_keeps_the_image_space(base: Path, tmp_path: Path) -> None:
    done = export(adapted(base), "open_clip", tmp_path / "out", strength={"image": 0.0})
    assert done.image_space == load(str(base)).image_space
    assert done.text_space != load(str(base)).text_space


def test_a_folder_that_is_not_empty_is_left_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        export(f"local-dir:{base}", "open_clip", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_other_library_has_no_architecture_for_an_eva(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="export it to open_clip"):
        export(f"local-dir:{base}", "transformers", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_differs_is_refused(base: Path) -> None:
    encoder = adapted(base)
    measured = probe(encoder)
    other = load(f"local-dir:{base}")
    assert isinstance(other, TorchEncoder)
    with pytest.raises(ParityError, match="image vectors differ"):
        compare(measured, other.image_features, other.text_features, what="another model")
    agreement = compare(measured, encoder.image_features, encoder.text_features, what="itself")
    assert agreement.image <= BOUND
    assert agreement.text is not None
    assert agreement.text <= BOUND


def test_a_folder_that_fails_the_proof_does_not_appear(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipadapt.export.checkpoint.save_file", _save_changed)
    with pytest.raises(ParityError, match="nothing was written"):
        export(adapted(base), "open_clip", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _save_changed(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    name = "visual.trunk.patch_embed.proj.weight"
    changed = state | {name: state[name] * 1.1}
    save_file(changed, path, metadata)
