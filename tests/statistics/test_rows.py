import json

import pytest

from clipadapt.errors import ConfigError
from clipadapt.statistics.rows import Row, interval_text, metric_label, points, select

PAIRED = {"against", "delta", "delta_low", "delta_high", "p", "minimum_detectable"}
PLAIN = {"task", "attribute", "value", "bin", "metric", "k", "system", "split", "n", "products", "mean", "low", "high"}


def test_a_lone_row_has_no_keys_of_comparisons(row):
    assert set(row().to_json()) == PLAIN


def test_a_comparison_has_all_of_them(compared):
    assert set(compared(0.1, 0.05, 0.2, 0.01)[0].to_json()) == PLAIN | PAIRED


def test_round_trip_through_json(compared):
    for one in compared(0.1, 0.05, 0.2, 0.01):
        assert Row.from_json(json.loads(json.dumps(one.to_json()))) == one


@pytest.mark.parametrize("change", [{"extra": 1}, {"mean": ...}])
def test_another_form_is_refused(row, change):
    document = {key: value for key, value in (row().to_json() | change).items() if value is not ...}
    with pytest.raises(ConfigError, match="measure again"):
        Row.from_json(document)


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.01, 0.2, 0.01, "better"),
        (-0.2, -0.01, 0.01, "worse"),
        (-0.1, 0.2, 0.01, "unclear"),
        (0.01, 0.2, 0.05, "unclear"),
        (None, None, 0.01, "unclear"),
    ],
)
def test_a_verdict_needs_interval_and_p(compared, low, high, p, verdict):
    assert compared(0.1, low, high, p)[0].verdict() == verdict


def test_a_lone_row_has_no_verdict(row):
    with pytest.raises(ValueError, match="compares nothing"):
        row().verdict()


def test_figures_are_printed_as_percent_points():
    assert points(0.1234) == "12.3"
    assert points(-0.0512, signed=True) == "−5.1"
    assert points(0.05, signed=True) == "+5.0"
    assert points(-0.00001, signed=True) == "0.0"
    assert points(None) == points(float("nan")) == "–"
    assert interval_text(0.1, 0.2) == "[10.0, 20.0]"
    assert interval_text(None, 0.2) == "no interval"
    assert metric_label("precision", 5) == "P@5"
    assert metric_label("something_new") == "something new"


def test_select_and_segment(row):
    rows = [row(), row(task="recognition@gender=Men"), row(value="Striped")]
    assert select(rows, task="recognition", value=None) == rows[:1]
    assert [one.segment for one in rows] == [None, "gender=Men", None]
