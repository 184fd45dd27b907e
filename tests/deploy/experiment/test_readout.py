"""Figures of both arms, and the verdict."""

import datetime
import json

import event_logs as logs
import numpy as np
import pytest

from clipadapt.deploy.experiment.exposures import Exposures
from clipadapt.deploy.experiment.readout import Readout, measure
from clipadapt.deploy.experiment.report import as_json, as_page
from clipadapt.errors import UsageError

NOW = logs.START + datetime.timedelta(days=10)


def read_out(events: list[dict], **given) -> Readout:
    return measure(Exposures.of(logs.table(events), now=NOW), **given)


def test_the_figures_are_those_that_a_hand_counts():
    events = []
    for number in range(12):  # each user: two queries of two items; the second item of the first query is clicked
        make = logs.candidate if number % 2 else logs.event
        for query in range(2):
            for position in (1, 2):
                about = {"query_id": f"{number}-{query}", "item": str(position), "position": position}
                events.append(make(f"u{number}", **about))
                if query == 0 and position == 2 - (number % 4 == 1):
                    events.append(make(f"u{number}", "click", **about))
    found = {one.metric: one for one in read_out(events).figures}
    assert {name: one.current.mean for name, one in found.items()} == {
        "click_through": 0.25, "click_through_by_position": 0.25, "success": 0.5, "reciprocal_rank": 0.25,
    }  # fmt: skip
    assert found["reciprocal_rank"].candidate.mean == pytest.approx((3 * 1 + 3 * 0.5) / 12)
    assert found["success"].candidate.items == 12 and found["click_through"].candidate.items == 24
    assert found["click_through"].difference is None, "six users of an arm say too little"


def test_at_equal_positions_an_arm_that_shows_more_of_the_upper_ones_gains_nothing():
    rng = np.random.default_rng(0)
    events = []
    for number in range(1_500):
        make, depth = (logs.candidate, 2) if number % 2 else (logs.event, 6)
        for position in range(1, depth + 1):
            about = {"query_id": str(number), "item": str(position), "position": position}
            events.append(make(f"u{number}", **about))
            if rng.random() < 0.6 / position:
                events.append(make(f"u{number}", "click", **about))
    found = {one.metric: one.difference for one in read_out(events).figures}
    plain, equal = found["click_through"], found["click_through_by_position"]
    assert plain is not None and equal is not None
    assert plain.low > 0.1 and equal.low < 0 < equal.high and abs(equal.delta) < 0.03


@pytest.mark.parametrize(
    ("rates", "verdict", "words"),
    [
        ((0.1, 0.2), "better", "The candidate is better"),
        ((0.2, 0.1), "worse", "The candidate is worse"),
        ((0.1, 0.101), "unclear", "Unclear. A lift of 10% needs about"),
        ((0.0, 0.0), "unclear", "Too few of 600 users have clicked"),
    ],
)
def test_the_verdict(rates, verdict, words):
    found = read_out(logs.simulated(600, rates), share=0.5)
    assert found.verdict == verdict and words in found.sentence() and (found.mismatch_p or 0) > 0.9


def test_when_users_of_one_arm_are_missing_nothing_is_concluded():
    found = read_out(logs.simulated(800, (0.1, 0.3), share=0.35, days=1), share=0.5)
    assert found.verdict == "invalid" and "Nothing can be concluded" in found.sentence()
    assert "instead of 50.0%" in found.sentence()
    assert read_out(logs.simulated(800, (0.1, 0.3), share=0.35, days=1)).verdict == "better", "where no share is known"


def test_every_day_is_a_look_that_later_days_do_not_change():
    events = logs.simulated(400, (0.1, 0.15))
    whole = read_out(events)
    early = read_out([one for one in events if one["ts"] < logs.START + datetime.timedelta(days=1, hours=12)])
    assert [look.day.isoformat() for look in whole.looks] == ["2030-03-01", "2030-03-02", "2030-03-03"]
    assert whole.looks[:2] == early.looks
    assert whole.looks[-1].difference == whole.decisive.difference and whole.looks[0].users == 400
    widths = [look.difference.high - look.difference.low for look in whole.looks if look.difference]
    assert len(widths) == 3 and widths == sorted(widths, reverse=True)


def test_another_metric_may_decide():
    found = read_out(logs.simulated(600, (0.1, 0.2)), decides="success")
    assert found.decisive.metric == "success" and found.sentence().startswith("Queries with a click")


def test_the_reports_hold_what_was_measured():
    readout = read_out(logs.simulated(300, (0.1, 0.2)), share=0.5)
    document = json.loads(as_json(readout))
    assert document["verdict"] == readout.verdict and document["sentence"] == readout.sentence()
    assert len(document["figures"]) == 4 and len(document["looks"]) == 3
    assert readout.figures[0].difference is not None
    assert document["figures"][0]["delta"] == readout.figures[0].difference.delta
    page = as_page(readout)
    assert readout.sentence().partition(":")[0] in page and page.count("<tr><th scope=") == 4 + 3
    quiet = as_page(read_out(logs.simulated(30, (0.0, 0.0))))
    assert "too few clicks" in quiet and "was not checked" in quiet


def test_a_comparison_needs_two_users_of_each_arm():
    with pytest.raises(UsageError, match=r"2 and 1 user\(s\)"):
        read_out([logs.event("a"), logs.event("b"), logs.candidate("c")])
