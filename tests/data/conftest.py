import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from clipadapt.data.catalogue import Catalogue


def _factory() -> ModuleType:
    """tests/data_factory.py, by path: tests are no package."""
    if "data_factory" not in sys.modules:
        spec = importlib.util.spec_from_file_location("data_factory", Path(__file__).parents[1] / "data_factory.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["data_factory"] = module
        spec.loader.exec_module(module)
    return sys.modules["data_factory"]


_factory()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """datasets' cache, out of the user's home."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets-cache")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """24 items of 12 products, in train (16) and validation (8)."""
    return _factory().write_catalogue(tmp_path / "shop")


@pytest.fixture
def tiny_catalogue(shop: Path) -> Catalogue:
    return Catalogue.load(shop, "train", attributes=["baseColour", "Pattern", "Sleeve Length"])


@pytest.fixture
def photos() -> Path:
    """The folder with the real photos."""
    root = os.environ.get("CLIPADAPT_REAL_DATA")
    if not root or not (Path(root) / "data").is_dir():
        pytest.skip("CLIPADAPT_REAL_DATA names no folder with real photos")
    return Path(root) / "data"
