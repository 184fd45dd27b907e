"""docs/growth.md and the script whose figures it has."""

import json
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARD = {
    "count": 1_000, "memory_mb": 2.0, "file_mb": 10.0, "build_seconds": 36.0,
    "picture": {"p50_ms": 4.0, "p99_ms": 8.0}, "environment": {"threads": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "eval" / "benchmarks"))
    try:
        return runpy.run_path(str(ROOT / "eval" / "benchmarks" / "growth_shards.py"))
    finally:
        sys.path.pop(0)


def test_the_table_of_shards_is_what_the_script_computes(script):
    shard = json.loads((ROOT / "eval" / "results" / "index_speed.json").read_text())
    text = (ROOT / "docs" / "growth.md").read_text()
    for name, items in script["ITEMS"].items():
        assert script["row"](name, script["simulated"](shard, items, 200)) in text


def test_one_shard_is_as_it_was_measured(script):
    one = script["simulated"](SHARD, 1_000, 100)
    assert one["shards"] == one["machines"] == 1
    assert one["p50_ms"] == pytest.approx(4.0, rel=0.03)
    assert one["p99_ms"] == pytest.approx(8.0, rel=0.05)
    assert one["build_core_hours"] == pytest.approx(2 * 36 / 3600, abs=0.05)


def test_of_many_shards_the_slowest_is_waited_for(script):
    many = script["simulated"](SHARD, 99_500, 1_000_000)
    assert many["shards"] == 100
    assert many["memory_gb"] == pytest.approx(0.2 + 99.5, abs=0.1)
    assert 7.5 < many["p50_ms"] < 9  # the median of the slowest of 100 lies at the 99.3rd percentile of one
    assert many["core_seconds_a_query"] == pytest.approx(0.8)
