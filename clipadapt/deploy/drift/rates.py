"""How frequent values are among new items or queries, against a reference.

    found = compare(observed, of="tags", level=0.05)
    found.alarmed           # values whose share changed by neither chance nor too little to matter

A value alarms in a window when its p, corrected for all values and windows together, is at most `level` and its share
differs by `least` or more. Values that few units have are counted together, for a handful of them moves nothing that
could be seen, and each would raise the bar for the rest. Nothing here knows where values come from.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from clipadapt import keyed
from clipadapt.errors import UsageError
from clipadapt.metrics.rates import compare_rates, difference_interval
from clipadapt.metrics.two_samples import jointly

Of = Literal["tags", "queries"]
REFERENCE = ""
"""The sample that others are compared with."""
LEAST_UNITS = 5
"""Products or users of a sample; fewer say nothing."""
LEAST_DIFFERENCE = 0.03
"""Of a share: three items of a hundred."""
OTHERS = "all rare values"
_RARE = 10
"""Units that have a value, in all samples; values with fewer are counted together."""
_MOST = 5_000
"""Units of one sample; shares of more are no surer than needed: half a point."""
UNITS: Mapping[Of, str] = {"tags": "products", "queries": "users"}


class Observed(NamedTuple):
    """What is counted, one row per item or query."""

    units: Shaped[np.ndarray, " rows"]
    """The product or user; all rows of one are of one sample."""
    samples: Shaped[np.ndarray, " rows"]
    """REFERENCE, or the window."""
    values: Mapping[str, Sequence[frozenset[str] | None]]
    """Attribute -> what each row has; None where that is unknown."""


class Rate(NamedTuple):
    """One value in one window."""

    attribute: str
    value: str
    window: str
    share: float
    reference_share: float
    difference: float
    low: float
    high: float
    """Of the difference, 95%."""
    units: int
    reference_units: int
    p: float
    """By itself."""
    p_corrected: float
    """Over all values and windows."""
    alarm: bool

    def sentence(self) -> str:
        """The change in words."""
        return (
            f"{self.attribute}: {self.value}, {self.window}: {100 * self.reference_share:.1f}% -> "
            f"{100 * self.share:.1f}% ({100 * self.difference:+.1f} points [{100 * self.low:+.1f}, "
            f"{100 * self.high:+.1f}], p {self.p_corrected:.3f} corrected for all)"
        )


class Rates(NamedTuple):
    """All values in all windows, the most changed first."""

    of: Of
    rates: tuple[Rate, ...]
    notes: tuple[str, ...]
    level: float
    least: float

    @property
    def alarmed(self) -> tuple[Rate, ...]:
        return tuple(one for one in self.rates if one.alarm)

    def sentence(self) -> str:
        """The result in words."""
        counted = f"{len(self.rates)} shares of values of {self.of}"
        if not self.alarmed:
            return f"None of {counted} changed at level {self.level:g}, by {100 * self.least:g} points or more."
        return f"{len(self.alarmed)} of {counted} changed; the most: {self.alarmed[0].sentence()}."


def compare(
    observed: Observed, *, of: Of, level: float, least: float = LEAST_DIFFERENCE, permutations: int = 999,
    seed: int = 0, notes: Sequence[str] = (),
) -> Rates:  # fmt: skip
    """Compares every window with the reference.

    Args:
        notes: what was left out before, to be reported beside what is left out here.

    Raises:
        UsageError: too few permutations for the level, or nothing that can be compared.
    """
    if (permutations + 1) * level < 1:
        raise UsageError(f"{permutations} permutations cannot show a p of {level:g}; take more")
    units = _units(observed, seed, of, notes := [*notes])
    columns = _columns(observed.values, units)
    if not columns:
        raise UsageError(f"no value of {of} is known to {_RARE} {UNITS[of]} or more; nothing can be compared")
    shares = np.stack([one.shares for one in columns], axis=1)
    known = np.stack([one.known for one in columns], axis=1)
    rng = keyed.generator(seed, "rates", of)
    found = compare_rates(shares, known, units.group, permutations=permutations, rng=rng)
    (corrected,) = jointly([found])
    rates = [
        _rate(column, window, units.group == 0, units.group == number + 1, figure, level, least)
        for number, window in enumerate(units.windows)
        for column, *figure in zip(
            columns, found.p[number * len(columns) :], corrected[number * len(columns) :], strict=False
        )
    ]
    kept = sorted((one for one in rates if one is not None), key=lambda one: (not one.alarm, -abs(one.difference)))
    return Rates(of, tuple(kept), tuple(notes), level, least)


class _Units(NamedTuple):
    """Products or users that are compared."""

    rows: Int[np.ndarray, " rows"]
    """Rows of the observed that belong to them."""
    of_row: Int[np.ndarray, " rows"]
    """Number of the unit of each of those."""
    group: Int[np.ndarray, " units"]
    windows: list[str]
    """Group 1 and up."""


class _Column(NamedTuple):
    attribute: str
    value: str
    shares: Float[np.ndarray, " units"]
    known: Bool[np.ndarray, " units"]


def _units(observed: Observed, seed: int, of: Of, notes: list[str]) -> _Units:
    names, first, of_row = np.unique(observed.units, return_index=True, return_inverse=True)
    samples = observed.samples[first]
    windows, kept = [], np.zeros(len(names), bool)
    for window in sorted({REFERENCE, *samples.tolist()}):
        own = np.flatnonzero(samples == window)
        what = window or "the reference"
        if len(own) < LEAST_UNITS:
            if window == REFERENCE:
                raise UsageError(f"{of}: {len(own)} {UNITS[of]} in the reference; {LEAST_UNITS} or more are needed")
            notes.append(f"{of}, {what}: fewer than {LEAST_UNITS} {UNITS[of]}; not compared")
            continue
        if len(own) > _MOST:
            notes.append(f"{of}, {what}: {_MOST:,} of {len(own):,} {UNITS[of]}, drawn at random")
            own = keyed.generator(seed, "rates", of, window).permutation(own)[:_MOST]
        windows.append(window)
        kept[own] = True
    if len(windows) < 2:
        raise UsageError(f"{of}: nothing new with {LEAST_UNITS} or more {UNITS[of]}, so nothing can be compared")
    group = np.array([windows.index(one) for one in samples[kept].tolist()], np.int64)
    place = np.cumsum(kept) - 1
    rows = np.flatnonzero(kept[of_row])
    return _Units(rows, place[of_row[rows]], group, windows[1:])


def _columns(values: Mapping[str, Sequence[frozenset[str] | None]], units: _Units) -> list[_Column]:
    """The share of each value among each unit's rows."""
    columns, count = [], len(units.group)
    for attribute, cells in values.items():
        mine = [(unit, cells[row]) for row, unit in zip(units.rows.tolist(), units.of_row.tolist(), strict=True)]
        totals = np.bincount([unit for unit, cell in mine if cell is not None], minlength=count)
        having = Counter((value, unit) for unit, cell in mine for value in cell or ())
        frequent = {value for value, times in Counter(value for value, _ in having).items() if times >= _RARE}
        sums: dict[str, Float[np.ndarray, " units"]] = {}
        for unit, cell in mine:
            for name in {value if value in frequent else OTHERS for value in cell or ()}:
                sums.setdefault(name, np.zeros(count))[unit] += 1
        columns += [
            _Column(attribute, name, summed / np.maximum(totals, 1), totals > 0)
            for name, summed in sorted(sums.items())
        ]
    return columns


def _rate(
    column: _Column, window: str, reference: np.ndarray, new: np.ndarray, figure: list[float], level: float,
    least: float,
) -> Rate | None:  # fmt: skip
    """None where fewer than two units know anything of it."""
    old, other = column.shares[reference & column.known], column.shares[new & column.known]
    if min(len(old), len(other)) < 2:
        return None
    difference, low, high = difference_interval(old, other)
    p, corrected = map(float, figure)
    alarm = corrected <= level and abs(difference) >= least
    return Rate(
        column.attribute, column.value, window, float(other.mean()), float(old.mean()), difference, low, high,
        len(other), len(old), p, corrected, alarm,
    )  # fmt: skip
