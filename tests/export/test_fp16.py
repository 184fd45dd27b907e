"""fp16 files agree with the float ones, take half the bytes, and are refused when they do not survive."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import clipadapt
from clipadapt.errors import ParityError, UsageError
from clipadapt.export import export
from clipadapt.towers.encoder import TorchEncoder
from clipadapt.towers.load import load


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clipadapt.export(str(tiny_model), "onnx", tmp_path_factory.mktemp("half") / "out", fp16=True).path


def test_fp16_files_give_the_float_vectors_to_its_precision(folder: Path) -> None:
    whole, half = load(f"onnx:{folder}"), load(f"onnx:{folder}@fp16")
    pixels = torch.randn(3, 3, 32, 32)
    texts = ["a red shirt", "a long blue dress with short sleeves", ""]
    for one, other in (
        (whole.encode_images(pixels), half.encode_images(pixels)),
        (whole.encode_texts(texts), half.encode_texts(texts)),
    ):
        assert (one * other).sum(dim=1).min() > 0.9999
        assert not torch.equal(one, other)
        assert torch.allclose(other.norm(dim=1), torch.ones(3), atol=1e-5), "lengths are taken in float32"
    assert (whole.image_space, whole.text_space) == (half.image_space, half.text_space)
    card = json.loads((folder / "clipadapt.json").read_text())
    assert min(card["fp16"]["cosine"].values()) > 0.9999
    assert card["fp16"]["cosine"].keys() == {"image", "text"}
    assert {"image.fp16.onnx", "text.fp16.onnx"} < card["files"].keys()
    assert 0.5 < card["fp16"]["bytes"] < 0.56


def test_servers_send_and_receive_float32(folder: Path) -> None:
    for tower, kind in (("image", onnx.TensorProto.FLOAT), ("text", onnx.TensorProto.INT64)):
        graph = onnx.load(folder / f"{tower}.fp16.onnx").graph
        assert graph.input[0].type.tensor_type.elem_type == kind
        assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        kept = {tensor.data_type for tensor in graph.initializer if np.prod(tensor.dims) > 64}
        assert onnx.TensorProto.FLOAT not in kept


def test_a_tower_beyond_the_range_of_fp16_is_refused_and_nothing_is_left(tiny_model: Path, tmp_path: Path) -> None:
    encoder = load(str(tiny_model))
    assert isinstance(encoder, TorchEncoder)
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if name.endswith("patch_embed.proj.weight"):
                parameter.mul_(1e5)
    with pytest.raises(ParityError, match="image tower in fp16 has a cosine"):
        export(encoder, "onnx", tmp_path / "out", fp16=True)
    assert not (tmp_path / "out").exists()


def test_fp16_is_for_onnx_and_triton(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no fp16 form"):
        clipadapt.export(str(tiny_model), "open_clip", tmp_path / "o", fp16=True)
    done = export(str(tiny_model), "triton", tmp_path / "t", fp16=True)
    kinds = {one.data_type for one in onnx.load(done.path / "image" / "1" / "model.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    assert "(fp16)" in (done.path / "README.md").read_text()
