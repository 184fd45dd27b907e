"""Drift of queries: how often it cries wolf where people come back, and what it finds.

    python eval/benchmarks/drift_queries.py [--reports 500] [--users 600]

Simulated logs of 28 days, of which the last seven are new. Three users of four come once; the rest come on many days,
at rates spread over a factor of ten, and wish for other values than the rest does. Each user has tastes of their own
over 40 values that fall off as 1/rank; nothing changes over time, or in the new week

a value by 5, 10 points     that share of the queries wishes for one value that few wished for

1. False alarms at 5% of reports without a change, over all values together; beside it with each user in the sample of
   their first query, which is what a cohort would be, and with queries instead of users as the units.
2. Power: how often a report of a changed week alarms, and names the value that changed.
The headline's "false_alarms" is of the rule that `clipadapt drift --queries` has.
"""

import argparse
import datetime
import time

import numpy as np
import pyarrow as pa
from machine import publish

from clipadapt.deploy.drift.queries import split_queries
from clipadapt.deploy.drift.rates import Rates, compare
from clipadapt.deploy.event_log.form import SCHEMAS
from clipadapt.keyed import generator

START = datetime.datetime(2030, 3, 4, 12, tzinfo=datetime.UTC)
DAYS, NEW, VALUES, LEVEL, RARE = 28, 7, 40, 0.05, 25
NEWS = START + datetime.timedelta(DAYS - NEW) - datetime.timedelta(hours=START.hour)
TASTE = 3.0
"""Concentration of a Dirichlet distribution around what all have: a few values are most of what one user wishes for."""


def main() -> None:
    """Measures, writes eval/results/drift_queries.json and prints the headline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=int, default=500)
    parser.add_argument("--others", type=int, default=100, help="reports by the other rules")
    parser.add_argument("--tries", type=int, default=60, help="of each change")
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--permutations", type=int, default=199)
    parser.add_argument("--name", default="drift_queries", help="of the file in eval/results")
    arguments = parser.parse_args()
    started = time.perf_counter()

    def alarms(count: int, **how: bool) -> float:
        reports = (report(seed, arguments.users, arguments.permutations, **how) for seed in range(count))
        return round(float(np.mean([bool(one.alarmed) for one in reports])), 4)

    power = {}
    for points in (0.05, 0.1):
        reports = [
            report(seed, arguments.users, arguments.permutations, points=points) for seed in range(arguments.tries)
        ]
        named = [any(one.value == value(RARE) for one in found.alarmed) for found in reports]
        power[f"a value by {100 * points:g} points"] = round(float(np.mean(named)), 4)
    headline = {
        "reports": arguments.reports,
        "false_alarms": alarms(arguments.reports),
        "false_alarms_first_query": alarms(arguments.others, first=True),
        "false_alarms_by_query": alarms(arguments.others, by_query=True),
        "power": power,
    }
    sizes = {
        "users": arguments.users, "days": DAYS, "new_days": NEW, "values": VALUES, "level": LEVEL,
        "permutations": arguments.permutations, "others": arguments.others, "tries": arguments.tries,
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    publish(arguments.name, headline, sizes)


def report(
    seed: int, users: int, permutations: int, *, points: float = 0.0, first: bool = False, by_query: bool = False
) -> Rates:
    """Of one simulated log."""
    table = log(seed, users, points)
    if by_query:
        table = table.set_column(table.column_names.index("user"), SCHEMAS["answers"].field("user"),
                                 pa.nulls(len(table), pa.string()))  # fmt: skip
    if first:
        table = cohorts(table)
    found = split_queries(table, since=NEWS.date(), window="month", seed=seed)
    # The effect's bound is taken away: what is measured is the test.
    return compare(found.observed, of="queries", level=LEVEL, least=0.0, permutations=permutations, seed=seed)


def cohorts(table: pa.Table) -> pa.Table:
    """Without queries of the new week whose user came before."""
    new = [moment >= NEWS for moment in table.column("ts").to_pylist()]
    users = table.column("user").to_pylist()
    before = {user for user, late in zip(users, new, strict=True) if not late}
    return table.filter(pa.array([not late or user not in before for user, late in zip(users, new, strict=True)]))


def log(seed: int, users: int, points: float) -> pa.Table:
    """The answers of DAYS days, oldest first."""
    rng = generator(seed, "log", str(points))
    common = 1 / np.arange(1, VALUES + 1)
    often = rng.random(users) < 0.25
    rates = np.where(often, 10 ** rng.uniform(-1.3, -0.3, users), 0.0)
    rows = []
    for user in range(users):
        days = np.flatnonzero(rng.random(DAYS) < rates[user]) if often[user] else rng.integers(0, DAYS, 1)
        base = np.roll(common, 3) if often[user] else common
        tastes = rng.dirichlet(TASTE * base / base.sum())
        for day in days.tolist():
            wish = int(rng.choice(VALUES, p=tastes))
            if day >= DAYS - NEW and rng.random() < points:
                wish = RARE
            rows.append((day, user, wish))
    rows.sort()
    records = [
        {
            "ts": START + datetime.timedelta(days=day), "user": f"u{user}", "release": "1", "arm": "current",
            "query_id": f"q{number}", "mirrored": False, "kind": "text", "k": 24, "where": [],
            "understood": [value(wish)], "items": ["a"], "took_ms": 1.0, "error": None, "query": None,
        }
        for number, (day, user, wish) in enumerate(rows)
    ]  # fmt: skip
    return pa.Table.from_pylist(records, schema=SCHEMAS["answers"])


def value(number: int) -> str:
    return f"Pattern: {number}"


if __name__ == "__main__":
    main()
