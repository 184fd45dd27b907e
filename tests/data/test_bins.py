import pytest
from data_factory import write_table

from clipadapt.data.bins import FEW, MEDIUM, bin_of, rare, training_counts
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.splits import carve


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


def test_what_was_carved_for_tune_counts_as_training_and_a_split_apart_does_not(tmp_path):
    rows = [{"Pattern": "Solid" if row % 3 else "Striped", "product": str(row)} for row in range(30)]
    for split in ("train", "validation"):
        write_table(tmp_path / split, [{"file_name": f"{split}{at}.png"} | row for at, row in enumerate(rows)])
    whole, apart = (Catalogue.load(tmp_path, split, attributes=["Pattern"]) for split in ("train", "validation"))
    rest, carved = carve(whole, 0.3, seed=1)
    assert len(carved) == 9
    counted = {"Pattern": {"Solid": 20, "Striped": 10}}
    assert training_counts(whole) == counted
    assert training_counts(rest, carved) == counted
    assert training_counts(whole, apart) == counted
