"""A licence outside the policy, planted in every split, reaches nothing that a command writes."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from data_factory import write_catalogue
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main

POLICY = "column: licence\nlicences: {CC0-1.0: [train, index, show], In-house: [train]}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Products in turn free, for training alone, and secret; each secret item says so in its id."""
    folder = write_catalogue(tmp_path / "shop", items=60)
    for table in folder.glob("*/metadata.csv"):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            kind = ("free", "inhouse", "secret")[int(row["id"]) // 2 % 3]
            row["id"] = f"{kind}{row['id']}"
            row["licence"] = {"free": "cc0-1.0", "inhouse": "In-house", "secret": "Secret"}[kind]
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


@pytest.fixture
def config(tmp_path: Path, shop: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    model = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])
    document = {
        "name": "c",
        "output_dir": str(tmp_path / "run"),
        "model": {"name": f"local-dir:{model}", "precision": "fp32"},
        "data": {
            "source": str(shop), "attributes": ["baseColour", "Pattern"], "policy": str(tmp_path / "policy.yaml"),
            "splits": {"tune": 0.3},
        },
        "prompts": "prompts/generic.yaml",
    }  # fmt: skip
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.slow
def test_what_a_policy_keeps_out_reaches_no_file(tmp_path, config, capsys):
    model = json.loads(config.read_text())["model"]["name"]
    about, cache = ["--model", model, "--config", str(config)], ["--cache", str(tmp_path / "cache")]
    for split in ("train", "validation"):
        assert main(["embed", *about, "--split", split, "--out", str(tmp_path / f"vectors-{split}")]) == 0
        assert main(["index", "build", *about, "--split", split, "--out", str(tmp_path / f"index-{split}")]) == 0
        assert (
            main(["data", "audit", *about, "--split", split, "--share", "1", "--out", str(tmp_path / split), *cache])
            == 0
        )
    assert main(["tag", *about, "--split", "validation", "--out", str(tmp_path / "tags.csv"), *cache]) == 0
    assert main(["captions", *about, "--split", "validation", "--out", str(tmp_path / "gallery"), *cache]) == 0
    report = ["--suite", "eval/attributes.yaml", "--split", "validation", "--out", str(tmp_path / "report")]
    assert main(["eval", *about, *report, *cache]) == 0
    said = capsys.readouterr().err
    assert "kept out: their licence does not allow 'index' (In-house" in said
    assert "does not allow 'show'" in (tmp_path / "report/report.md").read_text()
    written = [
        path for name in ("vectors-train", "vectors-validation", "index-train", "index-validation", "train",
                          "validation", "tags.csv", "gallery", "report")
        for path in ([tmp_path / name] if (tmp_path / name).is_file() else sorted((tmp_path / name).rglob("*")))
        if path.is_file()
    ]  # fmt: skip
    assert len(written) > 12
    for path in written:
        content = path.read_bytes()
        assert b"secret" not in content and b"inhouse" not in content, path
    tables = [path for path in written if path.suffix == ".parquet"]
    assert len(tables) == 4
    for table in tables:
        ids = pq.read_table(table).column("id").to_pylist()
        assert ids and all(item.startswith("free") for item in ids)
