"""INT8 graphs compute what rounding by hand computes, keep decisions, and take a quarter of the bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

import clipadapt
from clipadapt.data.catalogue import Catalogue
from clipadapt.errors import ModelError, ParityError, UsageError
from clipadapt.export.calibration import Calibration, agreement
from clipadapt.export.int8_graph import Form, Plan, Range, narrow
from clipadapt.export.onnx import write_graph
from clipadapt.export.onnx_encoder import session
from clipadapt.export.quantize import _range, measure_ranges, quantise
from clipadapt.towers.load import load


def two_layers(gemm: bool = False) -> tuple[onnx.ModelProto, np.ndarray, np.ndarray, np.ndarray]:
    """x @ W + b, then its ReLU @ V, without a bias; and W, b, V."""
    draws = np.random.default_rng(0)
    w, b, v = (draws.normal(0, 1, shape).astype(np.float32) for shape in ((64, 80), (80,), (80, 64)))
    first = [helper.make_node("MatMul", ["x", "w"], ["m"], "one"), helper.make_node("Add", ["m", "b"], ["y"], "add")]
    if gemm:
        first = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "one", transB=1)]
    nodes = [
        *first,
        helper.make_node("Relu", ["y"], ["r"], "relu"),
        helper.make_node("MatMul", ["r", "v"], ["z"], "two"),
    ]
    constants = {"w": w.T.copy() if gemm else w, "b": b, "v": v}
    graph = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", 1, ["n", 64])],
        [helper.make_tensor_value_info("z", 1, ["n", 64])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), w, b, v


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    return session(model.SerializeToString()).run(None, inputs)[0]


def rounded(values: np.ndarray, within: Range) -> np.ndarray:
    step, zero = within.scale()
    return (np.clip(np.rint(values / step) + zero, 0, 255) - zero.astype(np.float64)) * step


@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize("form", ["static", "float"])
def test_the_graph_computes_what_rounding_by_hand_computes(form: Form, gemm: bool) -> None:
    model, w, b, v = two_layers(gemm)
    x = np.random.default_rng(1).normal(0, 1, (5, 64)).astype(np.float32)
    plan = Plan.of(model)
    assert list(plan.sites) == ["x", "r"]
    ranges = {"x": Range(-3.0, 3.0), "r": Range(0.0, 25.0)}
    wide = {name: numbers * scale for name, (numbers, scale) in {"w": narrow(w, 1), "v": narrow(v, 1)}.items()}
    entering = rounded(x, ranges["x"]) if form == "static" else x
    hidden = np.maximum(entering @ wide["w"] + b, 0)
    expected = (rounded(hidden, ranges["r"]) if form == "static" else hidden) @ wide["v"]
    found = plan.quantised(ranges, {"x": form, "r": form})
    onnx.checker.check_model(found, full_check=True)
    step = float(ranges["r"].scale()[0])  # a hidden value may fall on the other side of a rounding boundary
    assert (
        np.abs(run(found, x=x) - expected).max()
        < 1.01 * step * float(np.abs(wide["v"]).max()) * (form == "static") + 1e-3
    )
    switched = run(plan.switchable(ranges), x=x, on=np.array([form == "static"] * 2))
    assert np.abs(run(found, x=x) - switched).max() < 2 * step * float(np.abs(wide["v"]).max()) + 1e-3
    assert [tensor.name for tensor in model.graph.initializer] == ["w", "b", "v"], "the float graph stays as it was"


def test_every_site_has_a_name_of_its_own() -> None:
    model = two_layers()[0]
    model.graph.node[0].name, model.graph.node[3].name = "attn/one", "attn/two"
    assert list(Plan.of(model).names().values()) == ["attn (1 of 2)", "attn (2 of 2)"]
    model.graph.node[0].name, model.graph.node[3].name = "/one", "mlp/two"
    assert list(Plan.of(model).names().values()) == ["w", "mlp"], "outside any module, the weight's name"


def test_one_exception_leaves_the_rest_in_integers() -> None:
    plan = Plan.of(two_layers()[0])
    found = plan.quantised({"x": Range(-3, 3), "r": Range(0, 20)}, {"x": "float", "r": "static"})
    kinds = [node.op_type for node in found.graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 1
    assert kinds.count("MatMul") == 1
    stored = {tensor.name: tensor.data_type for tensor in found.graph.initializer if len(tensor.dims) == 2}
    assert list(stored.values()).count(onnx.TensorProto.INT8) == 2, "a float product has int8 weights too"


def test_narrow_numbers_are_within_half_a_step_of_each_channel() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (64, 80)) * np.geomspace(1e-3, 1e3, 80)
    numbers, scale = narrow(weight.astype(np.float32), 1)
    assert np.all(np.abs(numbers * scale.astype(np.float64) - weight) <= 0.501 * scale)
    assert np.abs(numbers).max(axis=0).tolist() == [127] * 80


def test_a_range_gives_up_a_lone_outlier_but_not_a_plain_end() -> None:
    draws = np.random.default_rng(0)
    plain = draws.uniform(-1, 1, 4_000)
    assert _range(plain, -1.0, 1.0) == Range(-1.0, 1.0)
    assert _range(plain, -1.0, 3.0).high < 2.0
    assert Range(0.0, 1.0).scale()[1] == 0
    assert Range(-1.0, 0.0).scale()[1] == 255


def test_ranges_hold_what_the_inputs_put_there() -> None:
    model, w, b, _ = two_layers()
    x = [np.random.default_rng(seed).uniform(-2, 2, (4, 64)).astype(np.float32) for seed in range(6)]
    found = measure_ranges(Plan.of(model), "x", x)
    assert found["x"].low == pytest.approx(min(float(one.min()) for one in x))
    hidden = np.maximum(np.concatenate(x) @ w + b, 0)
    assert found["r"].low == 0.0
    assert 0.3 * hidden.max() <= found["r"].high <= hidden.max() * 1.001


def test_agreement_by_hand() -> None:
    one = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    other = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    texts = np.eye(2, dtype=np.float32)
    assert agreement((one, other), {"a": (texts, texts)}) == {"a": 0.5, "all": 0.5}
    assert agreement((one, one), {"a": (texts, texts), "b": (texts, texts[::-1])}) == {"a": 1.0, "b": 0.0, "all": 0.5}
    assert agreement((one, one), {}) == {}


@pytest.fixture(scope="module")
def exported(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    calibration = Calibration.of(colours, pictures=40, tune=12)
    out = tmp_path_factory.mktemp("int8") / "out"
    return clipadapt.export(str(tiny_model), "onnx", out, calibration=calibration).path


def test_int8_files_are_smaller_close_and_of_the_same_space(exported: Path, colours: Path) -> None:
    whole, narrow_one = load(f"onnx:{exported}"), load(f"onnx:{exported}@int8")
    catalogue = Catalogue.load(colours, "train")  # pictures like those that ranges were measured on, as promised
    pictures = [catalogue.picture(row) for row in range(len(catalogue))]
    texts = ["a red shirt", "a long blue dress with short sleeves", ""]
    for one, other in (
        (whole.encode_images(pictures), narrow_one.encode_images(pictures)),
        (whole.encode_texts(texts), narrow_one.encode_texts(texts)),
    ):
        assert (one * other).sum(dim=1).min() > 0.99
        assert not torch.equal(one, other)
        assert torch.allclose(other.norm(dim=1), torch.ones(len(other)), atol=1e-5)
    assert (whole.image_space, whole.text_space) == (narrow_one.image_space, narrow_one.text_space)
    assert narrow_one.name.endswith("@int8")
    assert whole.precision != narrow_one.precision  # type: ignore[attr-defined]
    size = {path.name: path.stat().st_size for path in exported.iterdir()}
    assert size["text.int8.onnx"] < 0.32 * size["text.onnx"], "one scale per row of 32 is an eighth of its bytes"
    card: dict[str, Any] = json.loads((exported / "clipadapt.json").read_text())
    assert card["int8"]["agreement"].keys() == {"baseColour", "all"}
    assert card["int8"]["calibration"]["pictures"] == 40
    assert sum(card["int8"]["image"]["sites"].values()) == len(Plan.of(onnx.load(exported / "image.onnx")).sites)
    assert narrow_one.encode_images([]).shape == (0, whole.dim)


def test_too_few_pictures_are_refused_before_a_model_is_loaded(
    tmp_path: Path, write_colours: Callable[[Path, int], Path]
) -> None:
    with pytest.raises(UsageError, match=r"20 picture\(s\) to calibrate INT8 with; it needs 32"):
        Calibration.of(write_colours(tmp_path / "few", 20))
    with pytest.raises(UsageError, match="it needs 32"):
        Calibration.of(write_colours(tmp_path / "nearly", 36))


def test_calibration_and_tune_share_no_product(colours: Path) -> None:
    found = Calibration.of(colours, pictures=40, tune=12)
    assert not set(found.pictures.products) & set(found.tune.products)
    assert list(found.values) == ["baseColour"]
    assert len(found.values["baseColour"]) == 4
    again = Calibration.of(colours, pictures=40, tune=12)
    assert (found.pictures.ids, found.tune.ids, found.captions) == (again.pictures.ids, again.tune.ids, again.captions)


def test_a_tower_that_does_not_survive_is_refused(
    tiny_onnx: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipadapt.export.quantize.LOWEST", 1.1)
    with pytest.raises(ParityError, match="mean cosine"):
        quantise(tiny_onnx, Calibration.of(colours, pictures=32, tune=4), lambda model, file: None)


def test_int8_is_for_onnx_and_triton(tiny_model: Path, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no INT8 form; export to onnx or triton"):
        clipadapt.export(str(tiny_model), "open_clip", tmp_path / "o", calibration=Calibration.of(colours))


def test_a_float_export_has_no_int8_form(tiny_onnx: Path) -> None:
    with pytest.raises(ModelError, match="holds no int8 form"):
        load(f"onnx:{tiny_onnx}@int8")


def test_a_checker_that_refuses_stops_the_export(tmp_path: Path) -> None:
    from clipadapt.errors import ExportError

    model = two_layers()[0]
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ExportError, match=r"onnx\.checker refuses"):
        write_graph(model, tmp_path / "broken.onnx")
