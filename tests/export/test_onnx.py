"""ONNX files give torch's vectors at any batch and text length, with its token ids and its spaces."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_models import OPEN_CLIP, SIZE, TRANSFORMERS, write_open_clip, write_timm, write_transformers
from tokenizers import Tokenizer
from torch import Tensor, nn

import clipadapt
from clipadapt import config
from clipadapt.errors import ExportError, ModelError, ParityError, UsageError
from clipadapt.export import export
from clipadapt.export.onnx_encoder import OnnxEncoder
from clipadapt.export.parity import BOUND
from clipadapt.towers.encoder import Encoder, TorchEncoder
from clipadapt.towers.load import load
from clipadapt.towers.lora import add_adapters

pytest.importorskip("onnxruntime")
TEXTS = ["a red shirt", "a long blue dress with short sleeves and a round neck", "", "T-shirt &amp; 短袖 👗"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[TorchEncoder, Path]]:
    """Layout -> its torch encoder with what training would leave merged in, and its ONNX folder."""
    made: dict[str, tuple[TorchEncoder, Path]] = {}

    def write(layout: str) -> tuple[TorchEncoder, Path]:
        if layout not in made:
            root = tmp_path_factory.mktemp(layout)
            encoder = _encoder(layout, root / "model")
            export(encoder, "onnx", root / "onnx")
            made[layout] = encoder, root / "onnx"
        return made[layout]

    return write


def _encoder(layout: str, folder: Path) -> TorchEncoder:
    if layout in OPEN_CLIP:
        write_open_clip(folder, OPEN_CLIP[layout])
    elif layout in TRANSFORMERS:
        write_transformers(folder, layout)
    else:
        write_timm(folder, layout)
    encoder = load(str(folder))
    assert isinstance(encoder, TorchEncoder)
    return encoder


def adapted(folder: Path) -> TorchEncoder:
    encoder = load(str(folder))
    assert isinstance(encoder, TorchEncoder)
    add_adapters(encoder, config.Lora(dropout=0.0), seed=0)
    draws = torch.Generator().manual_seed(5)
    for name, parameter in encoder.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(0, 0.1, generator=draws)
    return encoder


@pytest.mark.parametrize("layout", ["clip", "eva_separate", "eva_fused", "siglip", "hf_clip"])
def test_every_batch_and_length_gives_torchs_vectors(
    layout: str, written: Callable[[str], tuple[TorchEncoder, Path]]
) -> None:
    encoder, folder = written(layout)
    found = clipadapt.load(f"onnx:{folder}")
    assert isinstance(found, Encoder)
    for count in (1, 2, 5, 17):
        pixels = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(count))
        assert (found.encode_images(pixels) - encoder.encode_images(pixels)).abs().max() <= BOUND
    for texts in (TEXTS, TEXTS[:1], TEXTS[2:3], TEXTS * 20):
        assert (found.encode_texts(texts) - encoder.encode_texts(texts)).abs().max() <= BOUND
    pictures = [Image.new("RGB", (40, 36), colour) for colour in ("red", "blue", "olive")]
    assert (found.encode_images(pictures) - encoder.encode_images(pictures)).abs().max() <= BOUND
    assert found.encode_images([]).shape == (0, encoder.dim) == found.encode_texts([]).shape
    assert (found.image_space, found.text_space) == (encoder.image_space, encoder.text_space)
    assert (found.dim, found.context_length, found.preprocess) == (
        encoder.dim,
        encoder.context_length,
        encoder.preprocess,
    )
    assert found.scale == pytest.approx(encoder.scale)


def test_files_are_valid_free_of_traces_and_as_described(written: Callable[[str], tuple[TorchEncoder, Path]]) -> None:
    _, folder = written("eva_separate")
    names = {"image.onnx", "text.onnx", "tokenizer.json", "preprocess.json", "clipadapt.json", "README.md"}
    assert {path.name for path in folder.iterdir()} == names
    for name in ("image.onnx", "text.onnx"):
        model = onnx.load(folder / name)
        onnx.checker.check_model(model, full_check=True)
        assert not model.graph.value_info
        assert b".py" not in model.SerializeToString(), "no paths of the machine that wrote it"
    card = json.loads((folder / "clipadapt.json").read_text())
    assert card["agreement"]["image"] <= BOUND
    assert {"image_space", "text_space", "base", "strength", "clipadapt", "files", "scale"} <= set(card)


def test_a_causal_text_is_charged_its_true_length(written: Callable[[str], tuple[TorchEncoder, Path]]) -> None:
    encoder, folder = written("clip")
    found = OnnxEncoder(folder)
    assert found.text_input is not None
    assert found.text_input.tokens(["a red shirt"]).shape == (1, 5)
    assert found.text_input.tokens(["a red shirt"]).shape == encoder.tokenize(["a red shirt"]).shape
    whole = found.run_texts(found.text_input.padded(["a red shirt"]))
    assert np.abs(whole - found.run_texts(found.text_input.tokens(["a red shirt"]))).max() <= 1e-6


def test_an_image_tower_alone(written: Callable[[str], tuple[TorchEncoder, Path]]) -> None:
    encoder, folder = written("tiny_vit")
    found = load(f"onnx:{folder}")
    pixels = torch.randn(3, 3, SIZE, SIZE)
    assert (found.encode_images(pixels) - encoder.encode_images(pixels)).abs().max() <= BOUND
    assert found.text_space is None
    assert not (folder / "text.onnx").exists()
    with pytest.raises(ModelError, match="image tower alone"):
        found.encode_texts(["a"])


def test_adapters_are_merged_and_the_space_is_the_adaptations(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "base", OPEN_CLIP["eva_separate"])
    encoder, plain = adapted(folder), load(str(folder))
    pixels = torch.randn(3, 3, SIZE, SIZE)
    expected, spaces = encoder.encode_images(pixels), (encoder.image_space, encoder.text_space)
    assert (plain.encode_images(pixels) - expected).abs().max() > 100 * BOUND
    done = clipadapt.export(encoder, "onnx", tmp_path / "out")
    found = load(str(tmp_path / "out"))  # a bare folder is recognised
    assert (found.encode_images(pixels) - expected).abs().max() <= BOUND
    assert (found.image_space, found.text_space) == spaces == (done.image_space, done.text_space)


@pytest.fixture(scope="module")
def clip_texts(written: Callable[[str], tuple[TorchEncoder, Path]]) -> Callable[[list[str]], None]:
    encoder, folder = written("clip")
    own = OnnxEncoder(folder).text_input
    assert own is not None

    def check(texts: list[str]) -> None:
        assert np.array_equal(own.padded(texts), encoder.backend.tokens(texts).numpy())

    return check


@given(
    texts=st.lists(
        st.one_of(
            st.text(max_size=30),
            st.lists(st.sampled_from(["it's", "&amp;", "<end_of_text>", "SLIM-fit", "'", "schÃ¶n", "½"])).map("".join),
        ),
        max_size=8,
    )
)
def test_ids_are_the_torch_encoders(clip_texts: Callable[[list[str]], None], texts: list[str]) -> None:
    clip_texts(texts)


def test_plain_texts_have_the_same_ids_in_the_file_alone(written: Callable[[str], tuple[TorchEncoder, Path]]) -> None:
    encoder, folder = written("clip")
    texts = ["A photo of a Striped  shirt, slim-fit", "größe 38, it's 3/4 length!", "短袖 dress", "skirt " * 60, ""]
    alone = [one.ids for one in Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts)]
    assert alone == encoder.backend.tokens(texts).tolist()


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx"])
def test_a_changed_file_is_not_taken_for_the_original(
    name: str, tmp_path: Path, written: Callable[[str], tuple[TorchEncoder, Path]]
) -> None:
    copy = shutil.copytree(written("clip")[1], tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name}: missing, or changed"):
        load(f"onnx:{copy}")
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"{name}: missing, or changed"):
        load(f"onnx:{copy}")


def test_what_cannot_be_loaded_says_why(tmp_path: Path, written: Callable[[str], tuple[TorchEncoder, Path]]) -> None:
    folder = written("clip")[1]
    with pytest.raises(ModelError, match="holds no int8 form; it has fp32"):
        load(f"onnx:{folder}@int8")
    with pytest.raises(ModelError, match="no form 'int4'"):
        load(f"onnx:{folder}@int4")
    with pytest.raises(ModelError, match="its precision is that of its files"):
        load(f"onnx:{folder}", precision="bf16")
    with pytest.raises(ModelError, match="made for 32 pixels"):
        load(f"onnx:{folder}", image_size=64)
    with pytest.raises(ModelError, match=r"no clipadapt\.json of an ONNX export"):
        load(f"onnx:{tmp_path}")
    with pytest.raises(ModelError, match="cannot run on cuda"):
        load(f"onnx:{folder}", device="cuda")
    with pytest.raises(ModelError, match="no torch weights to merge"):
        export(f"onnx:{folder}", "onnx", tmp_path / "again")


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        export("local-dir:nowhere", "onnx", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


class _Solving(nn.Module):
    """Does something that ONNX has no operator for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.inner(pixels)
        return features + torch.special.airy_ai(features)


