"""Fixtures over a shop of coloured squares, for every package that measures encoders."""

from pathlib import Path

import pytest
from data_factory import write_catalogue
from squares import ATTRIBUTES, PROMPTS, SquareEncoder

from clipadapt.data.catalogue import Catalogue
from clipadapt.prompts import Prompts


@pytest.fixture
def words() -> Prompts:
    return Prompts.parse(PROMPTS)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """180 items of 90 products, two pictures each; a third of them validation."""
    return write_catalogue(tmp_path_factory.mktemp("shop"), items=180)


@pytest.fixture(scope="session")
def validation(shop: Path) -> Catalogue:
    return Catalogue.load(shop, "validation", attributes=ATTRIBUTES)


@pytest.fixture(scope="session")
def train(shop: Path) -> Catalogue:
    return Catalogue.load(shop, "train", attributes=ATTRIBUTES)


@pytest.fixture
def good() -> SquareEncoder:
    return SquareEncoder("good")


@pytest.fixture
def poor() -> SquareEncoder:
    return SquareEncoder("poor", blind=("striped", "red"))
