"""README.md of an export: readable by the hub, with the figures of this very model or with none."""

import json
from pathlib import Path
from typing import Any

import pytest
from data_factory import write_catalogue
from huggingface_hub import ModelCard
from runs_factory import write_report, write_run
from tiny_models import OPEN_CLIP, write_open_clip, write_timm

from clipadapt.export import export
from clipadapt.export.model_card import _hub_base, _public
from clipadapt.runs import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("made")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    return write_run(root / "skirts", root / "base", 3, source=str(write_catalogue(root / "shop", items=60)))


def head(text: str) -> Any:
    """What the hub reads of a card; its attributes are the keys that are there."""
    return ModelCard(text, ignore_metadata_errors=False).data


def test_the_hub_reads_the_head_and_people_the_rest(run: Run, tmp_path: Path) -> None:
    done = export(f"run:{run.path}", "open_clip", tmp_path / "out")
    text = (done.path / "README.md").read_text()
    about = head(text)
    assert (about.library_name, about.pipeline_tag) == ("open_clip", "zero-shot-image-classification")
    assert about.license is None
    assert about.base_model is None, "a folder of this machine is no model of the hub"
    found = about.eval_results
    assert found is not None
    assert [(one.metric_type, one.metric_value, one.dataset_split) for one in found] == [
        ("average_precision", 0.6, "validation")
    ]
    assert "| mAP | 60.0 [50.0, 70.0] | +10.0 [+2.0, +20.0], better | 60 | 30 |" in text
    assert "| train |" in text
    assert "add `license:` to the head" in text
    assert done.image_space in text
    assert str(run.path.parent) not in text, "no folder of this machine"


def test_a_report_of_another_strength_is_not_this_models(run: Run, tmp_path: Path) -> None:
    done = export(f"run:{run.path}", "open_clip", tmp_path / "out", strength={"text": 0.5})
    text = (done.path / "README.md").read_text()
    assert "No figures: no report measured this model at this strength" in text
    assert head(text).eval_results is None
    assert "strength image 1, text 0.5" in text


def test_what_is_not_at_hand_is_said_to_be_unknown(run: Run, tmp_path: Path) -> None:
    config = (run.path / "config.yaml").read_text()
    results = (run.report / "results.json").read_text()
    try:
        (run.path / "config.yaml").write_text(config.replace(run.config.data.source, str(tmp_path / "gone")))
        (run.report / "results.json").write_text("{}")
        text = (export(f"run:{run.path}", "open_clip", tmp_path / "out").path / "README.md").read_text()
    finally:
        (run.path / "config.yaml").write_text(config)
        (run.report / "results.json").write_text(results)
    assert "its counts are missing" in text
    assert "No figures" in text


def test_onnx_and_models_that_are_no_run_have_one_too(tmp_path: Path) -> None:
    model = write_timm(tmp_path / "model", "tiny_vit")
    text = (export(f"timm:local-dir:{model}", "onnx", tmp_path / "onnx").path / "README.md").read_text()
    assert head(text).library_name == "onnx"
    assert "It was not adapted." in text
    assert "text vectors: `no text tower`" in text
    assert "float32 files" in text


def test_bases_and_sources_by_their_public_name(tmp_path: Path) -> None:
    assert _hub_base("EVA02-B-16:merged2b_s8b_b131k") == "timm/eva02_base_patch16_clip_224.merged2b_s8b_b131k"
    assert _hub_base("hf-hub:org/name") == "org/name"
    assert _hub_base("EVA02-B-16:random") is None
    assert _hub_base(f"local-dir:{tmp_path}") is None
    assert _public("EVA02-B-16:merged2b_s8b_b131k") == "EVA02-B-16:merged2b_s8b_b131k"
    assert _public("hf-hub:org/name") == "name"
    assert _public(f"local-dir:{tmp_path}") == tmp_path.name
    assert _public(str(tmp_path / "shop")) == "shop"
    assert _public("org/catalogue") == "org/catalogue"


def test_a_report_without_a_comparison_gives_plain_figures(run: Run, tmp_path: Path) -> None:
    before = (run.report / "results.json").read_text()
    try:
        done = export(f"run:{run.path}", "open_clip", tmp_path / "first")
        write_report(run, (done.image_space, done.text_space), 0.02)
        document = json.loads((run.report / "results.json").read_text())
        row = document["rows"][0]
        document["rows"] = [
            {
                key: value
                for key, value in row.items()
                if not key.startswith(("delta", "against", "p", "minimum")) or key == "products"
            }
        ]
        (run.report / "results.json").write_text(json.dumps(document))
        text = (export(f"run:{run.path}", "open_clip", tmp_path / "second").path / "README.md").read_text()
    finally:
        (run.report / "results.json").write_text(before)
    assert "| what | this model | against nothing |" in text
    assert "| mAP | 60.0 [50.0, 70.0] | – | 60 | 30 |" in text