class _Noisy(nn.Module):
    """Another model in ONNX than in torch."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.inner(pixels)
        return features + 0.01 if torch.onnx.is_in_onnx_export() else features


@pytest.mark.parametrize(
    ("wrapper", "error", "message"),
    [
        (_Solving, ExportError, "image tower cannot be written as ONNX.*airy_ai"),
        (_Noisy, ParityError, "nothing was written"),
    ],
)
def test_a_model_that_onnx_cannot_hold_leaves_nothing(
    wrapper: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    encoder = _encoder("eva_separate", tmp_path / "model")
    model: Any = encoder.model
    model.visual = wrapper(model.visual)
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=message):
        export(encoder, "onnx", tmp_path / "out" / "onnx")
    assert list((tmp_path / "out").iterdir()) == []


def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = _encoder("eva_separate", tmp_path / "model")
    monkeypatch.setattr("clipadapt.export.onnx.INLINE", 10_000)
    export(encoder, "onnx", tmp_path / "out")
    assert (tmp_path / "out" / "image.onnx.data").stat().st_size > 10_000
    assert (tmp_path / "out" / "image.onnx").stat().st_size < 200_000
    pixels = torch.randn(2, 3, SIZE, SIZE)
    assert (load(str(tmp_path / "out")).encode_images(pixels) - encoder.encode_images(pixels)).abs().max() <= BOUND
