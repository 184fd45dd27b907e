"""Connections to milvus-lite that it closed by itself."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from clipadapt.errors import StoreError
from clipadapt.search.milvus import server as module
from clipadapt.search.milvus.address import Address
from clipadapt.search.milvus.server import Server

grpc = pytest.importorskip("grpc")
exceptions = pytest.importorskip("pymilvus.exceptions")
pytest.importorskip("milvus_lite")


class Closed(grpc.RpcError):
    """What a call gets on a connection that the other side closed."""

    def __init__(self, code: Any) -> None:
        self._code = code

    def code(self) -> Any:
        return self._code


@pytest.mark.parametrize(
    ("failures", "code", "opened"), [(2, "UNAVAILABLE", 3), (3, "UNAVAILABLE", None), (1, "UNAUTHENTICATED", None)]
)
def test_a_file_is_opened_again_where_the_connection_was_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, code: str, opened: int | None
) -> None:
    tries: list[str] = []

    def client(where: str, **_: object) -> object:
        tries.append(where)
        if len(tries) <= failures:
            try:
                raise Closed(getattr(grpc.StatusCode, code))
            except grpc.RpcError as error:
                raise exceptions.MilvusException(2, "Fail connecting to server") from error
        return client

    monkeypatch.setattr("pymilvus.MilvusClient", client)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    address = Address.parse(f"milvus:{tmp_path}/tests.db/shop")
    if opened is None:
        with pytest.raises(StoreError, match="cannot be opened; another process has it open"):
            Server.connect(address, create=True)
        assert len(tries) == (3 if code == "UNAVAILABLE" else 1)
    else:
        assert Server.connect(address, create=True).client is client and len(tries) == opened


@pytest.mark.parametrize(("address", "most"), [("milvus:shop.db/shop", 1), ("milvus:http://127.0.0.1:19530/shop", 2)])
def test_threads_alter_properties_of_a_file_one_after_the_other(address: str, most: int) -> None:
    within: list[int] = []
    together, now = threading.Barrier(2, timeout=0.3), 0

    class Client:
        def alter_collection_properties(self, collection: str, *, timeout: float) -> None:
            nonlocal now
            now += 1
            within.append(now)
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait()
            now -= 1

    server = Server(Client(), Address.parse(address), 1.0)
    threads = [threading.Thread(target=server.call, args=("alter_collection_properties", "shop")) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(within) == 2 and max(within) == most
