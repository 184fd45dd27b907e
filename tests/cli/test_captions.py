"""clipadapt captions, as typed, with an encoder that sees colours and stripes."""

import json

import pytest
from data_factory import write_catalogue
from squares import SquareEncoder

from clipadapt.cli import main

WORDS = """
captions: ["{a Pattern} shirt[ in {baseColour}]", "{a baseColour} shirt"]
other_attributes: {templates: ["{value} shirt"]}
"""
COLUMNS = ("--attribute", "Pattern", "--attribute", "baseColour")


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("world")
    (folder / "words.yaml").write_text(WORDS)
    source = write_catalogue(folder / "shop", items=240)
    monkeypatch.setattr("clipadapt.towers.load.load", lambda *_, **__: SquareEncoder("good"))
    about = ("--model", "local-dir:squares", "--source", str(source), "--product", "product")
    return (*about, "--prompts", str(folder / "words.yaml"), "--cache", str(folder / "cache"))


def test_a_gallery_is_written_again_from_thresholds_and_under_an_address(world, tmp_path, capsys):
    out = tmp_path / "gallery"
    fit = ("--tune", "0.5", "--precision", "0.8")
    assert main(["captions", *world, *COLUMNS, *fit, "--out", str(out)]) == 0
    said = capsys.readouterr()
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert rows and f"{len(rows)} of " in said.out and "no data.policy" in said.err
    assert all((out / row["fragment"]).is_file() and (out / row["picture"]).is_file() for row in rows)

    assert main(["tag", *world, *COLUMNS, *fit, "--out", str(tmp_path / "tags.jsonl")]) == 0
    thresholds = ("--thresholds", str(tmp_path / "tags.thresholds.json"))
    address = ("--picture-url", "https://cdn.example/{id}.jpg")
    assert main(["captions", *world, *thresholds, *address, "--out", str(tmp_path / "again")]) == 0
    again = [json.loads(line) for line in (tmp_path / "again" / "captions.jsonl").read_text().splitlines()]
    texts = [(row["id"], row["caption"], row["alt_text"], row["states"]) for row in rows]
    assert texts == [(row["id"], row["caption"], row["alt_text"], row["states"]) for row in again]
    assert again[0]["picture"] == f"https://cdn.example/{again[0]['id']}.jpg"
    tags = {row["id"]: row for row in map(json.loads, (tmp_path / "tags.jsonl").read_text().splitlines())}
    assert all((tags[row["id"]]["caption"], tags[row["id"]]["alt_text"]) == (row["caption"], row["alt_text"])
               for row in rows)  # fmt: skip


def test_what_is_refused_before_anything_is_computed(world, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = ("--out", str(tmp_path / "gallery"))
    for options, code, said in (
        ((*out, "--picture-url", "https://x.example/{sku}"), 2, "no column 'sku'"),
        ((*out, "--picture-url", "https://x.example/1"), 2, "names no column"),
        ((*out, "--column", "credit"), 2, "write it as FIELD=COLUMN"),
        ((*out, "--column", "credit=a", "--column", "credit=b"), 2, "credit is already 'a'"),
        ((*out, "--precision", "95"), 2, "--precision 95.0: a fraction between"),
        ((*out, "--tune", "validation"), 2, "cannot be what thresholds are fitted on"),
        (("--out", str(tmp_path / "file" / "x")), 1, "is a file where a folder"),
    ):
        assert main(["captions", *world, *COLUMNS, *options]) == code, said
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
