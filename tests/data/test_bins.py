import pytest

from clipadapt.data.bins import FEW, MEDIUM, bin_of, rare


@pytest.mark.parametrize(
    ("count", "name"), [(0, "few"), (FEW, "few"), (21, "medium"), (MEDIUM, "medium"), (101, "many"), (10**6, "many")]
)
def test_bounds_belong_to_the_lower_bin(count, name):
    assert bin_of(count) == name


def test_rare_is_few_and_medium():
    assert rare({"Solid": 947, "Paisley": 20, "Checked": 100, "Dotted": 0}) == {"Paisley", "Checked", "Dotted"}


def test_a_negative_count_is_a_bug():
    with pytest.raises(ValueError, match="-1"):
        bin_of(-1)
