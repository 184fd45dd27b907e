"""clipadapt events, as typed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from event_logs import answer, event, write_log

from clipadapt.cli import main


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = write_log(tmp_path / "logs", [event("a"), event("a", "click")], [answer("1")])
    with (folder / "events-20300301T000000000-aaaaaa.jsonl").open("ab") as part:
        part.write(b"broken\n")
    return folder


def test_a_log_as_one_file(log, tmp_path, capsys):
    assert main(["events", "export", str(log), str(tmp_path / "events.parquet")]) == 0
    assert pq.read_table(tmp_path / "events.parquet").column("event").to_pylist() == ["impression", "click"]
    text = capsys.readouterr().err
    assert "wrote 2 records" in text and "1 line(s) left out: no JSON" in text
    assert main(["events", "export", str(log), str(tmp_path / "answers.jsonl"), "--answers"]) == 0
    (line,) = (tmp_path / "answers.jsonl").read_text().splitlines()
    assert json.loads(line)["items"] == ["a", "b"]


def test_closed_parts_become_parquet_and_a_part_with_a_fault_stays(log, capsys):
    assert main(["events", "pack", str(log)]) == 0
    assert capsys.readouterr().out.split() == ["answers-20300301T000000000-aaaaaa.parquet"]
    assert {path.suffix for path in log.glob("events-*")} == {".jsonl"}


def test_what_was_typed_wrong(log, tmp_path, capsys):
    assert main(["events", "export", str(log), str(tmp_path / "events.csv")]) == 2
    assert "name a .parquet or a .jsonl file" in capsys.readouterr().err
    assert main(["events", "export", str(tmp_path / "none"), str(tmp_path / "events.jsonl")]) == 2
    assert main(["events", "pack", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
