"""Holm against the published procedure, worked out by hand."""

import pytest

from clipadapt.metrics.multiplicity import holm


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("wrong", [float("nan"), -0.1, 1.5])
def test_a_p_that_is_none_is_refused_and_not_sorted_among_the_others(wrong: float):
    with pytest.raises(ValueError, match=r"p-value number 1 is .*, not between 0 and 1"):
        holm([0.001, wrong, 0.02])
