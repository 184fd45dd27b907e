"""clipadapt tag, as typed, with a small model of random weights on drawn garments."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
import typer
from typer.testing import CliRunner

from clipadapt.cli import tag as verb
from clipadapt.data.garments.write import draw
from clipadapt.errors import CatalogueError, ConfigError, UsageError
from clipadapt.evaluation.results import Results
from clipadapt.search.wishes import QUERIES, Signals
from clipadapt.tagging.thresholds import THRESHOLDS, Thresholds
from clipadapt.towers.small import create_small

WORDS = """
captions: ["{a colour} {category}[ with {pattern}]", "something {colour}"]
other_attributes: {templates: ["{value} garment"]}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "words.yaml").write_text(WORDS)
    source = draw(folder / "garments", items=96, seed=0, size=32)
    return source, f"local-dir:{create_small(folder / 'model', seed=0)}", str(folder / "words.yaml")


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def run(world, *arguments: str, source: Path | None = None):
    app = typer.Typer()
    app.command()(verb.command)
    given = ["--model", world[1], "--source", str(source or world[0]), "--prompts", world[2]]
    return CliRunner().invoke(app, [*given, *arguments])


COLUMNS = ("--attribute", "category", "--attribute", "colour")


def test_what_is_fitted_alone_lies_where_a_run_or_release_keeps_it(world, tmp_path):
    found = run(world, *COLUMNS, "--fit", str(tmp_path / "kept"), "--tune", "0.4", "--precision", "0.2")
    assert found.exit_code == 0, found.output
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == [QUERIES, THRESHOLDS]
    assert Thresholds.load(tmp_path / "kept" / THRESHOLDS).precision == 0.2
    assert set(Signals.load(tmp_path / "kept" / QUERIES).attributes) == {"category", "colour"}
    tagged = run(world, *COLUMNS, "--out", str(tmp_path / "t.csv"), "--tune", "0.4", "--precision", "0.2")
    assert tagged.exit_code == 0, tagged.output
    for name in (QUERIES, THRESHOLDS):
        assert (tmp_path / f"t.{name}").read_bytes() == (tmp_path / "kept" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--out"), (("--out", "t.csv", "--fit", "kept"), "one of them"), (("--fit", "kept", "--queue"), "--queue"),
        (("--fit", "kept", "--against", "m"), "--against"), (("--fit", "kept", "--thresholds", "t"), "--thresholds"),
    ],
)  # fmt: skip
def test_fitting_tags_nothing(world, arguments, said):
    found = run(world, *arguments)
    assert isinstance(found.exception, UsageError) and said in str(found.exception)


def test_tags_thresholds_report_and_table(world, tmp_path):
    out = tmp_path / "tags.parquet"
    found = run(world, *COLUMNS, "--out", str(out), "--tune", "0.4", "--precision", "0.2", "--against", world[1])
    assert found.exit_code == 0, found.output
    table = pyarrow.parquet.read_table(out)
    lines = (world[0] / "validation" / "metadata.csv").read_text().splitlines()
    assert table.num_rows == len(lines) - 1
    assert table.column_names[2:5] == ["category", "category probability", "category state"]
    results = Results.load(tmp_path / "tags.report.json")
    paired = next(row for row in results.rows if row.paired)
    assert (paired.task, paired.metric, paired.delta, paired.p) == ("headline", "automatic_cells", 0.0, 1.0)
    assert list(results.config["systems"]) == ["adapted", "base"]
    assert "all cells" in found.stdout and "saved" in found.stdout
    thresholds = json.loads((tmp_path / "tags.thresholds.json").read_text())
    assert thresholds["fitted_on"]["split"] == "0.4 of train" and thresholds["fitted_on"]["carved_from"] == "train"

    again = run(world, "--out", str(tmp_path / "again.jsonl"), "--thresholds", str(tmp_path / "tags.thresholds.json"))
    assert again.exit_code == 0, again.output
    rows = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert rows == table.to_pylist()
    assert not (tmp_path / "again.thresholds.json").exists() and (tmp_path / "again.report.json").exists()
    for options, said in (
        (("--split", "train"), "fitted on split '0.4 of train', carved from 'train' of .*, so 'train' cannot"),
        (("--tune", "0.1"), "leave out --tune, --against, --precision and --attribute"),
    ):
        refused = run(
            world, "--out", str(tmp_path / "n.csv"), "--thresholds", str(tmp_path / "tags.thresholds.json"), *options
        )
        assert isinstance(refused.exception, ConfigError)
        assert pytest.raises(ConfigError, match=said).matches(refused.exception)
    assert not (tmp_path / "n.csv").exists()


