"""Fixtures that build rows of a report."""

import pytest


@pytest.fixture
def row():
    """Builds a row; whatever is not named has a harmless value."""
    from clipadapt.statistics.rows import Row

    def build(**fields) -> Row:
        known = {
            "task": "recognition",
            "attribute": "Pattern",
            "value": None,
            "bin": "all",
            "metric": "balanced_accuracy",
            "k": None,
            "system": "adapted",
            "split": "validation",
            "n": 40,
            "products": 30,
            "mean": 0.5,
            "low": 0.4,
            "high": 0.6,
        }
        return Row(**(known | fields))

    return build


@pytest.fixture
def compared(row):
    """A comparison and its counterpart: compared(delta, low, high, p) with any other field."""

    def build(delta: float, low: float, high: float, p: float, **fields) -> list:
        pair = {"against": "base", "delta": delta, "delta_low": low, "delta_high": high, "p": p}
        own = row(**({"mean": 0.5, "minimum_detectable": 0.1} | pair | fields))
        base = {
            key: value for key, value in fields.items() if key in ("task", "attribute", "value", "bin", "metric", "k")
        }
        return [own, row(system="base", mean=0.5 - delta, **base)]

    return build
