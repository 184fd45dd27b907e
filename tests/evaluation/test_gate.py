from pathlib import Path

import pytest

from clipadapt.errors import ConfigError, GateError
from clipadapt.evaluation.gate import Condition, Gate, judge, require


@pytest.fixture
def gate() -> Gate:
    return Gate(
        conditions=(
            Condition(row="headline", metric="rare_balanced_accuracy", bound="delta_low", above=0, why="rare counts"),
            Condition(row="retention", metric="balanced_accuracy", bound="delta_low", above=-0.01),
        )
    )


def headline(compared, low: float) -> list:
    fields = {"task": "headline", "attribute": None, "metric": "rare_balanced_accuracy", "bin": "rare"}
    return compared(0.1, low, 0.2, 0.01, **fields)


def retained(compared, low: float, name: str = "clothing") -> list:
    return compared(0.0, low, 0.05, 0.5, task=f"retention:{name}", attribute="articleType")


def test_all_conditions_hold(gate, compared):
    outcomes = require(gate, headline(compared, 0.02) + retained(compared, -0.005))
    assert [outcome.passed for outcome in outcomes] == [True, True]
    assert "0.0200" in outcomes[0].reason


def test_every_reason_is_told(gate, compared):
    with pytest.raises(GateError) as error:
        require(gate, headline(compared, -0.02) + retained(compared, -0.03))
    assert error.value.exit_code == 3
    assert "2 of 2" in str(error.value)
    assert "-0.0200 (rare counts)" in str(error.value)
    assert "-0.0300" in str(error.value)


def test_every_row_that_is_named_must_hold(gate, compared):
    rows = headline(compared, 0.02) + retained(compared, -0.005) + retained(compared, -0.03, "shoes")
    outcome = judge(gate, rows)[1]
    assert not outcome.passed
    assert "shoes" in outcome.reason
    assert "clothing" not in outcome.reason


def test_a_bound_is_strict(gate, compared):
    assert not judge(gate, headline(compared, 0.0))[0].passed


def test_what_was_not_measured_does_not_pass(gate, compared):
    assert "no such row" in judge(gate, headline(compared, 0.02))[1].reason


def test_a_missing_bound_does_not_pass(gate, compared, row):
    fields = {"task": "headline", "attribute": None, "metric": "rare_balanced_accuracy", "bin": "rare"}
    rows = [row(against="base", delta=0.1, delta_low=None, p=1.0, **fields)]
    assert "no spread" in judge(gate, rows)[0].reason


def test_a_mean_is_that_of_the_reported_system(compared):
    gate = Gate(conditions=(Condition(row="recognition", metric="balanced_accuracy", bound="mean", above=0.45),))
    assert judge(gate, compared(0.2, 0.1, 0.3, 0.01))[0].passed  # 0.5, and not the base's 0.3


def test_a_lone_system_can_be_gated(row):
    gate = Gate(conditions=(Condition(row="recognition", metric="balanced_accuracy", bound="low", above=0.3),))
    assert judge(gate, [row(system="model")])[0].passed


def test_what_was_not_measured_holds_only_where_it_is_optional(row):
    rare = Condition(row="headline", metric="rare_balanced_accuracy", bound="delta_low", above=0)
    optional = rare.model_copy(update={"optional": True})
    rows = [row(task="headline", attribute=None, metric="balanced_accuracy")]
    assert [one.passed for one in judge(Gate(conditions=(rare, optional)), rows)] == [False, True]
    assert "was measured; it is optional" in judge(Gate(conditions=(optional,)), rows)[0].reason
    lost = row(against="base", delta=-0.1, delta_low=-0.2, task="headline", metric=rare.metric, bin="rare")
    assert not judge(Gate(conditions=(optional,)), [lost])[0].passed, "measured, and lost"


@pytest.mark.parametrize("bad", ["above: 0, below: 1", "", "abov: 1"])
def test_a_condition_needs_one_side(tmp_path: Path, bad: str):
    path = tmp_path / "gate.yaml"
    path.write_text(f"conditions:\n  - {{row: headline, metric: top1, bound: low, {bad}}}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="fault"):
        Gate.load(path)


@pytest.mark.parametrize(
    ("delta", "low", "passed"), [(0.1, 0.02, True), (0.07, -0.03, True), (0.02, -0.06, False), (-0.01, -0.04, False)]
)
def test_a_release_has_rare_values_gain_and_not_surely_lose(compared, delta: float, low: float, passed: bool):
    gate = Gate.load(Path(__file__).parents[2] / "eval/release_gate.yaml")
    fields = {"task": "headline", "attribute": None}
    rare = compared(delta, low, 0.2, 0.04, metric="rare_balanced_accuracy", bin="rare", **fields)
    whole = compared(0.1, 0.02, 0.2, 0.01, metric="balanced_accuracy", **fields)
    outcomes = judge(gate, [*rare, *whole, *retained(compared, -0.005)])
    assert all(outcome.passed for outcome in outcomes) is passed
