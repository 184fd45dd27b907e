"""Events -> what each user of each arm was shown and clicked.

    exposures = Exposures.of(read("logs", "events").table)
    exposures.shown                    # one row per item shown: user, query, position, day, day of the click

Whatever cannot be attributed is left out and counted in notes: events without a user, clicks on what was never shown,
what comes twice, users who were answered by both arms, times in the future. The trade: a user whose side changed is
left out whole, so compare from the day on which the share was last changed. Nothing here computes a figure.
"""

import datetime
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute
from jaxtyping import Bool, Int

from clipadapt.deploy.event_log.read import past
from clipadapt.errors import UsageError

pc: Any = pyarrow.compute  # its functions are made on import
NEVER = 2**31 - 1
_SILENCE = 30
"""Days without an event from which on the earlier ones may come from a clock that is wrong."""


class Shown(NamedTuple):
    """One row per item shown, sorted by time."""

    user: Int[np.ndarray, " shown"]
    query: Int[np.ndarray, " shown"]
    position: Int[np.ndarray, " shown"]
    day: Int[np.ndarray, " shown"]
    """Days since the first."""
    clicked: Int[np.ndarray, " shown"]
    """Day by which it was both shown and clicked; NEVER where it was not."""


class Exposures(NamedTuple):
    """Everything that figures are made of."""

    shown: Shown
    candidate: Bool[np.ndarray, " users"]
    """Whether each user is the candidate's; users are numbered in the order in which they were first seen."""
    first_day: datetime.date
    releases: tuple[str, str]
    """The current one and the candidate."""
    notes: list[str]
    """What was left out."""

    @property
    def days(self) -> list[int]:
        """Those on which something was shown, or known to be clicked; in order."""
        found = np.union1d(self.shown.day, self.shown.clicked)
        return found[found < NEVER].tolist()

    @classmethod
    def of(
        cls,
        events: pa.Table,
        *,
        since: datetime.date | None = None,
        until: datetime.date | None = None,
        releases: Sequence[str | None] = (None, None),
        now: datetime.datetime | None = None,
    ) -> Self:
        """Sorts out a log's events.

        Args:
            since, until: first and last day, in UTC.
            releases: the current one and the candidate; null: the only one that the arm had.

        Raises:
            UsageError: an arm without events, or with several releases of which none was named.
        """
        table, notes = past(events, "event", now)
        table = _within(table, since, until)
        table = _kept(table, pc.is_valid(table.column("user")), "without a user", notes)
        table, named = _of_releases(table, releases, notes)
        table = table.sort_by("ts")
        user, candidate = _users(table)
        both = np.bincount(user[candidate], minlength=user.max() + 1) > 0
        both &= np.bincount(user[~candidate], minlength=user.max() + 1) > 0
        if both.any():
            notes.append(
                f"{int(both.sum()):,} user(s) left out: answered by both arms, as after a change of the flag; compare "
                "from the day after it with --since"
            )
            table = table.filter(pa.array(~both[user]))
            _need(table, named)
            user, candidate = _users(table)
        sides = np.zeros(user.max() + 1, bool)
        sides[user] = candidate
        days = table.column("ts").cast(pa.date32()).cast(pa.int32()).to_numpy()
        notes += _silences(days)
        shown = _shown(table, user, days - days.min(), notes)
        if not len(shown.user):
            raise UsageError("the log has no impressions, and clicks alone have no rate; report both to POST /events")
        return cls(shown, sides, _date(days.min()), named, notes)


def _within(table: pa.Table, since: datetime.date | None, until: datetime.date | None) -> pa.Table:
    if since is not None:
        table = table.filter(pc.greater_equal(table.column("ts"), _scalar(_midnight(since))))
    if until is not None:
        end = _scalar(_midnight(until + datetime.timedelta(days=1)))
        table = table.filter(pc.less(table.column("ts"), end))
    return table


