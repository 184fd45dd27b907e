"""From a catalogue to the page, and from its answers to figures."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from audit_marks import data_of, exported
from data_factory import write_table

from clipadapt.audit.answers import Answers
from clipadapt.audit.label_error import LabelError
from clipadapt.audit.run import finish, start
from clipadapt.config import Config
from clipadapt.errors import CatalogueError, ConfigError
from clipadapt.inputs import Inputs, resolve
from clipadapt.launch import warn_of_labels
from clipadapt.recognition.vectors import VectorCache

ATTRIBUTES = ["baseColour", "Pattern"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def inputs(shop: Path) -> Inputs:
    return resolve(source=str(shop), attributes=ATTRIBUTES)


def test_the_page_holds_the_sample_and_asks_no_one(inputs, tmp_path):
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=0.2, seed=1)
    text, data = begun.page.read_text(encoding="utf-8"), data_of(begun.page)
    cards = [card for group in data["groups"] for card in group["cards"]]
    assert [card["n"] for card in cards] == list(range(len(begun.sample.labels)))
    train = inputs.items("train")
    row = {item: at for at, item in enumerate(train.ids)}
    for group in data["groups"]:
        assert all(train.row(row[card["id"]])[group["attribute"]] == group["value"] for card in group["cards"])
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text) and "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert str(Path(train.source).parent) not in text
    assert "need --model" in begun.twin_sentence


def test_answers_become_figures_and_files(inputs, good, tmp_path):
    out = tmp_path / "audit"
    begun = start(inputs, "train", good, VectorCache(), out, share=1.0, seed=0)
    assert "19 of 20 pictures" in begun.twin_sentence
    chosen = begun.sample.labels
    blue = [place for place, at in enumerate(chosen) if begun.labels.strata[begun.labels.stratum[at]].value == "Blue"]
    marks = dict.fromkeys(range(len(chosen)), "right") | dict.fromkeys(blue, "wrong")
    (tmp_path / "answers.json").write_text(json.dumps(exported(begun.page, marks)))
    answers = Answers.load(tmp_path / "answers.json")
    done = finish(inputs, answers, tmp_path / "answers.json", good, VectorCache(), out)
    error = {(one.attribute, one.value): one.error for one in done.estimates}
    blues, pattern = error["baseColour", "Blue"], error["Pattern", None]
    assert blues is not None and blues.mean == 1.0 and pattern is not None and pattern.mean == 0.0
    assert f"{len(blue)} of the {len(chosen)} that were looked at, in 4 minutes" in done.sentence
    with (out / "suspects.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert done.suspects is not None and len(listed) == len(done.suspects.suspects)
    assert all(one["marked"] in ("right", "wrong") for one in listed)
    kept = LabelError.load(out / "label_error.json")
    assert kept.about["fingerprint"] == inputs.items("train").fingerprint
    assert [row["error"] for row in kept.rows if row["value"] == "Blue"] == [1.0]
    assert "<h2>Labels that are likeliest to be wrong</h2>" in (out / "result.html").read_text(encoding="utf-8")
    warning = kept.warning(inputs.items("train"), 0.05)
    assert "baseColour" in warning and "Pattern" not in warning and "changed" not in warning
    assert "before the catalogue changed" in kept.warning(inputs.items("validation"), 0.05)
    assert kept.warning(inputs.items("train"), 0.9) == ""


def test_answers_of_another_catalogue_are_refused(inputs, tmp_path):
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=0.1, seed=0)
    document = exported(begun.page, {0: "right"})
    for changed in ({"split": "validation"}, {"seed": 5}, {"share": 0.5}, {"attributes": ["Pattern"]}):
        answers = Answers.model_validate(document | changed)
        with pytest.raises(ConfigError, match="answers of another catalogue"):
            finish(inputs, answers, Path("a.json"), None, VectorCache(), tmp_path / "audit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"marks": {"0": "maybe"}}, "marks"),
        ({"marks": {"99999": "right"}}, "marks label 99999"),
        ({"audit": None}, "audit"),
        ({"shar": 0.1}, "shar"),
    ],
)
def test_a_file_that_the_page_did_not_write_is_refused(inputs, tmp_path, change, message):
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=0.1, seed=0)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(exported(begun.page, {}) | change))
    with pytest.raises(ConfigError, match=message):
        Answers.load(file)
    file.write_text("{half")
    with pytest.raises(ConfigError, match="not the answers of an audit page"):
        Answers.load(file)
    file.write_text("[]")
    with pytest.raises(ConfigError, match="not the answers"):
        Answers.load(file)
    with pytest.raises(ConfigError, match=r"label_error\.json"):
        LabelError.load(file)


def test_hostile_cells_stay_text(tmp_path):
    bad = "</script><script>alert(1)</script>"
    rows = [
        {"file_name": f"{n}.png", "id": f"{n}<b>", "Pattern": bad if n else "Plain", "product": f"p{n}"}
        for n in range(4)
    ]
    write_table(tmp_path / "shop" / "train", rows)
    (tmp_path / "shop/train/2.png").write_bytes(b"broken")
    inputs = resolve(source=str(tmp_path / "shop"), attributes=["Pattern"])
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=1.0, seed=0)
    text = begun.page.read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text and data_of(begun.page)["groups"][0]["value"] == bad
    cards = {card["id"]: card["picture"] for group in data_of(begun.page)["groups"] for card in group["cards"]}
    assert cards["2<b>"] is None and cards["1<b>"] is not None
    answers = Answers.model_validate(exported(begun.page, dict.fromkeys(range(4), "wrong")))
    finish(inputs, answers, Path("a.json"), None, VectorCache(), tmp_path / "audit")
    result = (tmp_path / "audit/result.html").read_text(encoding="utf-8")
    assert "<script" not in result and "&lt;/script&gt;" in result


def test_a_split_without_the_attributes(inputs, tmp_path):
    with pytest.raises(CatalogueError, match="nowhere"):
        start(inputs.about(["baseColour"]), "nowhere", None, VectorCache(), tmp_path, share=0.1, seed=0)


KEYS = """
<script>
const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
press("w"); press("r"); press("u"); press("ArrowLeft"); press("ArrowLeft"); press("w"); press("Enter");
const after = state.group; press("Backspace");
document.title = JSON.stringify({ out: answers(), after, back: state.group, shown: $("count").textContent,
  kept: JSON.parse(localStorage.getItem(store)).marks });
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_keys_mark_and_the_export_is_read_back(inputs, tmp_path):
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=0.5, seed=0)
    page = tmp_path / "pressed.html"
    page.write_text(begun.page.read_text(encoding="utf-8").replace("</body>", KEYS), encoding="utf-8")
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(CHROMIUM), *arguments, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    found = re.search(r"<title>(\{.*?\})</title>", done.stdout)
    assert found is not None, done.stderr
    seen = json.loads(found.group(1).replace("&quot;", '"').replace("&amp;", "&"))
    size = len(data_of(page)["groups"][0]["cards"])
    # W, R and U on the first three, two steps back from the fourth, W on the second; the rest of the page is right.
    assert seen["kept"] == {"0": "wrong", "1": "wrong", "2": "unclear"} | {str(n): "right" for n in range(3, size)}
    assert (seen["after"], seen["back"]) == (1, 0)
    assert seen["shown"] == f"{size} of {len(begun.sample.labels)}"
    answers = Answers.model_validate(seen["out"])
    assert len(answers.marks) == size
    finish(inputs, answers, page, None, VectorCache(), tmp_path / "audit")


