"""Fixtures of tests that keep an index in a file of milvus-lite."""

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory) -> Path:
    """A file of milvus-lite for all tests: to open one takes seconds."""
    if importlib.util.find_spec("milvus_lite") is None or importlib.util.find_spec("pymilvus") is None:
        pytest.skip("milvus-lite is not installed: pip install 'clipadapt[milvus]'")
    return tmp_path_factory.mktemp("milvus") / "tests.db"


@pytest.fixture
def in_milvus(milvus_file: Path, monkeypatch) -> Iterator[str]:
    """Address of an index that is not there yet; recall is measured with few queries."""
    from pymilvus import MilvusClient

    monkeypatch.setattr("clipadapt.search.tune.QUERIES", 20)
    monkeypatch.setattr("clipadapt.search.recall._TIMED", 2)
    name = f"t{next(_NUMBERS)}_index"
    yield f"milvus:{milvus_file}/{name}"
    if not milvus_file.exists():
        return
    client: Any = MilvusClient(str(milvus_file))  # its methods are typed as coroutines, too
    for one in client.list_collections():
        for alias in client.list_aliases(one)["aliases"]:
            if alias.startswith(name):
                client.drop_alias(alias)
        if one.startswith(name):
            client.drop_collection(one)
    client.close()
