"""Sizes, balance, spellings."""

from pathlib import Path

from data_factory import write_table

from clipadapt.audit.overview import histogram, overview
from clipadapt.inputs import resolve


def test_histogram_has_every_range_between_the_smallest_and_the_largest():
    assert histogram([30, 64, 127, 230, None]) == {"under 64": 1, "64 to 127": 2, "128 to 223": 0, "224 to 335": 1}
    assert histogram([4000]) == {"2048 or more": 1}
    assert histogram([None]) == {}


def test_spellings_and_slips_are_told_apart(tmp_path: Path):
    values = ["Striped"] * 30 + ["striped", "Stiped", "Solid", "Size 8"] + ["Size 9"] * 20 + [""]
    rows = [{"file_name": f"{n}.png", "id": str(n), "Pattern": value} for n, value in enumerate(values)]
    write_table(tmp_path / "shop" / "train", rows)
    (tmp_path / "shop/train/3.png").write_bytes(b"no picture")
    inputs = resolve(source=str(tmp_path / "shop"), attributes=["Pattern"])
    train = inputs.items("train")
    found = overview({"train": train}, train, inputs.data, inputs.opened)
    assert found.broken == 1 and sum(found.sizes.values()) == len(values) - 1
    assert list(found.balance["Pattern"].items())[:2] == [("Striped", 30), ("Size 9", 20)]
    assert found.balance["Pattern"][""] == 1
    assert len(found.spellings) == 1 and "'Striped' (30), 'striped' (1)" in found.spellings[0].what
    assert found.slips == ("Pattern: 'Stiped' (1) may be 'Striped' (30) with a slip in it",)