def test_a_split_without_labels_is_tagged_and_not_reported(world, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(world[0] / "train", bare / "train")
    (bare / "test").mkdir()
    for number, picture in enumerate(sorted((world[0] / "validation").glob("*.*g"))[:4]):
        shutil.copy(picture, bare / "test" / f"{number}.png")
    (bare / "test" / "3.png").write_bytes(b"no picture")
    (bare / "test" / "metadata.csv").write_text("file_name\n0.png\n1.png\n2.png\n3.png\n")
    out = tmp_path / "tags.csv"
    found = run(world, *COLUMNS, "--split", "test", "--out", str(out), source=bare)
    assert found.exit_code == 0, found.output
    assert "no report: no item of 'test' has a known value" in found.stderr
    assert "1 broken picture(s) have a row with a fault and no values" in found.stderr
    assert "category: always unsure: " in found.stderr
    assert len(out.read_text().splitlines()) == 5 and "3.png): cannot be decoded" in out.read_text()
    assert not (tmp_path / "tags.report.json").exists()


def test_what_is_refused_before_anything_is_computed(world, tmp_path):
    out = str(tmp_path / "tags.csv")
    for options, error, said in (
        (("--out", "tags.xlsx"), ConfigError, "tags are written as .parquet"),
        (("--out", out, "--precision", "95"), ConfigError, "--precision 95.0: a fraction between"),
        (("--out", out, "--tune", "validation"), ConfigError, "cannot be what thresholds are fitted on"),
        (("--out", out, "--split", "train"), ConfigError, "of the products that are reported"),
        (("--out", out, "--attribute", "color"), CatalogueError, "did you mean 'colour'"),
        (("--out", out), ConfigError, "which columns are attributes"),
    ):
        extra = () if "--attribute" in options or said.startswith("which") else COLUMNS
        refused = run(world, *extra, *options)
        assert isinstance(refused.exception, error), refused.output
        assert said in str(refused.exception)
    assert not list(tmp_path.iterdir())


def test_what_is_left_for_a_person(world, tmp_path):
    out = tmp_path / "tags.csv"
    fit = (*COLUMNS, "--tune", "0.4", "--precision", "0.2", "--against", world[1])
    found = run(world, *fit, "--out", str(out), "--queue", "--seconds", "1,2,3")
    assert found.exit_code == 0, found.output
    document = json.loads((tmp_path / "tags.queue.json").read_text())
    report = Results.load(tmp_path / "tags.report.json")
    row = next(row for row in report.rows if row.metric == "automatic_cells" and row.task == "headline")
    assert document["measured"]["against"] == "base" and document["measured"]["saved"] == row.delta == 0
    assert (document["measured"]["mean"], document["measured"]["saved_low"]) == (row.mean, row.delta_low)
    assert document["summary"]["seconds"] == {"open": 1, "confirm": 2, "enter": 3} and document["precision"] == 0.2
    assert f"for a person: {document['summary']['cells_in_queue']} of " in found.stdout
    assert "of labelled cells, +0.0 points [" in found.stdout and "] against base" in found.stdout
    unsure = sum(line.count("unsure") for line in out.read_text().splitlines()[1:])
    assert unsure == document["summary"]["cells_in_queue"] == sum(len(task["cells"]) for task in document["tasks"])
    assert len((tmp_path / "tags.queue.csv").read_text().splitlines()) == len(document["tasks"]) + 1
    for options, said in (
        (("--seconds", "1,2,3"), "add --queue"),
        (("--queue", "--seconds", "1,2"), "three numbers above 0"),
        (("--queue", "--seconds", "1,-2,3"), "three numbers above 0"),
        (("--queue", "--seconds", "1,inf,x"), "three numbers above 0"),
    ):
        refused = run(world, *COLUMNS, "--out", str(tmp_path / "n.csv"), *options)
        assert said in str(refused.exception)
