import fsspec
import pytest
from data_factory import write_catalogue

from clipadapt.data.catalogue import Catalogue
from clipadapt.data.sharding import write_shards
from clipadapt.data.sources import open_source


@pytest.fixture(autouse=True)
def _machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPADAPT_CACHE", str(tmp_path / "machine"))
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def shop(tmp_path):
    """24 items, all of them train."""
    return write_catalogue(tmp_path / "shop", validation=0)


@pytest.fixture(params=["local", "remote"])
def shards(request, shop, tmp_path):
    """Six shards of four items."""
    out = str(tmp_path / "shards") if request.param == "local" else "memory://bucket/shop"
    source = open_source(shop)
    write_shards(source, {"train": Catalogue.of(source, "train")}, out, rows=4)
    return out
