"""Marks -> label error."""

import numpy as np
import pytest

from clipadapt.audit.estimate import ALL, Mark, estimates
from clipadapt.audit.labels import Labels
from clipadapt.audit.sample import draw


def labels_of(counts: dict[tuple[str, str], int], per_product: int = 1) -> Labels:
    """A label per item; each attribute has items of its own."""
    attributes = list(dict.fromkeys(attribute for attribute, _ in counts))
    rows = [pair for pair, count in counts.items() for _ in range(count)]
    cells = {name: [(value,) if attribute == name else () for attribute, value in rows] for name in attributes}
    ids = np.array([f"i{n}" for n in range(len(rows))])
    return Labels.of_cells(cells, ids, np.array([f"p{n // per_product}" for n in range(len(rows))]))


def test_rare_values_count_by_their_labels_not_by_how_many_were_looked_at():
    labels = labels_of({("Pattern", "Solid"): 900, ("Pattern", "Dotted"): 100})
    chosen = draw(labels, 0.1, 0)
    names = [labels.strata[labels.stratum[at]].value for at in chosen.labels]
    marks: dict[int, Mark] = {place: "wrong" if name == "Dotted" else "right" for place, name in enumerate(names)}
    whole, pattern, solid, dotted = estimates(labels, chosen, marks)
    assert names.count("Dotted") > 20  # more than a tenth of the hundred looked at
    assert pattern.error is not None and pattern.error.mean == pytest.approx(0.1)
    assert whole.attribute == ALL and whole.error == pattern.error
    assert solid.error is not None and solid.error.low == 0.0 and 0 < solid.error.high < 0.1
    assert dotted.error is not None and dotted.error.high == 1.0 and dotted.wrong == names.count("Dotted")


def test_unclear_and_unmarked_labels_are_left_out_and_counted():
    labels = labels_of({("Pattern", "Solid"): 40, ("Fabric", "Wool"): 60})
    chosen = draw(labels, 1.0, 0)
    solid = [at for at, label in enumerate(chosen.labels) if labels.strata[labels.stratum[label]].value == "Solid"]
    given: list[tuple[Mark, list[int]]] = [("right", solid[:30]), ("unclear", solid[30:36])]
    marks: dict[int, Mark] = {place: mark for mark, places in given for place in places}
    found = {(one.attribute, one.value): one for one in estimates(labels, chosen, marks)}
    one = found["Pattern", None]
    assert (one.looked_at, one.wrong, one.unclear, one.unmarked, one.covered) == (30, 0, 6, 4, 1.0)
    assert found["Fabric", None].error is None and found["Fabric", None].covered == 0
    assert found[ALL, None].covered == pytest.approx(0.4)


def test_one_product_has_no_interval():
    labels = labels_of({("Pattern", "Solid"): 6}, per_product=6)
    assert estimates(labels, draw(labels, 1.0, 0), dict.fromkeys(range(6), "right"))[0].error is None


def test_a_catalogue_that_was_looked_at_whole_is_known():
    labels = labels_of({("Pattern", "Solid"): 40, ("Pattern", "Dotted"): 10})
    marks: dict[int, Mark] = {place: "wrong" if place < 5 else "right" for place in range(50)}
    found = estimates(labels, draw(labels, 1.0, 0), marks)
    assert found[0].error == pytest.approx((0.1, 0.1, 0.1))


def test_items_of_a_product_are_wrong_together():
    alone, together = labels_of({("Pattern", "Solid"): 2000}), labels_of({("Pattern", "Solid"): 2000}, per_product=20)
    rng = np.random.default_rng(0)
    bad = rng.random(100) < 0.1
    widths = []
    for labels, wrong in ((alone, rng.permutation(np.repeat(bad, 20))), (together, np.repeat(bad, 20))):
        chosen = draw(labels, 0.5, 0)
        marks: dict[int, Mark] = {
            place: "wrong" if wrong[labels.row[at]] else "right" for place, at in enumerate(chosen.labels)
        }
        error = estimates(labels, chosen, marks)[0].error
        assert error is not None
        widths.append(error.high - error.low)
    assert widths[1] > 2 * widths[0]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """The committed benchmark in small: 8% planted by product, 5% looked at."""
    rng = np.random.default_rng(1)
    labels = labels_of({("Pattern", "Solid"): 2400, ("Pattern", "Dotted"): 600, ("Cut", "Slim"): 1500}, per_product=3)
    held = 0
    for seed in range(40):
        wrong = np.repeat(rng.random(1500) < 0.08, 3)
        chosen = draw(labels, 0.05, seed)
        marks: dict[int, Mark] = {
            place: "wrong" if wrong[labels.row[at]] else "right" for place, at in enumerate(chosen.labels)
        }
        error = estimates(labels, chosen, marks)[0].error
        assert error is not None
        held += error.low <= wrong.mean() <= error.high
    assert held >= 34
