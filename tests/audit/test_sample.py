"""Which labels are looked at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipadapt.audit.labels import Labels, Stratum
from clipadapt.audit.sample import LEAST, allocate, draw
from clipadapt.errors import ConfigError


def many(counts: dict[str, int]) -> Labels:
    """One attribute; an item for each label, two items to a product."""
    values = [(value,) for value, count in counts.items() for _ in range(count)]
    ids = np.array([f"i{n}" for n in range(len(values))])
    return Labels.of_cells({"Pattern": values}, ids, np.array([f"p{n // 2}" for n in range(len(values))]))


def test_a_cell_of_several_values_has_a_label_for_each_and_an_unknown_one_none():
    labels = Labels.of_cells({"Tags": [("b", "a"), (), ("a",)]}, np.array(["x", "y", "z"]), np.array(["p", "q", "r"]))
    assert labels.strata == (Stratum("Tags", "a"), Stratum("Tags", "b"))
    assert list(zip(labels.stratum.tolist(), labels.row.tolist(), strict=True)) == [(0, 0), (1, 0), (0, 2)]
    assert len(labels) == 3 and labels.sizes().tolist() == [2, 1]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=40), st.floats(0.001, 1.0))
def test_every_value_gets_some_and_none_more_than_it_has(counts, share):
    labels = np.array(counts)
    total = max(round(share * labels.sum()), 1)
    sizes = allocate(labels, total)
    assert (sizes >= 1).all() and (sizes <= labels).all()
    assert sizes.sum() == max(min(total, labels.sum()), len(labels))


def test_parts_grow_with_the_square_root():
    sizes = allocate(np.array([10_000, 2_500, 100, 7]), 700)
    assert sizes.sum() == 700 and sizes[0] == pytest.approx(2 * sizes[1], abs=2) and sizes[3] >= LEAST


def test_a_sample_depends_on_names_and_seed_not_on_the_order_of_rows():
    counts = {"Solid": 300, "Striped": 40}
    labels = many(counts)
    chosen = draw(labels, 0.1, 3)
    names = {(str(labels.ids[labels.row[at]]), int(labels.stratum[at])) for at in chosen.labels}
    back = np.arange(340)[::-1]
    cells = [("Solid",) if n < 300 else ("Striped",) for n in back]
    turned = Labels.of_cells({"Pattern": cells}, labels.ids[back], labels.products[back])
    again = draw(turned, 0.1, 3)
    assert {(str(turned.ids[turned.row[at]]), int(turned.stratum[at])) for at in again.labels} == names
    assert draw(labels, 0.1, 4).labels.tolist() != chosen.labels.tolist()
    assert len(set(chosen.labels.tolist())) == len(chosen.labels) == 34


def test_the_digest_names_sample_and_catalogue():
    labels = many({"Solid": 60})
    one = draw(labels, 0.2, 0)
    assert one.digest(labels, "f") == draw(labels, 0.2, 0).digest(labels, "f")
    assert len({one.digest(labels, "f"), one.digest(labels, "g"), draw(labels, 0.2, 1).digest(labels, "f")}) == 3


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ConfigError, match="--share"):
        draw(many({"Solid": 4}), share, 0)
