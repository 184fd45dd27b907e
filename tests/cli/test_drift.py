"""clipadapt drift, as typed."""

import base64
import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
from data_factory import write_table
from event_logs import answer, write_log
from PIL import Image
from tiny_models import OPEN_CLIP, write_open_clip

from clipadapt.cli import main

START = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Vectors of a reference, of more of the same, and of pictures from a camera that turns all of them red."""
    model = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])
    for seed, name in enumerate(("reference", "same", "red")):
        rng = np.random.default_rng(seed)
        folder = tmp_path / name / "train"
        folder.mkdir(parents=True)
        rows = []
        for item in range(40):
            pixels = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
            pixels[:, :, 1:] //= 8 if name == "red" else 1
            Image.fromarray(pixels).resize((32, 32)).save(folder / f"{item}.png")
            rows.append({"file_name": f"{item}.png", "id": f"{name}{item}", "product": f"{name}{item // 2}"})
        write_table(folder, rows)
        given = ["--model", f"local-dir:{model}", "--source", str(tmp_path / name), "--split", "train"]
        assert main(["embed", *given, "--out", str(tmp_path / f"{name}-vectors")]) == 0
    return tmp_path


def test_it_ends_with_3_on_an_alarm_alone(folders, capsys):
    out, about = folders / "out", ["--reference", str(folders / "reference-vectors"), "--out", str(folders / "out")]
    assert main(["drift", str(folders / "same-vectors"), *about]) == 0
    assert "No drift in 1 window(s)" in capsys.readouterr().out
    assert json.loads((out / "drift.json").read_text())["alarms"] == 0
    shown = ["--source", str(folders / "red"), "--split", "train"]
    assert main(["drift", str(folders / "red-vectors"), *about, *shown]) == 3
    text = capsys.readouterr()
    assert "drifted" in text.out and "error: items: 1 of 1 window(s)" in text.err
    page = (out / "drift.html").read_text(encoding="utf-8")
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(pictures) == 12 and base64.b64decode(pictures[0])[:2] == b"\xff\xd8"
    assert 'clipadapt_drift_alarm{of="items",segment="all",window="all"} 1' in (out / "drift.prom").read_text()


def test_how_far_an_adaptation_moves_items(folders, capsys):
    base = write_open_clip(folders / "base", OPEN_CLIP["raw_in_proj"])
    for name in ("reference", "same"):
        given = ["--model", f"local-dir:{base}", "--source", str(folders / name), "--split", "train"]
        assert main(["embed", *given, "--out", str(folders / f"{name}-base")]) == 0
    about = ["--reference", str(folders / "reference-vectors"), "--out", str(folders / "out")]
    both = ["--base", str(folders / "same-base"), "--base-reference", str(folders / "reference-base")]
    capsys.readouterr()
    assert main(["drift", str(folders / "same-vectors"), *about, *both]) == 0
    moved = json.loads((folders / "out" / "drift.json").read_text())["moved"]
    said = capsys.readouterr().out
    for whose, name in (("new", "same"), ("reference", "reference")):
        own, other = (np.load(folders / f"{name}-{kind}" / "vectors.npy") for kind in ("vectors", "base"))
        assert abs(moved[whose]["mean"] - (own * other).sum(axis=1).mean()) < 1e-4 and moved[whose]["items"] == 40
        assert f"adapted, {whose}: " in said
    assert main(["drift", str(folders / "same-vectors"), *about, *both, "--least-cosine", "-1"]) == 0
    assert main(["drift", str(folders / "same-vectors"), *about, *both, "--least-cosine", "1"]) == 3
    assert "which is below 1" in capsys.readouterr().err
    assert json.loads((folders / "out" / "drift.json").read_text())["alarms"] == 1
    assert main(["drift", str(folders / "same-vectors"), *about, *both[2:]]) == 2
    assert main(["drift", str(folders / "same-vectors"), *about, "--base", str(folders / "same-vectors")]) != 0
    assert "embed one with the base" in capsys.readouterr().err


def test_queries_and_tags_are_compared_without_vectors(tmp_path, capsys):
    model = write_open_clip(tmp_path / "model", OPEN_CLIP["clip"])
    words = {0: ("red shirt", "Colour: Red"), 1: ("blue coat", "Colour: Blue")}
    answers = []
    for user in range(60):
        for day in range(6):
            text, wish = words[int(day >= 3)] if user % 3 else words[0]
            known = {"user": f"u{user}-{day}", "query": json.dumps({"text": text}), "understood": [wish]}
            answers.append(answer(f"{user}-{day}", ts=START + datetime.timedelta(days=day), **known))
    ahead = START + datetime.timedelta(days=36525)
    answers.append(answer("ahead", ts=ahead, user="ahead", query=None, understood=[]))
    log = write_log(tmp_path / "logs", [], answers)
    out = tmp_path / "out"
    tags = {}
    for name, share in (("old", 4), ("new", 2)):
        rows = [f"{name}{n},{name}{n},{'Red' if n % share else 'Blue'},0.9,sure" for n in range(80)]
        tags[name] = tmp_path / f"{name}.csv"
        tags[name].write_text("\n".join(["id,product,Colour,Colour probability,Colour state", *rows]) + "\n")
    typed = ["drift", "--queries", str(log), "--since", "2026-03-04", "--out", str(out)]
    assert main([*typed, "--model", f"local-dir:{model}", "--tags", str(tags["new"]),
                 "--tags-reference", str(tags["old"])]) == 3  # fmt: skip
    assert "1 answer(s) left out: from the future: a clock is wrong" in (said := capsys.readouterr()).err
    assert "3 parts drifted" in said.err and "the most: wished for: Colour: " in said.out
    document = json.loads((out / "drift.json").read_text())
    assert document["alarms"] == 3 and {one["level"] for one in document["rates"]} == {0.05 / 3}
    assert {one["of"] for one in document["drifts"]} == {"queries"}
    page = (out / "drift.html").read_text(encoding="utf-8")
    assert "<li>blue coat</li>" in page and "Words of queries" in page and "What queries are for" in page
    text = (out / "drift.prom").read_text()
    assert 'clipadapt_rate_alarm{of="tags",attribute="Colour",value="Red",window="all"} 1' in text
    assert main(typed) == 3 and "Words of queries" not in (out / "drift.html").read_text(encoding="utf-8")
    typed[typed.index("2026-03-04")] = "2026-03-02"
    assert main([*typed, "--difference", "0.9"]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "nothing to compare"),
        (["--queries", "logs"], "name --since DAY"),
        (["--since", "2030-03-04"], "are about --queries"),
        (["--tags", "new.csv"], "belong together"),
        (["vectors"], "belong together"),
        (["--tags", "a.csv", "--tags-reference", "b.csv", "--base", "c"], "--base needs VECTORS"),
        (["vectors", "--reference", "old", "--least-cosine", "0.9"], "--least-cosine 0.9"),
        (["--queries", "logs", "--since", "yesterday"], "--since yesterday"),
    ],
)
def test_flags_that_need_others(flags, message, capsys):
    assert main(["drift", *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_level_that_is_none(tmp_path, capsys):
    assert main(["drift", str(tmp_path), "--reference", str(tmp_path), "--level", "5"]) == 2
    assert "--level 5.0" in capsys.readouterr().err
    assert main(["drift", str(tmp_path / "a"), "--reference", str(tmp_path / "b")]) == 1
    assert "holds no vectors" in capsys.readouterr().err
