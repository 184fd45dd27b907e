"""Rows and records of a report, and the shop of coloured squares."""

import pytest
from report_rows import compared, row  # noqa: F401
from shop import good, poor, shop, train, validation, words  # noqa: F401


@pytest.fixture
def record():
    """The least that results.json's config holds."""
    return {
        "suite": {"name": "attributes", "about": "", "statistics": {"coverage": 0.95}},
        "systems": {"base": {"model": "local-dir:base"}, "adapted": {"model": "run:fine"}},
        "catalogue": {"source": "shop", "split": "validation", "items": 60, "products": 30},
        "created": "2030-01-02T03:04:05+00:00",
        "versions": {"clipadapt": "0.1.0"},
    }
