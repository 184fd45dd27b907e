"""What is bundled belongs together and passes its gate, or there is no release."""

import json
import shutil
from pathlib import Path

import pytest
from runs_factory import write_gate, write_index, write_report, write_run

from clipadapt.deploy.bundle import gather
from clipadapt.errors import AdapterError, GateError, ModelError, SpaceError, StoreError, UsageError
from clipadapt.evaluation.gate import Gate
from clipadapt.export import export
from clipadapt.prompts import Prompts
from clipadapt.runs import Run


@pytest.fixture
def run(first: Run, tmp_path: Path) -> Run:
    """A copy that may be spoilt."""
    shutil.copytree(first.path, tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_every_part_is_found_with_its_digest(run: Run, gate: Path) -> None:
    bundle = gather(run, Gate.load(gate))
    targets = {file.target for file in bundle.files}
    assert {
        "model/open_clip_model.safetensors",
        "adapter/adapter_model.safetensors",
        "prompts.yaml",
        "report/results.json",
        "config.yaml",
        "environment.json",
    } <= targets
    assert bundle.indexed is not None
    assert {"index.faiss", "index.json", "items.parquet"} <= {file.target for file in bundle.indexed.files}
    assert bundle.verdicts[0].passed
    assert "0.0200" in bundle.verdicts[0].reasons[0]
    assert bundle.spaces.image.startswith("image-")
    assert bundle.strength == {"image": 1.0, "text": 1.0}


def test_a_report_below_the_gate_ends_with_3_and_the_reason(run: Run, tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"1 of 1.*no release[\s\S]*0\.0200 \(it must gain\)") as caught:
        gather(run, Gate.load(write_gate(tmp_path, above=0.03)))
    assert caught.value.exit_code == 3


def test_what_the_gate_asks_for_and_nobody_measured_does_not_pass(run: Run) -> None:
    with pytest.raises(GateError, match="no such row was measured"):
        gather(run, Gate.load("eval/release_gate.yaml"))


def test_all_strange_parts_are_named_at_once(run: Run, base: Path, gate: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", base, 9)
    shutil.rmtree(run.export / "open_clip")
    shutil.copytree(other.export / "open_clip", run.export / "open_clip")
    write_index(run.path / "strange", "image-elsewhere", 24)
    thresholds = tmp_path / "thresholds.json"
    thresholds.write_text(
        json.dumps({"model": {"image_space": "image-x", "text_space": "text-x"}, "prompts": {"digest": "y"}})
    )
    with pytest.raises(SpaceError) as caught:
        gather(run, Gate.load(gate), index=run.path / "strange", thresholds=thresholds)
    said = str(caught.value)
    for part in ("the merged model", "the index", "the thresholds", "other prompts"):
        assert part in said
    assert caught.value.exit_code == 2


def test_another_form_of_another_run_is_refused(run: Run, base: Path, gate: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", base, 9)
    shutil.copytree(other.export / "open_clip", run.export / "second")
    with pytest.raises(SpaceError, match=r"the export .*second"):
        gather(run, Gate.load(gate))
    (run.export / "second" / "clipadapt.json").unlink()
    with pytest.raises(SpaceError, match=r"has no clipadapt\.json"):
        gather(run, Gate.load(gate))


def test_prompts_that_changed_since_they_were_measured_are_refused(base: Path, gate: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "own", base, 3)
    Path(run.config.prompts).write_text(Path(run.config.prompts).read_text() + "# edited\n")
    with pytest.raises(SpaceError, match="measured with other prompts"):
        gather(run, Gate.load(gate))


def test_a_report_against_something_else_than_the_base_is_refused(run: Run, gate: Path) -> None:
    file = run.report / "results.json"
    document = json.loads(file.read_text())
    document["config"]["systems"]["base"]["text_space"] = "text-weaker"
    file.write_text(json.dumps(document))
    with pytest.raises(SpaceError, match="which is not the base"):
        gather(run, Gate.load(gate))


def test_a_report_of_another_model_is_refused(run: Run, gate: Path) -> None:
    write_report(run, ("image-other", "text-other"), 0.5)
    with pytest.raises(SpaceError, match="not the merged model"):
        gather(run, Gate.load(gate))


@pytest.mark.parametrize(
    ("gone", "error", "remedy"),
    [
        ("export", UsageError, "clipadapt export"),
        ("report", UsageError, "clipadapt eval"),
        ("adapter", AdapterError, "train"),
    ],
)
def test_a_missing_part_is_named_with_its_remedy(run: Run, gate: Path, gone: str, error: type, remedy: str) -> None:
    shutil.rmtree(run.path / gone)
    with pytest.raises(error, match=remedy):
        gather(run, Gate.load(gate))


def test_weights_that_changed_after_the_export_are_refused(run: Run, base: Path, gate: Path) -> None:
    shutil.copy(base / "open_clip_model.safetensors", run.export / "open_clip" / "open_clip_model.safetensors")
    with pytest.raises(ModelError, match="weights changed"):
        gather(run, Gate.load(gate))


def test_a_damaged_index_is_refused(run: Run, gate: Path) -> None:
    file = run.path / "index" / "versions" / "000001" / "index.faiss"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="another sha256"):
        gather(run, Gate.load(gate))


def test_thresholds_that_a_run_keeps_go_with_it_if_they_are_of_its_model(run: Run, gate: Path) -> None:
    spaces, words = gather(run, Gate.load(gate)).spaces, Prompts.load(run.config.prompts).digest

    def keep(image: str) -> None:
        document = {"model": {"image_space": image, "text_space": spaces.text}, "prompts": {"digest": words}}
        (run.path / "thresholds.json").write_text(json.dumps(document))

    keep(spaces.image)
    bundle = gather(run, Gate.load(gate))
    assert "thresholds.json" in {file.target for file in bundle.files} and "thresholds.json" in bundle.described
    keep("image-elsewhere")
    with pytest.raises(SpaceError, match=r"thresholds.json is of image-elsewhere.*clipadapt tag --model .* --fit RUN"):
        gather(run, Gate.load(gate))


def test_an_export_at_half_strength_belongs_to_its_adapter(run: Run, gate: Path) -> None:
    shutil.rmtree(run.export)
    shutil.rmtree(run.path / "index")
    done = export(f"run:{run.path}", "open_clip", run.export / "open_clip", strength={"image": 0.0, "text": 0.5})
    write_report(run, (done.image_space, done.text_space), 0.02)
    bundle = gather(run, Gate.load(gate))
    assert bundle.strength == {"image": 0.0, "text": 0.5}
    assert tuple(bundle.spaces) == (done.image_space, done.text_space)
