"""Which licences may be learned from, indexed and shown."""

import csv
from pathlib import Path

import pytest
from data_factory import write_catalogue

from clipadapt.config import Data
from clipadapt.data.catalogue import Catalogue
from clipadapt.data.policy import Policy
from clipadapt.data.splits import load_split, load_splits
from clipadapt.errors import CatalogueError, ConfigError

POLICY = """
column: licence
licences:
  CC0-1.0: [train, index, show]
  In-house: [train]
  Press  kit: [show]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def licensed(folder: Path, licences: list[str], items: int = 48) -> Path:
    """A shop whose items have those licences in turn, in every split."""
    write_catalogue(folder, items=items)
    for table in folder.glob("*/metadata.csv"):
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "licence"])
            writer.writeheader()
            writer.writerows({**row, "licence": licences[int(row["id"]) // 2 % len(licences)]} for row in rows)
    return folder


def data(shop: Path, policy: Path) -> Data:
    return Data(source=str(shop), attributes=("baseColour",), policy=str(policy))


def licences_of(catalogue: Catalogue) -> set[str]:
    return set(catalogue.texts("licence"))


def test_case_and_spaces_do_not_matter_and_what_is_not_named_is_nothing():
    policy = Policy(column="licence", licences={"CC0-1.0": ("train", "index"), "Press kit": ("show",)})
    texts = ["cc0-1.0 ", "Press  Kit", "", "All rights reserved", "CC0-1.0"]
    assert policy.permits(texts, "train").tolist() == [True, False, False, False, True]
    assert policy.permits(texts, "show").tolist() == [False, True, False, False, False]
    line = policy.kept_out(texts, "index")
    assert line.startswith("3 of 5 items kept out: their licence does not allow 'index'")
    assert "none named 1" in line and "All rights reserved 1" in line
    assert Policy(column="l", licences={}, unknown=("show",)).permits([""], "show").all()
    assert policy.kept_out(["CC0-1.0"], "index") == ""


def test_each_split_holds_what_its_use_allows_and_counts_the_rest(tmp_path, policy):
    shop = licensed(tmp_path / "shop", ["CC0-1.0", "in-house", "press kit", "Other", ""])
    splits = load_splits(data(shop, policy), 0)
    assert licences_of(splits.train) | licences_of(splits.tune) == {"CC0-1.0", "in-house"}
    assert licences_of(splits.validation) == {"CC0-1.0", "press kit"}
    assert "does not allow 'train'" in splits.train.kept_out[0] and "none named" in splits.train.kept_out[0]
    whole = load_split(data(shop, policy), "train")
    assert len(licences_of(whole)) == 5 and not whole.kept_out
    assert licences_of(whole.subset([0, 1, 2, 3, 4, 5]).permitted("index")) == {"CC0-1.0"}


def test_a_carved_validation_split_may_be_shown(tmp_path, policy):
    shop = licensed(tmp_path / "shop", ["CC0-1.0", "in-house"])
    (shop / "validation").rename(tmp_path / "elsewhere")
    splits = load_splits(data(shop, policy), 0)
    assert licences_of(splits.train) == {"CC0-1.0", "in-house"} and licences_of(splits.validation) == {"CC0-1.0"}


def test_nothing_left_is_an_error_that_counts(tmp_path, policy):
    shop = licensed(tmp_path / "shop", ["Other"])
    with pytest.raises(CatalogueError, match=r"32 of 32 items kept out.*Other 32"):
        load_splits(data(shop, policy), 0)


def test_a_policy_of_an_unknown_column(tmp_path, policy):
    shop = licensed(tmp_path / "shop", ["CC0-1.0"])
    policy.write_text(POLICY.replace("column: licence", "column: licences"))
    with pytest.raises(CatalogueError, match=r"no column 'licences'.*did you mean 'licence'"):
        load_split(data(shop, policy), "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("licences: {}", "column"),
        ("column: l\nlicences: {CC0: [train], cc0: [show]}", "named twice"),
        ("column: l\nlicences: {CC0: [sell]}", "sell"),
        ("column: l\nlicences: {'': [train]}", "empty name"),
        ("column: l\nlicence: {}", "licence"),
    ],
)
def test_a_faulty_policy(tmp_path, text, message):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Policy.load(file)
    with pytest.raises(ConfigError, match="no such file"):
        Policy.load(tmp_path / "none.yaml")
