"""An index finds the catalogue that shows its items wherever both were moved to, and shows none without its policy."""

import json
from pathlib import Path

import pytest

from clipadapt.config import Data
from clipadapt.errors import ConfigError
from clipadapt.search.shown import catalogue_of, remembered_catalogue


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("work/shop", "work/indexes/a"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "work/policy.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work/shop"


def test_paths_are_from_the_index_and_found_after_a_move(shop: Path, tmp_path: Path, monkeypatch):
    data = Data(source="shop", image="photo", policy=str(tmp_path / "work/policy.yaml"), product=None)
    kept = remembered_catalogue(data, Path("indexes/a"))
    assert kept == {"source": "../../shop", "image": "photo", "policy": "../../policy.yaml", "product": None}
    assert json.loads(json.dumps(kept)) == kept
    (tmp_path / "work").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    found = catalogue_of(kept, tmp_path / "moved/indexes/a")
    assert found is not None
    assert (found.source, found.policy) == (str(tmp_path / "moved/shop"), str(tmp_path / "moved/policy.yaml"))
    assert (found.image, found.product) == ("photo", None)


def test_a_catalogue_that_is_not_here_is_not_looked_for_elsewhere(shop: Path):
    kept = remembered_catalogue(Data(source="shop"), Path("indexes/a"))
    shop.rmdir()
    assert catalogue_of(kept, Path("indexes/a")) is None
    assert (
        catalogue_of(remembered_catalogue(Data(source="some/hub-name"), Path("indexes/a")), Path("indexes/a")) is None
    )
    assert catalogue_of(None, Path("indexes/a")) is None


def test_without_its_policy_nothing_may_be_shown(shop: Path, tmp_path: Path):
    kept = remembered_catalogue(Data(source="shop", policy="policy.yaml"), Path("indexes/a"))
    (tmp_path / "work/policy.yaml").unlink()
    with pytest.raises(ConfigError, match="policy"):
        catalogue_of(kept, Path("indexes/a"))


def test_a_drawn_catalogue_needs_no_folder(shop: Path):
    kept = remembered_catalogue(Data(source="drawn:60"), Path("indexes/a"))
    found = catalogue_of(kept, Path("indexes/a"))
    assert found is not None and found.source == "drawn:60"


def test_what_is_no_data_section_is_an_error():
    with pytest.raises(ConfigError, match="catalogue in its index"):
        catalogue_of({"source": "shop", "imag": "photo"}, Path("indexes/a"))
