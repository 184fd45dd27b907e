"""An experiment that is read every day: how often equal arms look different, and what a true lift takes to be seen.

    python eval/benchmarks/experiment_looks.py

30 days of users who come back, some a hundred times; most never click. Equal arms are read on each day with the
always-valid interval and, beside it, with 1.96 standard errors, in worlds in which heavy users click as often as
others, less or more, and with 5% of the users in one arm; then with a lift of 10%. The same for the check of shares:
users that come in as planned, and a candidate that loses 4% of its users.
"""

import argparse
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from machine import publish

from clipadapt.deploy.experiment.readout import MISMATCH
from clipadapt.keyed import generator
from clipadapt.metrics.arms import ArmMean, arm_mean
from clipadapt.metrics.sequential import difference, information_needed, mismatch_p

DAYS, LEVEL, LIFT = 30, 0.05, 0.1
PILOT = 100_000
"""Users that the spread between users is known from beforehand; of 4,000 it would be known to a third."""
NEVER_CLICK = 0.5
"""Share of users whose taste is 0."""


class World(NamedTuple):
    """How users are."""

    users: int
    share: float
    """Of the candidate's users."""
    taste: float
    """Heavy users' clicks per item shown go with this power of how much they see."""


WORLDS = {
    "heavy users click alike": World(4_000, 0.5, 0.0),
    "heavy users click less": World(4_000, 0.5, -0.5),
    "heavy users click more": World(4_000, 0.5, 0.5),
    "5% of users in one arm": World(20_000, 0.05, 0.0),
}


class Stream(NamedTuple):
    """One experiment, summed by user up to each day."""

    candidate: Bool[np.ndarray, " users"]
    shown: Int[np.ndarray, "users days"]
    clicked: Int[np.ndarray, "users days"]


def simulate(world: World, lift: float, rng: np.random.Generator) -> Stream:
    """Draws users, their days and their clicks."""
    n, days = world.users, np.arange(DAYS)
    candidate = rng.random(n) < world.share
    first, back, volume = rng.integers(0, DAYS, n), rng.beta(0.5, 2, n), rng.lognormal(0, 1, n)
    taste = np.where(rng.random(n) < NEVER_CLICK, 0.0, rng.beta(3, 12, n)) * volume**world.taste
    returns = (days > first[:, None]) & (rng.random((n, DAYS)) < back[:, None])
    active = (days == first[:, None]) | returns
    shown = np.where(active, 1 + rng.poisson(8 * volume[:, None], (n, DAYS)), 0)
    chance = np.clip(taste * np.where(candidate, 1 + lift, 1.0), 0, 0.9)
    return Stream(candidate, shown.cumsum(1), rng.binomial(shown, chance[:, None]).cumsum(1))


def looks(stream: Stream) -> tuple[int | None, int | None, float]:
    """The first day on which zero lies outside, by the always-valid interval and by 1.96 errors; squared error at the
    end.
    """
    found: list[int | None] = [None, None]
    variance = 0.0
    for day in range(DAYS):
        current, candidate = (_mean(stream, arm, day) for arm in (~stream.candidate, stream.candidate))
        if current.mean <= 0:
            continue
        one = difference(candidate, current, expected=LIFT * current.mean, level=LEVEL)
        if one is None:
            continue
        variance = candidate.variance + current.variance
        out = (one.low > 0 or one.high < 0, abs(one.delta) > 1.96 * np.sqrt(variance))
        found = [day if outside and seen is None else seen for outside, seen in zip(out, found, strict=True)]
    return found[0], found[1], variance


def _mean(stream: Stream, arm: Bool[np.ndarray, " users"], day: int) -> ArmMean:
    there = arm & (stream.shown[:, day] > 0)
    scores, counts = (one[there, day].astype(np.float64) for one in (stream.clicked, stream.shown))
    return arm_mean(scores, counts, np.flatnonzero(there))


def of_world(name: str, world: World, simulations: int, lift: float) -> dict[str, Any]:
    """How often zero was outside on any day, and when."""
    outcomes = [looks(simulate(world, lift, generator(0, "looks", name, str(lift), n))) for n in range(simulations)]
    valid, fixed, _ = zip(*outcomes, strict=True)
    share = sum(day is not None for day in valid) / simulations
    when = [day + 1 for day in valid if day is not None]
    return {
        **world._asdict(), "lift": lift, "simulations": simulations, "always_valid": share,
        "error": float(np.sqrt(share * (1 - share) / simulations)),
        "fixed_read_daily": sum(day is not None for day in fixed) / simulations,
        "median_day": float(np.median(when)) if when else None,
    }  # fmt: skip


def for_lift(simulations: int) -> dict[str, Any]:
    """As many users as the readout says a lift of 10% needs for 80%: how often it was seen."""
    world = WORLDS["heavy users click alike"]._replace(users=PILOT)
    pilot = simulate(world, 0.0, generator(0, "pilot", 0))
    *_, variance = looks(pilot)
    base = pilot.clicked[:, -1].sum() / pilot.shown[:, -1].sum()
    users = int(world.users * variance * information_needed(LIFT * base, LEVEL))
    return of_world("power", world._replace(users=users), simulations, LIFT) | {"base": float(base)}


def of_shares(simulations: int) -> dict[str, float]:
    """How often the check of shares alarms by the end of 20,000 users."""
    rates = {}
    for name, real in (("as planned", 0.5), ("4% of one arm's users lost", 0.48 / 0.98)):
        alarms = [
            mismatch_p(generator(0, "shares", name, n).random(20_000) < real, 0.5) < MISMATCH
            for n in range(simulations)
        ]
        rates[name] = float(np.mean(alarms))
    return rates


def main() -> None:
    """Runs what is asked for; looks and power are published apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2_000, help="of equal arms, in each world; 0: none")
    parser.add_argument("--power", type=int, default=300, help="simulations with a lift; 0: none")
    given = parser.parse_args()
    if given.simulations:
        worlds = {name: of_world(name, world, given.simulations, 0.0) for name, world in WORLDS.items()}
        headline = {
            "false_alarms": {name: one["always_valid"] for name, one in worlds.items()},
            "false_alarms_fixed": {name: one["fixed_read_daily"] for name, one in worlds.items()},
            "mismatch": of_shares(given.simulations),
        }
        publish("experiment_looks", headline, {"worlds": worlds})
    if given.power:
        power = for_lift(given.power)
        publish("experiment_power", {"power": power["always_valid"], "users": power["users"]}, {"power": power})


if __name__ == "__main__":
    main()
