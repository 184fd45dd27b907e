"""The table of export forms: a new one is a module and a row; every one says of a text what it says of it alone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_models import write_transformers

import clipadapt
from clipadapt.cli import main
from clipadapt.errors import UsageError
from clipadapt.export import formats
from clipadapt.export.calibration import Calibration
from clipadapt.export.form import ExportForm, Options
from clipadapt.export.formats import FORMS
from clipadapt.export.onnx_encoder import session
from clipadapt.export.parity import Agreement, Probe, compare
from clipadapt.export.preparation import Prepared
from clipadapt.export.push import check
from clipadapt.export.tokens import TextInput
from clipadapt.towers.load import load

SHORT = "a red shirt"
COMPANY = [SHORT, "a long striped cotton dress with three-quarter sleeves and a very wide hem, in olive", "", "red"]
SERVED = [(name, narrow) for name, form in FORMS.items() for narrow in ("", *form.narrow) if name != "triton"]
SERVED.append(("triton", "int8"))  # what it serves is, byte for byte, one of the onnx files: one of them stands for all


def by_encoder(folder: Path, narrow: str, onnx: bool) -> Callable[[list[str]], np.ndarray]:
    encoder = load(f"onnx:{folder}" + (f"@{narrow}" if narrow else "") if onnx else str(folder))
    return lambda texts: encoder.encode_texts(texts).numpy()


def by_sentence_transformers(folder: Path) -> Callable[[list[str]], np.ndarray]:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts, normalize_embeddings=True, show_progress_bar=False)


def by_server(folder: Path) -> Callable[[list[str]], np.ndarray]:
    """What the server runs on a batch that it put together, with ids as long as the longest."""
    running = session(folder / "text" / "1" / "model.onnx")
    text = TextInput.read(folder, json.loads((folder / "preprocess.json").read_text())["text"])
    return lambda texts: running.run(None, {"tokens": text.tokens(texts)})[0]


@pytest.fixture(scope="module")
def onnx_folder(tiny_model: Path, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ONNX export with all its files."""
    calibration = Calibration.of(colours, pictures=32, tune=4)
    out = tmp_path_factory.mktemp("forms") / "onnx"
    return clipadapt.export(str(tiny_model), "onnx", out, calibration=calibration, fp16=True).path


@pytest.mark.parametrize(("name", "narrow"), SERVED)
def test_a_text_alone_is_the_same_text_in_company(
    name: str, narrow: str, tiny_model: Path, colours: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A server that batches must not let one shopper's query change another's."""
    model = tiny_model
    if name in ("transformers", "sentence-transformers"):
        pytest.importorskip(name.replace("-", "_"))
        model = write_transformers(tmp_path / "model", "hf_clip")
    if name == "onnx":
        folder = request.getfixturevalue("onnx_folder")
    else:
        calibration = Calibration.of(colours, pictures=32, tune=4) if narrow == "int8" else None
        folder = clipadapt.export(str(model), name, tmp_path / "out", calibration=calibration).path
    if name == "sentence-transformers":
        encode = by_sentence_transformers(folder)
    elif name == "triton":
        encode = by_server(folder)
    else:
        encode = by_encoder(folder, narrow, name == "onnx")
    alone = np.concatenate([encode([text]) for text in COMPANY])
    assert np.abs(encode(COMPANY) - alone).max() < 2e-6
    assert np.abs(encode(COMPANY[::-1])[::-1] - alone).max() < 2e-6


def write_state(ready: Prepared, folder: Path, _: Options) -> None:
    save_file({name: value.contiguous() for name, value in ready.encoder.model.state_dict().items()}, folder / "state")
    (folder / "base").write_text(ready.encoder.lineage.base)


def read_state(folder: Path, measured: Probe) -> Agreement:
    encoder = load((folder / "base").read_text())
    encoder.model.load_state_dict(load_file(folder / "state"))  # type: ignore[attr-defined]
    image, text = encoder.image_features, encoder.text_features  # type: ignore[attr-defined]
    return compare(measured, image, text, what="the bare state")


def test_a_new_form_is_a_module_and_a_row(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that a form needs is in its row: the call, the command, the card and the refusals know it from there."""
    new = ExportForm("bare", lambda encoder: None, write_state, read_state, use='load("FOLDER/state")', hub="")
    monkeypatch.setitem(formats.FORMS, "bare", new)  # type: ignore[arg-type]
    done = clipadapt.export(str(tiny_model), "bare", tmp_path / "out")
    assert done.format == "bare" and done.agreement.image < 1e-5
    card = json.loads((done.path / "clipadapt.json").read_text())
    assert (card["image_space"], card["agreement"]["image"]) == (done.image_space, done.agreement.image)
    assert 'load("FOLDER/state")' in (done.path / "README.md").read_text()
    assert main(["export", str(tiny_model), "--to", "bare", "--out", str(tmp_path / "typed")]) == 0
    assert main(["export", str(tiny_model), "--to", "bear", "--out", str(tmp_path / "x")]) == 2
    assert "there are open_clip" in capsys.readouterr().err
    with pytest.raises(UsageError, match="bare has no fp16 form"):
        clipadapt.export(str(tiny_model), "bare", tmp_path / "half", fp16=True)
    with pytest.raises(UsageError, match=r"export to one of .*bare"):
        check("org/name", "triton")
