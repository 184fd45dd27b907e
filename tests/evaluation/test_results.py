import dataclasses
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from clipadapt.cli.console import stdout_console
from clipadapt.errors import ConfigError
from clipadapt.evaluation.details import Advice, Answer, Confusion, Details, Example, Missing, Reliability, Training
from clipadapt.evaluation.report import page as page_module
from clipadapt.evaluation.report.summary import findings, plain_sentence, retention
from clipadapt.evaluation.results import Results

EVIL = '<script>alert("x")</script>|*'
SORT = Path(page_module.__file__).with_name("sort.js")
VOID = {"meta", "img", "br", "rect", "path", "circle", "text"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.fetched += [value for name, value in attrs if value and name in ("src", "href", "srcset", "action")]
        assert tag not in ("link", "iframe", "object")
        assert tag != "script" or not attrs
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def results(record, compared) -> Results:
    quoted = {"task": "headline", "attribute": None}
    rows = [
        *compared(0.2, 0.1, 0.3, 0.001, **quoted),
        *compared(0.1, -0.1, 0.3, 0.3, metric="rare_balanced_accuracy", bin="rare", **quoted),
        *compared(0.2, 0.1, 0.3, 0.01, attribute=EVIL),
        *compared(-0.2, -0.3, -0.1, 0.01, attribute="Neck"),
        *compared(0.1, -0.1, 0.3, 0.3, attribute="Neck", value=EVIL, metric="recall"),
        *compared(0.0, -0.005, 0.005, 0.9, task="retention:clothing", attribute="articleType"),
    ]
    truth, base = np.repeat([0, 1], [4, 6]), np.repeat([0, 1, 0, 1], [3, 1, 2, 4])
    adapted = np.repeat([0, 1, 0, 1], [3, 1, 1, 5])
    details = Details(
        confusions=(Confusion("Neck", (EVIL, "Round"), truth, {"base": base, "adapted": adapted}),),
        reliability=(Reliability("Neck", "base", 0.1, None, 0.2, np.array([0.4]), np.array([0.5]), np.array([7])),),
        examples=(
            Example("win", "Neck", EVIL, EVIL, {"base": 0.1, "adapted": 0.9}, {"base": (Answer(EVIL, True, b"x"),)}),
        ),
        example_rule="By rule.",
        missing=(Missing("Neck", 3, 4, (EVIL,)),),
        broken=(f"item {EVIL}",),
        train_counts={"Neck": {EVIL: 7}},
        margins={"clothing": 0.01},
        notes=("nothing here",),
    )
    return Results(record, tuple(rows), details)


def test_the_page_is_whole_and_asks_for_nothing(results, tmp_path: Path):
    text = (results.save(tmp_path / "report") / "report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert all(address.startswith(("data:image/jpeg;base64,", "#")) for address in page.fetched)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script>alert" not in text
    assert re.findall("<script>.*?</script>", text, re.DOTALL) == [f"<script>{SORT.read_text().rstrip()}</script>"]
    assert EVIL in "".join(page.words)
    assert 'name="viewport"' in text


def test_the_markdown_keeps_names_from_becoming_markup(results, tmp_path: Path):
    text = (results.save(tmp_path) / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace("\\<script>", "")
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("| ")]
    for heading, *body in [rows]:
        assert all(line.count("|") == heading.count("|") for line in body)
    assert "Retention on clothing: **held**" in text
    assert "**Got worse**\n\n- Neck: balanced accuracy" in text


def test_what_is_said_first(results):
    verdicts = {finding.subject: finding.verdict for finding in findings(results.rows)}
    assert verdicts["Balanced accuracy"] == "better"
    assert verdicts["Balanced accuracy of rare values"] == "unclear"
    assert verdicts["Neck: balanced accuracy"] == "worse"
    unsure = next(one for one in findings(results.rows) if one.subject.endswith("rare values"))
    assert (
        unsure.sentence
        == "40.0 → 50.0, +10.0 points [−10.0, +30.0], p 0.30, 40 items; less than 10.0 points could not have been seen"
    )


def test_tasks_of_no_one_attribute_are_said_too(compared):
    named = {"attribute": None, "metric": "average_precision"}
    rows = [
        *compared(-0.2, -0.3, -0.1, 0.01, task="text_to_image_name", **named),
        *compared(0.2, 0.1, 0.3, 0.01, task="headline", **named),
    ]
    assert [(one.subject, one.verdict) for one in findings(rows)] == [
        ("mAP", "better"), ("Search by product name: mAP", "worse"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.005, 0.02, "held"), (-0.03, -0.02, "lost"), (-0.03, 0.0, "unclear")]
)
def test_retention_is_held_against_its_margin(compared, low, high, verdict):
    rows = compared(0.0, low, high, 0.5, task="retention:clothing")
    assert [held.verdict for held in retention(rows, {"clothing": 0.01})] == [verdict]


def test_results_json_round_trip(results, tmp_path: Path):
    results.save(tmp_path)
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"schema_version", "config", "rows"}
    again = Results.load(tmp_path)
    assert again.rows == results.rows
    assert again.config == results.config
    assert Results.load(tmp_path / "results.json").headline("balanced_accuracy").delta == 0.2


