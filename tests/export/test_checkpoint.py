"""Exports are loaded by the stock libraries, strictly, and give the adapted model's vectors."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_models import SIZE, write_transformers
from torch.nn import functional as F

from clipadapt import config
from clipadapt.errors import ModelError, ParityError, StoreError, UsageError
from clipadapt.export import export
from clipadapt.export.parity import BOUND, compare, probe
from clipadapt.towers.adapter import save_adapter
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
    shake_adapters(encoder)
    return encoder


def shake_adapters(encoder: TorchEncoder) -> None:
    draws = torch.Generator().manual_seed(5)
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1, generator=draws)


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
    assert isinstance(again, TorchEncoder)
    assert (again.image_space, again.text_space) == spaces == (done.image_space, done.text_space)
    card = json.loads((done.path / "clipadapt.json").read_text())
    assert card["base"].startswith("local-dir:../") and again.lineage.base == f"local-dir:{base}"
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


def test_sentence_transformers_gives_the_adapted_vectors(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    encoder = load(str(write_transformers(tmp_path / "model", "hf_clip")))
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, config.Lora(dropout=0.0), seed=0)
    shake_adapters(encoder)
    texts = ["a red shirt", "skirt", ""]
    pixels = np.random.default_rng(0).integers(0, 255, (2, SIZE, SIZE, 3), np.uint8)
    pictures = [Image.fromarray(one) for one in pixels]  # of the model's own size, for resizing is each library's own
    expected = encoder.encode_images(pictures).numpy(), encoder.encode_texts(texts).numpy()
    done = export(encoder, "sentence-transformers", tmp_path / "out")
    stock = library.SentenceTransformer(str(done.path), device="cpu")
    found = [stock.encode(some, normalize_embeddings=True, show_progress_bar=False) for some in (pictures, texts)]
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= BOUND
    assert stock.similarity_fn_name == "cosine"
    again = load(f"transformers:{done.path / '0_CLIPModel'}")
    assert (again.image_space, again.text_space) == (done.image_space, done.text_space)
    assert "SentenceTransformer" in (done.path / "README.md").read_text()


def test_sentence_transformers_takes_clip_models_alone(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    siglip = write_transformers(tmp_path / "model", "hf_siglip")
    with pytest.raises(UsageError, match=r"no architecture .*\(SiglipModel\); export it to transformers"):
        export(str(siglip), "sentence-transformers", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_library_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install clipadapt\[sentence-transformers\]"):
        export("local-dir:nowhere", "sentence-transformers", tmp_path / "out")


@pytest.mark.parametrize("to", ["open_clip", "onnx", "triton"])
def test_too_little_disk_is_known_before_work(
    to: Any, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**40, 2**40, 2**24))  # type: ignore[attr-defined]
    monkeypatch.setattr("clipadapt.export.preparation.merged", lambda *_: pytest.fail("work was started"))
    with pytest.raises(StoreError, match=r"needs about [\d,]+ MiB and 16 MiB are free; nothing was written"):
        export(f"local-dir:{base}", to, tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("clipadapt.export.checkpoint.save_file", full)
    with pytest.raises(StoreError, match="no space left to write it"):
        export(f"local-dir:{base}", "open_clip", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_base_that_is_not_at_hand_is_named(base: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(base, tmp_path / "base")
    run = tmp_path / "run"
    encoder = load(f"local-dir:{moved}")
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, config.Lora(dropout=0.0), seed=0)
    save_adapter(encoder, run / "adapter")
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=rf"run:{run}: its base cannot be loaded: .*{moved}"):
        export(f"run:{run}", "open_clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merged = adapted(base)
    merged.source = f"local-dir:{moved}"
    with pytest.raises(ModelError, match="needs the configuration of the base"):
        export(merged, "open_clip", tmp_path / "out")
    assert not (tmp_path / "out").exists()
