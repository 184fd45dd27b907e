"""Events sorted into what was shown and clicked; what cannot be attributed is counted."""

import datetime

import event_logs as logs
import pytest

from clipadapt.deploy.experiment.exposures import NEVER, Exposures
from clipadapt.errors import UsageError

candidate, event = logs.candidate, logs.event
NOW = logs.START + datetime.timedelta(days=10)
DAY = datetime.timedelta(days=1)


def sorted_out(events: list[dict], **given) -> Exposures:
    return Exposures.of(logs.table(events), now=NOW, **given)


def test_an_item_is_clicked_where_its_query_was_reported_to_show_it():
    later = logs.START + 2 * DAY
    found = sorted_out(
        [
            event("a"), event("a", item="2", position=2), event("a", "click", item="2", position=2, ts=later),
            candidate("b", ts=logs.START + DAY), candidate("b", "click", ts=logs.START),
        ]
    )  # fmt: skip
    assert found.shown.position.tolist() == [1, 2, 1]
    assert found.shown.day.tolist() == [0, 0, 1], "days since the first event"
    assert found.shown.clicked.tolist() == [NEVER, 2, 1], "a click that another clock dates earlier counts when shown"
    assert found.candidate.tolist() == [False, True] and found.days == [0, 1, 2]
    assert found.releases == ("000004", "000005") and found.first_day == datetime.date(2030, 3, 1) and found.notes == []


def test_what_is_left_out_is_counted():
    events = [event("a"), candidate("b"), event("a", "click"), event("a", "click"), event("a")]
    events += [event(None), event("a", "click", item="never shown"), event("a", ts=NOW + 2 * DAY)]
    events += [event("both"), candidate("both", query_id="another")]
    found = sorted_out(events)
    assert len(found.shown.user) == 2 and found.shown.clicked.tolist() == [0, NEVER]
    assert [note.partition(" left out: ")[::2] for note in found.notes] == [
        ("1 event(s)", "from the future: a clock is wrong"),
        ("1 event(s)", "without a user"),
        ("1 user(s)", found.notes[2].partition(" left out: ")[2]),
        ("2 event(s)", "reported more than once"),
        ("1 click(s)", "on what was never reported as shown"),
    ]
    assert "answered by both arms" in found.notes[2] and "--since" in found.notes[2]


def test_a_clock_that_was_reset_costs_no_look_for_every_day_since_and_is_said():
    reset = datetime.datetime(1970, 1, 1, 0, 0, 12, tzinfo=datetime.UTC)
    found = sorted_out([event("a", ts=reset), event("b"), candidate("c"), candidate("d", ts=logs.START + 9 * DAY)])
    assert found.days == [0, 21974, 21983]
    assert found.notes == [
        "1 event(s) are of 1970-01-01 or earlier, 21,974 days before the next one; if a clock was wrong, leave them "
        "out with --since 2030-03-01"
    ]


def test_users_are_numbered_as_they_came_whatever_the_order_of_the_log():
    events = [candidate("late", ts=logs.START + DAY), event("first"), candidate("second", ts=logs.START + DAY / 2)]
    assert sorted_out(events).candidate.tolist() == [False, True, True]


def test_only_some_days():
    events = [
        make(user, ts=logs.START + day * DAY, query_id=f"{user}{day}")
        for make, user in ((event, "a"), (candidate, "b"))
        for day in range(4)
    ]
    found = sorted_out(events, since=datetime.date(2030, 3, 2), until=datetime.date(2030, 3, 3))
    assert len(found.shown.user) == 4 and found.first_day == datetime.date(2030, 3, 2) and found.days == [0, 1]


def test_an_arm_with_several_releases_needs_one_named():
    events = [event("a"), event("c", release="000003"), candidate("b")]
    with pytest.raises(UsageError, match=r"current arm was answered by 000003 \(1 events\), 000004 \(1 events\); name"):
        sorted_out(events)
    found = sorted_out(events, releases=("000004", None))
    assert found.releases == ("000004", "000005") and found.notes == ["1 event(s) left out: of another release"]
    with pytest.raises(UsageError, match="of release 000009; there are 000003, 000004"):
        sorted_out(events, releases=("000009", None))


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "current arm has no events"),
        ([event("a")], "candidate arm has no events"),
        ([event("a"), candidate("a", query_id="x")], "no user of the current arm"),
        ([event("a", "click"), candidate("b", "click")], "no impressions"),
    ],
)
def test_logs_that_compare_nothing(events, message):
    with pytest.raises(UsageError, match=message):
        sorted_out(events)