def test_headline_that_was_not_measured(results):
    with pytest.raises(ConfigError, match="measured: balanced_accuracy, rare_balanced_accuracy"):
        results.headline("average_precision")


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 9, "config": {}, "rows": []}'])
def test_another_file_is_refused(tmp_path: Path, text: str):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ConfigError, match="measure again"):
        Results.load(tmp_path)


def printed(table, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("┃", "│").strip("│").split("│")]


def headings(text: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if "┃" in line]  # they all stand on one
    return cells(line)


def test_the_terminal_table(results, row):
    text = printed(results.table(), 140)
    assert "held" in text
    assert "better" in text
    alone = Results(results.config, (row(system="model", task="headline", attribute=None),))
    assert "[40.0, 60.0]" in printed(alone.table(), 140)
    assert printed(results.table(160), 160) == printed(results.table(), 160)


@pytest.mark.parametrize("width", [72, 80, 110])
def test_a_narrow_terminal_keeps_every_word_and_figure_whole(results, width):
    text = printed(results.table(width), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(cells(line)[0] for line in lines)
    for subject in ("Balanced accuracy of rare values", "Neck: balanced accuracy"):
        assert subject in words
    assert "+20.0 [+10.0, +30.0]" in text
    assert "unclear" in text
    assert "…" not in text
    assert {"what", "adapted", "difference"} <= set(headings(text))
    left_out = " ".join(text[text.index("percent,") :].split())
    assert ("p, items: see the report" in left_out) == (width <= 80)


def test_the_smallest_table_leaves_out_what_can_be_worked_out(results, row):
    assert headings(printed(results.table(72), 72)) == ["what", "adapted", "difference", ""]
    alone = Results({}, tuple(row(system="model", attribute=name) for name in ("Neck", "Sleeve Length")))
    assert headings(printed(alone.table(58), 58)) == ["what", "figure", "interval", "items"]


def test_off_a_terminal_rows_stay_on_their_line(results, monkeypatch, capsys):
    """However narrow the environment says that a terminal would be."""
    monkeypatch.setenv("COLUMNS", "20")
    console = stdout_console()
    console.print(results.table(console.width))
    text = capsys.readouterr().out
    (rare,) = [cells(line) for line in text.splitlines() if "of rare values" in line]
    assert rare == [
        "Balanced accuracy of rare values", "40.0", "50.0", "+10.0 [−10.0, +30.0]", "0.30", "40", "unclear"
    ]  # fmt: skip
    assert headings(text) == ["what", "base", "adapted", "difference", "p", "items", ""]


def test_a_page_of_one_model(record, row, tmp_path: Path):
    rows = (row(system="model", task="headline", attribute=None), row(system="model"))
    alone = record | {"systems": {"model": {"model": "timm:x"}}}
    text = (Results(alone, rows).save(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "Improved" not in text
    assert "No probabilities" not in text


def moved(compared):
    """A headline that rose, and falls by value, in search and in calibration."""
    whole = {"attribute": None, "task": "headline"}
    return [
        *compared(0.2, 0.1, 0.3, 0.001, **whole),
        *compared(0.1, -0.1, 0.3, 0.3, metric="rare_balanced_accuracy", bin="rare", **whole),
        *compared(0.1, 0.05, 0.2, 0.01, attribute="Fabric"),
        *compared(-0.18, -0.3, -0.02, 0.03, attribute="Fabric", value="Cotton", metric="recall", n=1183),
        *compared(0.02, -0.1, 0.1, 0.6, attribute="Fabric", value="Silk", metric="recall"),
        *compared(-0.3, -0.4, -0.2, 0.001, task="text_to_image", attribute="colour", metric="average_precision"),
        *compared(0.05, 0.02, 0.08, 0.01, attribute="Fabric", metric="calibration_error"),
        *compared(-0.05, -0.08, -0.02, 0.01, attribute="colour", metric="calibration_error"),
    ]


def test_what_got_worse_is_named_by_value_in_search_and_in_calibration(compared):
    found = findings(moved(compared))
    assert [one.subject for one in found if one.verdict == "worse"] == [
        "colour: search by text, mAP", "Fabric Cotton: recall", "Fabric: calibration error",
    ], "by size; what is unclear of single values is not named"  # fmt: skip
    assert "1,183 items" in next(one for one in found if "Cotton" in one.subject).sentence
    assert [one.subject for one in found if one.verdict == "better"][-1] == "colour: calibration error"
    assert not [one for one in found if "Silk" in one.subject]


def test_one_sentence_says_what_came_out(compared, record):
    assert plain_sentence(record, moved(compared), {}) == (
        "On 60 pictures, adapted is better than base: balanced accuracy went from 30.0% to 50.0% (+20.0 points; with "
        "other pictures, likely between +10.0 and +30.0). For rare values it went from 40.0% to 50.0%, which may be "
        "chance. 3 figures got worse, most of all colour: search by text, mAP: 80.0% to 50.0%."
    )
    only = compared(0.0, -0.1, 0.1, 0.9, attribute=None, task="headline")
    assert "is not clearly better or worse than base" in plain_sentence(record, only, {})
    assert "Nothing that was measured got clearly worse." in plain_sentence(record, only, {})
    lost = [*only, *compared(-0.2, -0.3, -0.1, 0.5, task="retention:clothing")]
    assert "More than the margin was lost on clothing." in plain_sentence(record, lost, {"clothing": 0.01})
    assert plain_sentence(record, [], {}) == ""


def test_the_page_has_contents_a_difference_of_confusions_and_the_training(results, compared, tmp_path: Path):
    training = Training(
        ((0.5, 3.0), (1.0, 1.0)), "balanced_accuracy", {"balanced_accuracy": ((0.0, 0.1), (1.0, 0.4))}, 1, 9, 576, 130.0
    )
    tried = (Advice("train longer: train.epochs=4", "tune <still> rose"),)
    details = dataclasses.replace(results.details, training=training, advice=tried)
    rows = (*results.rows, *moved(compared))
    text = (Results(results.config, rows, details).save(tmp_path) / "report.html").read_text(encoding="utf-8")
    anchors = re.findall(r'<li><a href="#(\w+)">', text)
    assert {
        "headline", "confusions", "examples", "calibration", "training", "advice", "left_out", "everything",
    } <= set(anchors)  # fmt: skip
    assert "<li>train longer: train.epochs=4<br>" in text and "tune &lt;still&gt; rose" in text
    short = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "1. train longer: train.epochs=4 (tune" in short
    assert all(f'id="{anchor}"' in text for anchor in anchors)
    assert "adapted minus base, points" in text
    assert 'class="cell up' in text and 'class="cell down' in text
    assert "9 steps, 576 pictures in 2 minutes" in text
    assert "balanced accuracy on tune by epoch, in percent; the best is 40.0 after 1 epochs" in text
    assert text.index("Got worse") < text.index("Improved")
    assert "stated, %" in text and "right, %" in text


def test_a_difference_of_confusions_is_for_the_better_on_the_diagonal_alone(results):
    (block,) = [page_module._confusion(one, ["base", "adapted"]) for one in results.details.confusions]
    difference = block.tables[2]
    assert [[round(cell.share, 3) for cell in line.cells] for line in difference.lines] == [[0, 0], [-0.167, 0.167]]
    assert [cell.css for cell in difference.lines[1].cells] == ["up", "up"]