def test_training_warns_with_the_figure(shop, inputs, tmp_path, caplog):
    begun = start(inputs, "train", None, VectorCache(), tmp_path / "audit", share=1.0, seed=0)
    marks = {place: "wrong" if place % 5 == 0 else "right" for place in range(len(begun.sample.labels))}
    finish(inputs, Answers.model_validate(exported(begun.page, marks)), Path("a"), None, VectorCache(), tmp_path)
    plain = {"name": "c", "output_dir": "runs/c", "prompts": "p.yaml"}
    data = {"source": str(shop), "attributes": ATTRIBUTES, "label_audit": str(tmp_path / "label_error.json")}
    config = Config.model_validate(plain | {"data": data})
    warn_of_labels(config, resolve(config=config))
    assert "label error is above data.label_error 5%: all attributes 2" in caplog.text
    caplog.clear()
    for quiet in ({"label_error": 0.5}, {"label_audit": None}):
        calm = Config.model_validate(plain | {"data": data | quiet})
        warn_of_labels(calm, resolve(config=calm))
    assert not caplog.text
    lost = Config.model_validate(plain | {"data": data | {"label_audit": "nowhere.json"}})
    with pytest.raises(ConfigError, match="nowhere"):
        warn_of_labels(lost, resolve(config=lost))
