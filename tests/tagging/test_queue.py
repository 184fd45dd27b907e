"""What is left for a person: by hand, and against orders by chance in a simulated shop."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.data.catalogue import Catalogue
from clipadapt.tagging.predictions import TagPredictions
from clipadapt.tagging.queue import Seconds, as_csv, as_json, queue, spent, summary, without_model
from clipadapt.tagging.tag import Column, Tagged

NOTHING = TagPredictions(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def column(states, probability, values) -> Column:
    return Column(values, np.array(probability, float), states, NOTHING, np.zeros(0, bool))


def tags(catalogue: Catalogue, columns: dict[str, Column], faults: dict[int, str] | None = None) -> Tagged:
    items = len(catalogue)
    return Tagged(catalogue, columns, [""] * items, [""] * items, faults or {}, [()] * items, {})


@pytest.fixture
def by_hand(validation: Catalogue) -> Tagged:
    four = validation.subset([0, 1, 2, 3])
    pattern = column(
        ["unsure", "sure", "unsure", None], [0.5, 0.99, 0.8, np.nan], ["Solid", "Striped", "Checked", None]
    )
    colour = column(["unsure", "not applicable", "sure", None], [0.9, 0.98, 0.99, np.nan], ["Red", "NA", "Blue", None])
    unseen = column(["unsure", "sure", "sure", None], [np.nan, 0.99, 0.99, np.nan], [None, "x", "x", None])
    return tags(four, {"Pattern": pattern, "baseColour": colour, "unseen": unseen}, {3: "broken"})


def test_gain_by_hand(by_hand):
    seconds = Seconds(open=2, confirm=1, enter=6)
    tasks = queue(by_hand, seconds)
    # item 0: 2 + (3.5) + (1.5) + 6 = 13 s for 3 cells; item 2: 2 + (0.8 + 1.2) = 4 s for 1 cell
    assert [task.row for task in tasks] == [2, 0]
    assert [task.seconds for task in tasks] == pytest.approx([4, 13])
    assert [task.gain for task in tasks] == pytest.approx([15, 180 / 13])
    assert [cell.guess for cell in tasks[1].cells] == ["Solid", "Red", None] and tasks[1].cells[2].probability == 0
    counts = summary(by_hand, tasks, seconds)
    assert (counts["items"], counts["cells"], counts["items_in_queue"], counts["cells_in_queue"]) == (3, 9, 2, 4)
    assert counts["expected_minutes"] == pytest.approx(17 / 60) and counts["broken"] == 1
    assert counts["minutes_without_model"] == pytest.approx((3 * 2 + 9 * 6) / 60)
    assert counts["share_of_cells_done"] == pytest.approx(5 / 9)


def test_both_files_say_the_same(by_hand):
    seconds = Seconds()
    tasks = queue(by_hand, seconds)
    rows = list(csv.DictReader(io.StringIO(as_csv(by_hand, tasks))))
    document = json.loads(as_json(by_hand, tasks, seconds, 0.95, None))
    assert [row["id"] for row in rows] == [task["id"] for task in document["tasks"]] == [task.item for task in tasks]
    assert (
        rows[0]["Pattern"] == "Checked" and rows[0]["baseColour"] == "" and rows[0]["Pattern probability"] == "0.8000"
    )
    assert float(rows[-1]["minutes_so_far"]) == pytest.approx(document["summary"]["expected_minutes"], abs=0.01)
    assert document["tasks"][1]["cells"][2] == {"attribute": "unseen", "guess": None, "probability": 0.0}
    assert document["measured"] is None and document["precision"] == 0.95


def test_what_a_queue_cost_by_hand(by_hand):
    seconds = Seconds(open=2, confirm=1, enter=6)
    right = {"Pattern": np.array([True, True, False, True]), "baseColour": np.array([True] * 4)}
    done = spent(queue(by_hand, seconds), right, seconds)
    assert done.seconds.tolist() == [8, 8 + 2 + 1 + 1] and done.cells.tolist() == [1, 3]
    none = spent(queue(by_hand, seconds), {}, seconds)
    assert none.seconds.tolist() == [0, 0] and none.cells.tolist() == [0, 0]
    assert without_model(9, 3, seconds) == 60


def test_an_item_without_open_cells_is_no_task(by_hand):
    settled = replace(by_hand, columns={"Pattern": by_hand.columns["Pattern"]._replace(states=["sure"] * 3 + [None])})
    assert queue(settled, Seconds()) == []
    assert summary(settled, [], Seconds())["expected_minutes"] == 0


@given(st.integers(0, 10_000))
def test_the_first_half_of_the_time_settles_more_than_in_any_other_order(validation, seed):
    """Over calibrated guesses: the order is that of a knapsack by density, so no prefix of another order is better."""
    rng = np.random.default_rng(seed)
    catalogue = validation
    columns = {}
    for name in ("one", "two", "three"):
        probability = rng.uniform(0.05, 1, len(catalogue))
        states = ["unsure" if open_ else "sure" for open_ in rng.random(len(catalogue)) < 0.6]
        columns[name] = column(states, probability, ["guess"] * len(catalogue))
    seconds = Seconds(*rng.uniform(0.5, 8, 3))
    tasks = queue(tags(catalogue, columns), seconds)
    if not tasks:
        return
    other = [tasks[place] for place in rng.permutation(len(tasks))]

    def settled(order, budget: float) -> float:
        times = np.cumsum([task.seconds for task in order])
        cells = np.cumsum([len(task.cells) for task in order])
        return float(np.interp(budget, np.concatenate([[0], times]), np.concatenate([[0], cells])))

    half = sum(task.seconds for task in tasks) / 2
    assert settled(tasks, half) >= settled(other, half) - 1e-9
