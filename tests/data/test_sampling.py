"""Epoch orders against properties, and balanced weights against the definition written out slowly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.data.catalogue import Attribute
from clipadapt.data.sampling import Balance, balanced_weights, epoch_order, occurrences


class Cells:
    """As much of a catalogue as sampling asks for."""

    def __init__(self, columns):
        self.attributes = tuple(Attribute(name, "multi") for name in columns)
        self._columns = columns

    def __len__(self):
        return len(next(iter(self._columns.values())))

    def value_sets(self, attribute):
        return [frozenset(values) for values in self._columns[attribute]]

    def counts(self, attribute):
        members = [value for values in self._columns[attribute] for value in values]
        return {value: members.count(value) for value in sorted(set(members))}


def slow_weights(columns, power, cap):
    """The definition, item by item; the cap by bisection on the scale."""
    count = len(next(iter(columns.values())))
    rarity = []
    for item in range(count):
        known = []
        for cells in columns.values():
            for value in cells[item]:
                labelled = sum(len(values) for values in cells)
                different = len({v for values in cells for v in values})
                holding = sum(value in values for values in cells)
                known.append((labelled / different / holding) ** power)
        rarity.append(max(known) if known else 1.0)
    low, high = 0.0, count * cap / min(rarity)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(min(middle * r, cap) for r in rarity) < count:
            low = middle
        else:
            high = middle
    return np.array([min(high * r, cap) for r in rarity])


CELL = st.frozensets(st.sampled_from("abcd"), max_size=2)


@st.composite
def catalogues(draw):
    count = draw(st.integers(1, 25))
    cells = st.lists(CELL, min_size=count, max_size=count)
    return {name: draw(cells) for name in draw(st.sampled_from([["x"], ["x", "y"], ["x", "y", "z"]]))}


@pytest.mark.parametrize(("balance", "power"), [("sqrt", 0.5), ("full", 1.0)])
@given(columns=catalogues(), cap=st.floats(1.0, 8.0))
def test_weights_equal_the_definition(columns, balance: Balance, power, cap):
    weights = balanced_weights(Cells(columns), balance, cap)
    assert np.allclose(weights, slow_weights(columns, power, cap), rtol=1e-9)
    assert np.isclose(weights.mean(), 1.0) and weights.max() <= cap * (1 + 1e-9)


@pytest.mark.parametrize(("balance", "power"), [("full", 0.0), ("sqrt", 0.5), ("none", 1.0)])
@given(values=st.lists(st.sampled_from("aaaaabbc"), min_size=1, max_size=60))
def test_one_attribute_without_a_cap_in_the_way_is_balanced_exactly(balance: Balance, power, values):
    weights = balanced_weights(Cells({"x": [[value] for value in values]}), balance, cap=1e9)
    mass = {value: sum(w for w, v in zip(weights, values, strict=True) if v == value) for value in set(values)}
    per_item = [mass[value] / values.count(value) ** power for value in mass]
    assert np.allclose(per_item, per_item[0])


def test_an_unknown_cell_neither_raises_nor_lowers():
    columns = {"x": [["a"], ["a"], ["a"], ["b"], []], "y": [[], [], [], [], []]}
    weights = balanced_weights(Cells(columns), "full", cap=100.0)
    assert weights[3] / weights[0] == pytest.approx(3.0)
    assert weights[4] / weights[0] == pytest.approx(1.5)  # as a value of mean count: 2 of 4 labelled items
    without_y = balanced_weights(Cells({"x": columns["x"]}), "full", cap=100.0)
    assert np.array_equal(weights, without_y)


@given(
    catalogues(), st.sampled_from(["none", "sqrt", "full"]), st.floats(1.0, 8.0), st.integers(0, 50), st.integers(0, 9)
)
def test_an_epoch_draws_each_item_as_often_as_its_weight_says(columns, balance, cap, epoch, seed):
    cells = Cells(columns)
    order = epoch_order(cells, epoch, seed, balance, cap)
    weights = balanced_weights(cells, balance, cap)
    assert len(order) == len(cells)
    draws = np.bincount(order, minlength=len(cells))
    assert (draws >= np.floor(weights - 1e-9)).all() and (draws <= np.ceil(weights + 1e-9)).all()
    assert np.array_equal(order, epoch_order(cells, epoch, seed, balance, cap))
    if balance == "none":
        assert sorted(order) == list(range(len(cells)))


def test_draws_average_to_the_weights_over_epochs():
    cells = Cells({"x": [["a"]] * 30 + [["b"]] * 8 + [["c"]] * 2})
    weights = balanced_weights(cells, "sqrt", cap=5.0)
    mean = np.mean([np.bincount(epoch_order(cells, e, 0, "sqrt", 5.0), minlength=40) for e in range(400)], axis=0)
    assert np.abs(mean - weights).max() < 0.1  # five standard errors of a draw that is off by at most one


def test_epochs_and_seeds_differ():
    cells = Cells({"x": [["a"]] * 50})
    orders = {tuple(epoch_order(cells, epoch, seed).tolist()) for epoch, seed in ((0, 0), (1, 0), (0, 1))}
    assert len(orders) == 3


def test_copies_of_an_item_are_spread_over_the_epoch():
    cells = Cells({"x": [["a"]] * 95 + [["b"]] * 5})
    order = epoch_order(cells, 0, 0, "full", cap=4.0)
    for item in range(95, 100):
        at = np.flatnonzero(order == item)
        assert len(at) == 4 and np.diff(at).min() > 10


def test_a_cap_below_one_cannot_fill_an_epoch():
    with pytest.raises(ValueError, match="1 or more"):
        balanced_weights(Cells({"x": [["a"]]}), "full", cap=0.5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_occurrences_count_what_came_before(order):
    assert occurrences(np.array(order)).tolist() == [order[:i].count(item) for i, item in enumerate(order)]
