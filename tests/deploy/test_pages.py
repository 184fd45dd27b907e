"""The pages that people read before and after a release, in a browser: wide and on a phone, light and dark."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_marks import exported, labels_of
from data_factory import write_catalogue
from event_logs import answer, mirror, simulated, write_log
from pages import MARKS, PHONE, WIDE, serious_faults, shot, sideways
from runs_factory import write_gate, write_run

from clipadapt.audit.answers import Answers
from clipadapt.audit.run import finish, start
from clipadapt.cli import main
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.metadata import Metadata
from clipadapt.deploy.drift.findings import Findings
from clipadapt.deploy.drift.measure import measure
from clipadapt.deploy.drift.rates import REFERENCE, Observed, compare
from clipadapt.deploy.drift.report import as_page
from clipadapt.deploy.gallery.fragment import fragment, page
from clipadapt.deploy.gallery.structured import Card
from clipadapt.inputs import resolve
from clipadapt.recognition.vectors import VectorCache
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

pytestmark = MARKS
PAGES = ("audit", "result", "drift", "shadow", "experiment", "evidence", "captions")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A folder with every page, NAME.html."""
    root = tmp_path_factory.mktemp("pages")
    shop = write_catalogue(root / "shop", items=60)
    audit(shop, root)
    (root / "drift.html").write_text(drift(shop), encoding="utf-8")
    (root / "captions.html").write_text(captions(root / "shop"), encoding="utf-8")
    answers = [make(str(n), user=f"u{n}", items=["0001", "0002"]) for n in range(200) for make in (answer, mirror)]
    write_log(root / "logs", simulated(300, (0.2, 0.3), start=datetime(2026, 3, 1, tzinfo=UTC)), answers)
    write_run(root / "run", base, source=str(shop))
    releases, gate = str(root / "releases"), str(write_gate(root))
    assert main(["release", "create", releases, str(root / "run"), "--gate", gate, "--promote"]) == 0
    beside = ["--label-audit", str(root / "audit" / "label_error.json")]
    for verb, arguments in (
        ("shadow", [str(root / "logs"), "--source", str(shop)]),
        ("experiment", [str(root / "logs"), "--share", "50%"]),
        ("evidence", [releases, *beside]),
    ):
        assert main([verb, *arguments, "--out", str(root / verb)]) in (0, 3)
        (root / verb / f"{verb}.html").rename(root / f"{verb}.html")
    return root


def audit(shop: Path, root: Path) -> None:
    inputs = resolve(source=str(shop), attributes=["baseColour", "Pattern"])
    begun = start(inputs, "train", None, VectorCache(), root / "audit", share=1.0, seed=0)
    marks = {place: "wrong" if place % 5 == 0 else "right" for place in range(labels_of(begun.page))}
    given = Answers.model_validate(exported(begun.page, marks))
    finish(inputs, given, Path("answers.json"), None, VectorCache(), root / "audit")
    begun.page.rename(root / "audit.html")
    (root / "audit" / "result.html").rename(root / "result.html")


def drift(shop: Path) -> str:
    catalogue = Catalogue.load(shop, "train")
    rng = np.random.default_rng(0)
    halves = []
    for rows, shift in ((range(20), 0.0), (range(20, 40), 3.0)):
        points = rng.standard_normal((20, 8)).astype(np.float32)
        points[:, 0] += shift
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        halves.append(Vectors(points, Items.of(catalogue.subset(list(rows)).table(), {}), "space", None))
    report = measure(halves[0], halves[1])
    words = measure(*(half._replace(items=half.items) for half in halves))
    has = [frozenset({"Pattern: Striped"} if row < 30 else {"Pattern: Dotted", "nothing found"}) for row in range(60)]
    samples = np.repeat([REFERENCE, "2026-W14"], 30)
    rates = compare(Observed(np.arange(60).astype(str), samples, {"wished for": has}), of="queries", level=0.05)
    assert report.alarmed and rates.alarmed
    return as_page(Findings(0.05, report, words, (rates,)), catalogue)


def captions(shop: Path) -> str:
    about = Metadata("CC0-1.0", "Shop Ltd", "Ann", "2026-03-31")
    pictures = sorted((shop / "train").glob("*.png"))[:6]
    cards = [
        Card(one.stem, one.stem, "", "a red shirt", "A red shirt", {"baseColour": "Red"}, about,
             f"shop/train/{one.name}", (32, 32))
        for one in pictures
    ]  # fmt: skip
    return page([fragment(card, language="en") for card in cards], language="en", items=90, source="shop, train")


@pytest.fixture
def opened(browser: Any, made: Path) -> Callable[..., Any]:
    def open_(name: str, **options: Any) -> Any:
        tab = browser.new_context(reduced_motion="reduce", **options).new_page()
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        local = ("file:", "data:", "blob:")
        tab.on("request", lambda asked: None if asked.url.startswith(local) else faults.append(asked.url))
        tab.goto((made / f"{name}.html").as_uri())
        assert faults == []
        return tab

    return open_


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("window", [WIDE, PHONE], ids=["wide", "phone"])
def test_everybody_can_read_it(opened: Callable[..., Any], name: str, colours: str, window: dict[str, int]) -> None:
    tab = opened(name, viewport=window, color_scheme=colours)
    shot(tab, f"{name}-{colours}-{window['width']}")
    assert tab.locator("h1").count() == 1 and tab.evaluate("document.documentElement.lang") == "en"
    assert sideways(tab) == 0
    assert serious_faults(tab) == []
    broken = tab.eval_on_selector_all("img", "all => all.filter(one => one.complete && !one.naturalWidth).length")
    assert broken == 0
    tab.context.close()


@pytest.mark.parametrize("name", ["drift", "shadow", "experiment"])
def test_a_phone_shows_the_first_figure_of_every_table(opened: Callable[..., Any], name: str) -> None:
    tab = opened(name, viewport=PHONE)
    ends = tab.evaluate(
        "[...document.querySelectorAll('table')].map(one => one.querySelector('td.n')).filter(one => one)"
        ".map(one => one.getBoundingClientRect().right)"
    )
    assert ends and max(ends) <= PHONE["width"]
    tab.context.close()
