"""A model repository as Triton reads it: files where they belong, configs that its definition accepts, a client."""

import importlib.util
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pytest
from PIL import Image

import clipadapt
from clipadapt.export import export
from clipadapt.export.onnx_encoder import session
from clipadapt.export.triton import check_config, config_text
from clipadapt.towers.load import load

TEXTS = ["A red  shirt", "a long blue dress &amp; short sleeves", ""]


@pytest.fixture(scope="module")
def repository(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clipadapt.export(str(tiny_model), "triton", tmp_path_factory.mktemp("triton") / "out").path


def test_only_models_are_folders(repository: Path) -> None:
    assert {path.name for path in repository.iterdir() if path.is_dir()} == {"image", "text"}
    files = {"client.py", "pictures.py", "README.md", "preprocess.json", "tokenizer.json", "clipadapt.json"}
    assert {path.name for path in repository.iterdir() if path.is_file()} == files
    for tower in ("image", "text"):
        assert {path.name for path in (repository / tower).iterdir()} == {"1", "config.pbtxt"}
        onnx.checker.check_model(str(repository / tower / "1" / "model.onnx"), full_check=True)
    readme = (repository / "README.md").read_text()
    assert "docker run" in readme
    assert '"$PWD"' in readme


def test_configs_say_what_the_graphs_take(repository: Path) -> None:
    for tower, kinds in (("image", "TYPE_FP32"), ("text", "TYPE_INT64")):
        graph = onnx.load(repository / tower / "1" / "model.onnx").graph
        config = (repository / tower / "config.pbtxt").read_text()
        sides = [one.dim_value or -1 for one in graph.input[0].type.tensor_type.shape.dim][1:]
        expected = f'name: "{graph.input[0].name}" data_type: {kinds} dims: [ {", ".join(map(str, sides))} ]'
        assert expected in config
        assert f"dims: [ {graph.output[0].type.tensor_type.shape.dim[1].dim_value} ]" in config
        for part in ("dynamic_batching", "instance_group", "version_policy", "model_warmup", 'backend: "onnxruntime"'):
            assert part in config


def test_configs_parse_by_tritons_definition() -> None:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    text = config_text("text", [-1], 24)
    assert check_config(text, "text/config.pbtxt")
    parsed = text_format.Parse(text, cast("Any", model_config_pb2).ModelConfig())
    assert (parsed.max_batch_size, parsed.instance_group[0].count, len(parsed.model_warmup)) == (128, 1, 2)


def test_the_client_makes_the_encoders_inputs(repository: Path, tiny_model: Path) -> None:
    spec = importlib.util.spec_from_file_location("client", repository / "client.py")
    assert spec is not None
    assert spec.loader is not None
    client: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(client)
    encoder = load(str(tiny_model))
    draws = np.random.default_rng(0)
    for size in ((40, 36), (32, 32), (20, 90), (33, 200)):
        picture = Image.fromarray(draws.integers(0, 256, (*size, 3), dtype=np.uint8))
        assert np.abs(client.pixels(picture) - encoder.preprocess(picture).numpy()).max() < 1e-5
    tokens = client.tokens(TEXTS)
    assert tokens.shape == (3, 16)
    vectors = session(repository / "text" / "1" / "model.onnx").run(None, {"tokens": tokens})[0]
    assert np.abs(vectors - encoder.encode_texts(TEXTS).numpy()).max() < 1e-5


def test_int8_is_served_instead(tiny_model: Path, colours: Path, tmp_path: Path) -> None:
    from clipadapt.export.calibration import Calibration

    export(str(tiny_model), "triton", tmp_path / "out", calibration=Calibration.of(colours, pictures=32, tune=4))
    kinds = {node.op_type for node in onnx.load(tmp_path / "out" / "image" / "1" / "model.onnx").graph.node}
    assert "MatMulIntegerToFloat" in kinds
    assert "int8" in json.loads((tmp_path / "out" / "clipadapt.json").read_text())
