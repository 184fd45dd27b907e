"""clipadapt shadow, as typed: of mirrored answers, and of queries that are asked again."""

import json
from pathlib import Path

import pytest
from data_factory import write_catalogue
from runs_factory import write_gate, write_run
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main
from clipadapt.service.traffic import Traffic

GATE = "conditions: [{row: shadow, metric: overlap, bound: mean, above: %s}]"


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two releases of one model's index and two adapters; the first is promoted."""
    root = tmp_path_factory.mktemp("shadow")
    write_open_clip(root / "base", OPEN_CLIP["clip"])
    gate = str(write_gate(root))
    for seed, name in ((1, "one"), (2, "two")):
        write_run(root / name, root / "base", seed, preset="text")
        assert main(["release", "create", str(root / "releases"), str(root / name), "--gate", gate]) == 0
    assert main(["release", "promote", str(root / "releases"), "1"]) == 0
    return root / "releases"


def mirrored_log(folder: Path, candidate: list[str]) -> Path:
    (folder / "flag.yaml").write_text("{share: 100%, mode: shadow, salt: autumn}")
    traffic = Traffic.open(flag=folder / "flag.yaml", log=folder / "log", keep_queries=True)
    for number in range(30):
        route = traffic.route(f"user {number}", None, candidate=True)
        given = {"release": "000004", "took_ms": 5.0, "kind": "text", "k": 3, "query": {"text": f"red {number}"}}
        query_id = traffic.record(route, items=["1", "2", "3"], **given)
        traffic.record_mirror(query_id, release="000005", items=candidate, took_ms=6.0)
    traffic.close()
    return folder / "log"


@pytest.mark.parametrize(("candidate", "code"), [(["2", "1", "3"], 0), (["7", "8", "9"], 3)])
def test_mirrored_answers_pass_the_gate_or_end_with_3(tmp_path, capsys, candidate, code):
    log = mirrored_log(tmp_path, candidate)
    (tmp_path / "gate.yaml").write_text(GATE % 0.5)
    out = tmp_path / "out"
    assert main(["shadow", str(log), "--gate", str(tmp_path / "gate.yaml"), "-k", "3", "--out", str(out)]) == code
    text = capsys.readouterr()
    words = "100% of the 3 best are the same" if code == 0 else "1 of 1 conditions of the gate do not hold"
    assert words in (text.err if code else text.out) and "what was clicked is not known" in text.err
    document = json.loads((out / "shadow.json").read_text())
    assert document["passed"] is (code == 0) and words in document["sentence"] and len(document["moved"]) == 20
    assert "red 3" in (out / "shadow.html").read_text(encoding="utf-8")


def test_the_pictures_of_what_moved(tmp_path):
    shop = write_catalogue(tmp_path / "shop", items=6)
    ids = [line.split(",")[1] for line in (shop / "train" / "metadata.csv").read_text().splitlines()[1:]]
    log = mirrored_log(tmp_path, ids[:2])
    (tmp_path / "gate.yaml").write_text(GATE % -1)
    given = ["--gate", str(tmp_path / "gate.yaml"), "--source", str(shop), "--split", "train"]
    assert main(["shadow", str(log), *given, "--out", str(tmp_path / "out")]) == 0
    assert "data:image/jpeg;base64," in (tmp_path / "out" / "shadow.html").read_text(encoding="utf-8")


def test_queries_are_asked_again_of_two_releases(releases, tmp_path, capsys):
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"text": "red shirt"}\n{"text": "blue shirt", "k": 5}\n{"item": "i3"}\n')
    (tmp_path / "gate.yaml").write_text(GATE % -1)
    given = ["shadow", str(releases), "--queries", str(queries), "--gate", str(tmp_path / "gate.yaml")]
    assert main([*given, "--out", str(tmp_path / "out")]) == 0
    assert "000002 answered 3 queries beside 000001" in capsys.readouterr().out
    document = json.loads((tmp_path / "out" / "shadow.json").read_text())
    of_items = next(row for row in document["rows"] if row["task"] == "shadow@kind=item" and row["metric"] == "overlap")
    assert of_items["mean"] == 1, "both have the same vectors; their text towers differ"
    assert set(document["milliseconds"]) == {"000001", "000002"}
    assert main([*given, "--candidate", "1"]) == 2
    assert "000001 is the current one" in capsys.readouterr().err
    assert main([*given, "--candidate", "9"]) == 2
    assert main([*given, "--since", "2030-01-01"]) == 2
    assert "--since chooses days of mirrored queries" in capsys.readouterr().err


def test_what_is_no_log_and_no_folder_of_releases(tmp_path, capsys):
    assert main(["shadow", str(tmp_path)]) == 2
    assert "holds no answers" in capsys.readouterr().err
    (tmp_path / "queries.jsonl").write_text('{"text": "red"}\n')
    assert main(["shadow", str(tmp_path), "--queries", str(tmp_path / "queries.jsonl")]) == 2
    assert "no release is promoted" in capsys.readouterr().err