def _silences(days: Int[np.ndarray, " events"]) -> list[str]:
    """What precedes a long time without events, for a person to judge: a clock was wrong, or a service stood still."""
    reported, counts = np.unique(days, return_counts=True)
    before = np.cumsum(counts)
    return [
        f"{before[at]:,} event(s) are of {_date(reported[at])} or earlier, {reported[at + 1] - reported[at]:,} days "
        f"before the next one; if a clock was wrong, leave them out with --since {_date(reported[at + 1])}"
        for at in np.flatnonzero(np.diff(reported) > _SILENCE)
    ]


def _date(day: np.integer) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(int(day))


def _of_releases(table: pa.Table, wanted: Sequence[str | None], notes: list[str]) -> tuple[pa.Table, tuple[str, str]]:
    named = []
    masks = []
    for arm, release, flag in zip(("current", "candidate"), wanted, ("--current", "--candidate"), strict=True):
        ours = pc.equal(table.column("arm"), arm)
        found = pc.value_counts(table.filter(ours).column("release")).to_pylist()
        counts = {one["values"]: one["counts"] for one in found}
        if not counts or (release is not None and release not in counts):
            of = f" of release {release}; there are {', '.join(sorted(counts))}" if release and counts else ""
            raise UsageError(f"the {arm} arm has no events with a user{of}")
        if release is None and len(counts) > 1:
            listed = ", ".join(f"{name} ({count:,} events)" for name, count in sorted(counts.items()))
            raise UsageError(f"the {arm} arm was answered by {listed}; name one with {flag}, or a time with --since")
        named.append(release or next(iter(counts)))
        masks.append(pc.and_(ours, pc.equal(table.column("release"), named[-1])))
    table = _kept(table, pc.or_(*masks), "of another release", notes)
    return table, (named[0], named[1])


def _need(table: pa.Table, named: tuple[str, str]) -> None:
    for arm, release in zip(("current", "candidate"), named, strict=True):
        if not pc.any(pc.equal(table.column("arm"), arm)).as_py():
            raise UsageError(f"no user of the {arm} arm ({release}) is left that was never answered by the other arm")


def _users(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of users in the order of their first event, and whether each event is the candidate's."""
    codes = table.column("user").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), pc.equal(table.column("arm"), "candidate").to_numpy()


def _shown(table: pa.Table, user: np.ndarray, day: np.ndarray, notes: list[str]) -> Shown:
    query = _codes(table, "query_id")
    item = _codes(table, "item")
    key = query * (item.max(initial=0) + 1) + item
    clicks = pc.equal(table.column("event"), "click").to_numpy()
    seen, first = np.unique(key[~clicks], return_index=True)
    clicked, when = np.unique(key[clicks], return_index=True)
    if repeated := len(key) - len(seen) - len(clicked):
        notes.append(f"{repeated:,} event(s) left out: reported more than once")
    place = np.searchsorted(seen, clicked)
    known = np.isin(clicked, seen)
    if strangers := int((~known).sum()):
        notes.append(f"{strangers:,} click(s) left out: on what was never reported as shown")
    days = np.full(len(seen), NEVER, np.int64)
    days[place[known]] = day[clicks][when[known]]
    rows = np.flatnonzero(~clicks)[first]
    order = np.argsort(rows, kind="stable")
    rows, days = rows[order], days[order]
    days = np.where(days == NEVER, NEVER, np.maximum(days, day[rows]))
    position = table.column("position").to_numpy()[rows].astype(np.int64)
    return Shown(user[rows], query[rows], position, day[rows].astype(np.int64), days)


def _codes(table: pa.Table, column: str) -> np.ndarray:
    encoded = table.column(column).combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _kept(table: pa.Table, mask: Any, what: str, notes: list[str]) -> pa.Table:
    kept = table.filter(mask)
    if lost := table.num_rows - kept.num_rows:
        notes.append(f"{lost:,} event(s) left out: {what}")
    return kept


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)


def _scalar(moment: datetime.datetime) -> pa.Scalar:
    return pa.scalar(moment, pa.timestamp("ms", tz="UTC"))
