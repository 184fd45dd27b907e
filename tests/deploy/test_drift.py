"""Reports of drift."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from clipadapt.deploy.drift import cells as cells_module
from clipadapt.deploy.drift.cells import cells
from clipadapt.deploy.drift.findings import Findings
from clipadapt.deploy.drift.measure import measure
from clipadapt.deploy.drift.report import as_json, as_page, as_prometheus
from clipadapt.errors import CatalogueError, SpaceError, UsageError
from clipadapt.search.items import Items
from clipadapt.search.vectors import Vectors

START = "2026-03-02"  # a Monday


def vectors(rows: list[dict[str, Any]], shift: float = 0.0, seed: int = 0, space: str = "s") -> Vectors:
    """A vector a row, moved by `shift` where the row says strange."""
    rng = np.random.default_rng(seed)
    made = rng.normal(0, 1, (len(rows), 6))
    made[:, 0] += [shift if row.get("strange") else 0.0 for row in rows]
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    names = list(dict.fromkeys(name for row in rows for name in row if name != "strange"))
    table = pa.table({name: pa.array([row.get(name, "") for row in rows], pa.string()) for name in names})
    return Vectors(made.astype(np.float32), Items.of(table, {}), space, None)


def rows(count: int, prefix: str, **cells: Any) -> list[dict[str, Any]]:
    return [{"id": f"{prefix}{n}", "product": f"{prefix}{n // 2}", **cells} for n in range(count)]


def reference() -> Vectors:
    return vectors([*rows(80, "r", kind="shirt"), *rows(80, "s", kind="coat")], seed=1)


def new(strange: bool) -> list[dict[str, Any]]:
    return [
        *rows(40, "a", kind="shirt", captured=START),
        *rows(40, "b", kind="shirt", captured="2026-03-10", strange=strange),
        *rows(40, "c", kind="coat", captured="2026-03-11"),
    ]


def test_the_window_that_drifted_alarms_and_its_items_come_first():
    report = measure(reference(), vectors(new(True), shift=6.0, seed=2), segment="kind", time="captured")
    drifted = report.drifts[0]
    assert (drifted.segment, drifted.window, drifted.alarm) == ("shirt", "2026-W11", True)
    calm_ones = {(one.segment, one.window) for one in report.drifts if not one.alarm}
    assert calm_ones == {("coat", "2026-W11"), ("shirt", "2026-W10")} and len(report.drifts) == 3
    assert drifted.products == 20 and drifted.items == 40 and drifted.reference_products == 40
    assert drifted.p_corrected <= 0.05 and drifted.effect > 0.1
    assert drifted.strangest and all(item.startswith("b") for item in drifted.strangest)
    assert report.sentence().startswith("1 of 3 window(s) of 2 segment(s) drifted; the most: shirt, 2026-W11")
    calm = measure(reference(), vectors(new(False), seed=2), segment="kind", time="captured")
    assert not calm.alarmed and calm.sentence().startswith("No drift in 3 window(s)")


def test_a_drift_too_small_to_matter_wakes_no_one():
    live = vectors(new(True), shift=6.0, seed=2)
    columns: dict[str, Any] = {"segment": "kind", "time": "captured"}
    report = measure(reference(), live, **columns, least_effect=10.0, least_cluster=1.0)
    assert min(one.p_corrected for one in report.drifts) <= 0.05 and not report.alarmed


def test_a_cluster_alarms_by_itself():
    old = vectors(rows(640, "r"), seed=1)
    arrived = vectors([*rows(144, "a"), *rows(16, "b", strange="yes")], shift=30.0, seed=2)
    found = measure(old, arrived, least_effect=10.0)
    (drift,) = found.alarmed
    assert 0.02 < drift.cluster < 0.1 and drift.effect < 10  # the places of eight products hold others, too
    assert not measure(old, arrived, least_effect=10.0, least_cluster=0.1).alarmed


def test_a_least_effect_refuses_what_is_sure_and_small_for_chance_alone_makes_no_cluster():
    old, arrived = vectors(rows(2000, "r"), seed=1), vectors(rows(2000, "a", strange="yes"), shift=0.15, seed=2)
    (drift,) = measure(old, arrived, least_effect=0.005, permutations=199).drifts
    assert drift.p_corrected <= 0.05 and drift.effect < 0.004 and drift.cluster < 0.01 and not drift.alarm
    assert measure(old, arrived, permutations=199).alarmed


def test_the_most_drifted_by_what_the_verdict_uses_comes_first():
    """A place of few new products moves the mean of all less than another camera does, and may be the surer sign."""
    old = vectors([*rows(640, "r", kind="shirt"), *rows(640, "s", kind="coat")], seed=1)
    shirts = vectors([*rows(144, "a", kind="shirt"), *rows(16, "b", kind="shirt", strange="yes")], shift=30.0, seed=2)
    coats = vectors(rows(160, "c", kind="coat", strange="yes"), shift=0.4, seed=3)
    both = pa.concat_tables([shirts.items.table, coats.items.table], promote_options="default")
    live = Vectors(np.concatenate([shirts.vectors, coats.vectors]), Items.of(both, {}), "s", None)
    first, second = measure(old, live, segment="kind").drifts
    assert first.alarm and second.alarm and first.score > second.score and first.p_corrected <= second.p_corrected
    assert (first.segment, second.segment) == ("shirt", "coat") and first.effect < second.effect
    assert "the most: shirt, all" in measure(old, live, segment="kind").sentence()


def test_months_days_and_no_columns():
    live = vectors(new(False), seed=2)
    months = measure(reference(), live, time="captured", window="month")
    assert [(one.segment, one.window, one.products) for one in months.drifts] == [("all", "2026-03", 60)]
    days = measure(reference(), live, time="captured", window="day")
    assert sorted(one.window for one in days.drifts) == ["2026-03-02", "2026-03-10", "2026-03-11"]
    assert [one.window for one in measure(reference(), live).drifts] == ["all"]


def test_no_product_is_in_two_samples_and_what_is_left_out_is_counted(monkeypatch):
    live = [
        *rows(20, "a", kind="shirt", captured=START),
        {"id": "late", "product": "a0", "kind": "shirt", "captured": "2026-03-20"},
        {"id": "other", "product": "a1", "kind": "coat", "captured": START},
        {"id": "again", "product": "r0", "kind": "shirt", "captured": START},
        {"id": "hat", "product": "h", "kind": "hat", "captured": START},
    ]
    found = cells(reference(), vectors(live), segment="kind", time="captured", window="week")
    assert [(one.segment, one.window, len(one.rows)) for one in found.live] == [("shirt", "2026-W10", 21)]
    assert len(found.reference["shirt"]) == 78
    for words in ("1 new item(s) left out: their product came in an earlier week", "in another segment",
                  "2 item(s) of the reference left out", "segment 'hat': 1 new item(s), and none"):  # fmt: skip
        assert any(words in note for note in found.notes)
    monkeypatch.setattr(cells_module, "MOST", 10)
    limited = cells(reference(), vectors(live), segment="kind", time="captured", window="week")
    assert len(limited.reference["coat"]) == 20 and any("10 of 40 products" in note for note in limited.notes)


def test_segments_of_few_products_are_said_and_not_compared():
    live = [*rows(20, "a", kind="shirt"), *rows(2, "c", kind="coat")]
    report = measure(reference(), vectors(live), segment="kind")
    assert [one.segment for one in report.drifts] == ["shirt"]
    assert any("coat, all: fewer than 5 products" in note for note in report.notes)
    with pytest.raises(UsageError, match="nothing can be compared"):
        measure(reference(), vectors(rows(2, "c", kind="coat")), segment="kind")


def test_bad_input_is_named():
    live = vectors(new(False))
    with pytest.raises(SpaceError, match="image_space"):
        measure(reference(), vectors(new(False), space="other"))
    with pytest.raises(CatalogueError, match=r"no column 'kinds'.*did you mean 'kind'"):
        measure(reference(), live, segment="kinds")
    with pytest.raises(CatalogueError, match="reference items have no column 'captured'"):
        measure(reference(), live, segment="captured")
    bad = [*rows(20, "a", captured=START), {"id": "x7", "product": "x", "captured": "02/03/2026"}]
    with pytest.raises(CatalogueError, match=r"item 'x7': captured is '02/03/2026'"):
        measure(reference(), vectors(bad), time="captured")
    with pytest.raises(UsageError, match="permutations cannot show"):
        measure(reference(), live, level=0.01, permutations=19)


def test_reports_are_written_in_every_form():
    live = vectors(new(True), shift=6.0, seed=2)
    report = measure(reference(), live, segment="kind", time="captured")
    found = Findings(0.05, report)
    document = json.loads(as_json(found))
    assert document["alarms"] == 1 and [one["of"] for one in document["drifts"]] == ["items"] * 3
    assert document["sentences"] == [f"items: {report.sentence()}"]
    text = as_prometheus(found)
    assert 'clipadapt_drift_alarm{of="items",segment="shirt",window="2026-W11"} 1\n' in text
    assert text.count("# TYPE ") == 5 and text.endswith("clipadapt_drift_alarms 1\n")
    odd = report._replace(drifts=(report.drifts[0]._replace(segment='a"b\\c\n<script>', alarm=True),))
    assert 'segment="a\\"b\\\\c\\n<script>",' in as_prometheus(found._replace(items=odd))
    page = as_page(found._replace(items=odd), None)
    assert "<script" not in page and "&lt;script&gt;" in page and "http" not in page
    assert 'class="bad">▲ drifted' in as_page(found, None)
