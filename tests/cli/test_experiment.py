"""clipadapt experiment, as typed."""

import datetime
import json
from pathlib import Path

import event_logs as logs
import pytest

from clipadapt.cli import main

START = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)


def written(folder: Path, rates: tuple[float, float], share: float = 0.5) -> str:
    return str(logs.write_log(folder / "logs", logs.simulated(500, rates, share=share, start=START)))


@pytest.mark.parametrize(
    ("rates", "share", "code", "words"),
    [
        ((0.1, 0.2), 0.5, 0, "The candidate is better."),
        ((0.1, 0.1), 0.5, 0, "Unclear."),
        ((0.2, 0.1), 0.5, 3, "The candidate is worse."),
        ((0.1, 0.2), 0.3, 3, "Nothing can be concluded"),
    ],
)
def test_it_ends_with_3_where_the_candidate_is_worse_or_users_are_missing(tmp_path, capsys, rates, share, code, words):
    (tmp_path / "flag.yaml").write_text("{share: 50%, salt: autumn}")
    log = written(tmp_path, rates, share)
    with (Path(log) / "events-20300301T000000000-aaaaaa.jsonl").open("ab") as part:
        part.write(b'broken\n{"half')
    out = tmp_path / "out"
    assert main(["experiment", log, "--flag", str(tmp_path / "flag.yaml"), "--out", str(out)]) == code
    text = capsys.readouterr()
    assert words in (text.err if code else text.out) and "1 line(s) left out: no JSON" in text.err
    assert words in json.loads((out / "experiment.json").read_text())["sentence"]
    assert words in (out / "experiment.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--share", "50"], "--share 50: could mean 50%"),
        (["--share", "0%"], "--share 0%: has to be above 0"),
        (["--lift", "much"], "--lift much: write it as 5%"),
        (["--since", "yesterday"], "--since yesterday: write a day"),
        (["--level", "5"], "--level 5.0"),
        (["--share", "5%", "--flag", "flag.yaml"], "give one of them"),
        (["--since", "2029-01-01"], "has no events"),
        (["--candidate", "000009"], "of release 000009; there are 000005"),
    ],
)
def test_what_was_typed_wrong(tmp_path, capsys, options, fault):
    assert main(["experiment", written(tmp_path, (0.1, 0.1)), *options]) == 2
    assert fault in capsys.readouterr().err


def test_without_a_share_it_says_what_was_not_checked(tmp_path, capsys):
    assert main(["experiment", written(tmp_path, (0.1, 0.1))]) == 0
    assert "was not checked" in capsys.readouterr().err
