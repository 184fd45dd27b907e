"""Which form of a model answers: INT8 where it passed, ONNX where it is of the same model, torch otherwise."""

import json
import shutil
from pathlib import Path

import pytest
from runs_factory import write_run

from clipadapt.deploy.loading import serving_encoder
from clipadapt.errors import SpaceError
from clipadapt.export import export
from clipadapt.export.onnx import digests
from clipadapt.export.quantize import GOAL
from clipadapt.runs import Run
from clipadapt.search.index import Index


@pytest.fixture(scope="module")
def exported(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    pytest.importorskip("onnxruntime")
    run = write_run(tmp_path_factory.mktemp("runs") / "exported", base)
    export(f"run:{run.path}", "onnx", run.export / "onnx")
    return run


@pytest.fixture
def run(exported: Run, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.path, tmp_path / "run"))


def space_of(run: Path) -> str:
    return Index.open(run / "index").meta.image_space


def edit(run: Path, **more: object) -> None:
    card = run / "export" / "onnx" / "clipadapt.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | more))


def test_a_run_with_an_onnx_export_is_served_by_it(run: Path):
    encoder, runtime = serving_encoder(f"run:{run}", space_of(run))
    assert runtime == "onnx-fp32"
    assert encoder.image_space == space_of(run)
    plain, by = serving_encoder(f"local-dir:{run / 'export' / 'open_clip'}", space_of(run))
    assert by == "torch"
    named, form = serving_encoder(f"onnx:{run / 'export' / 'onnx'}", space_of(run))
    assert (form, named.name) == ("onnx-fp32", encoder.name)
    texts = ["a red shirt", "skirt"]
    assert (encoder.encode_texts(texts) - plain.encode_texts(texts)).abs().max() < 1e-4


@pytest.mark.parametrize(("image", "text", "form"), [(1.0, GOAL, "int8"), (GOAL - 1e-3, 1.0, "fp32")])
def test_int8_is_served_where_both_towers_passed(run: Path, image: float, text: float, form: str):
    folder = run / "export" / "onnx"
    for tower in ("image", "text"):
        shutil.copy(folder / f"{tower}.onnx", folder / f"{tower}.int8.onnx")
    edit(run, int8={"image": {"agreement": image}, "text": {"agreement": text}}, files=digests(folder))
    encoder, runtime = serving_encoder(f"run:{run}", space_of(run))
    assert runtime == f"onnx-{form}"
    assert encoder.name == f"onnx:{folder}" + ("@int8" if form == "int8" else "")


def test_an_export_of_another_model_is_left_alone(run: Path, caplog):
    edit(run, image_space="image-other")
    _, runtime = serving_encoder(f"run:{run}", space_of(run))
    assert runtime == "torch"
    assert "another model" in caplog.text


def test_a_model_of_another_space_is_refused(run: Path, base: Path):
    with pytest.raises(SpaceError, match="build the index again"):
        serving_encoder(f"local-dir:{base}", space_of(run))
