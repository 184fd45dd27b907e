"""Event logs to try readouts on."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from clipadapt.deploy.event_log.form import SCHEMAS, line, stamp

START = datetime.datetime(2030, 3, 1, 12, tzinfo=datetime.UTC)


def event(user: str | None, what: str = "impression", **change: object) -> dict:
    """One, of the current release and the first day."""
    return {
        "ts": START, "user": user, "release": "000004", "arm": "current", "query_id": f"q-{user}", "item": "1",
        "position": 1, "event": what,
    } | change  # fmt: skip


def candidate(user: str, what: str = "impression", **change: object) -> dict:
    """One of the candidate."""
    return event(user, what, **({"arm": "candidate", "release": "000005"} | change))


def table(events: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(events, schema=SCHEMAS["events"])


def simulated(
    users: int,
    rates: tuple[float, float],
    *,
    share: float = 0.5,
    days: int = 3,
    seed: int = 0,
    start: datetime.datetime = START,
) -> list[dict]:
    """Users with ten items shown on each of some days; clicks at the rate of their arm."""
    rng = np.random.default_rng(seed)
    events = []
    for user in range(users):
        chosen = rng.random() < share
        make = candidate if chosen else event
        for day in range(days):
            moment = start + datetime.timedelta(days=day, seconds=user)
            for position in range(1, 11):
                about = {"ts": moment, "query_id": f"q{user}-{day}", "item": str(position), "position": position}
                events.append(make(f"u{user}", **about))
                if rng.random() < rates[chosen]:
                    events.append(make(f"u{user}", "click", **about))
    return events


def answer(query_id: str, **change: object) -> dict:
    """What the current release answered."""
    return {
        "ts": START, "user": "u", "release": "000004", "arm": "current", "query_id": query_id, "mirrored": False,
        "kind": "text", "k": 24, "where": [], "items": ["a", "b"], "took_ms": 4.0, "error": None, "query": None,
    } | change  # fmt: skip


def mirror(query_id: str, **change: object) -> dict:
    """What the candidate would have answered."""
    return answer(
        query_id, **({"release": "000005", "arm": "candidate", "mirrored": True, "items": ["b"], "kind": None} | change)
    )


def write_log(folder: Path, events: list[dict], answers: Sequence[dict] = ()) -> Path:
    """As a service leaves them."""
    folder.mkdir(exist_ok=True)
    if answers:
        lines = (line(one | {"ts": stamp(one["ts"])}) for one in answers)
        (folder / "answers-20300301T000000000-aaaaaa.jsonl").write_bytes(b"".join(lines))
    lines = (line(one | {"ts": stamp(one["ts"])}) for one in events)
    (folder / "events-20300301T000000000-aaaaaa.jsonl").write_bytes(b"".join(lines))
    return folder
