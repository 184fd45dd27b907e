"""Calls to a Milvus server, or to milvus-lite: each bounded in time, each failure one clear error.

    server = Server.connect(Address.parse("milvus:http://10.0.0.7:19530/shop"))
    server.call("search", collection, data=[...])         a method of pymilvus's client, by name

pymilvus tries again by itself for as long as the time of a call allows where a server is away or overloaded; what is
refused is refused at once. Nothing is counted as done whose answer did not arrive. Knows nothing of what is kept.
"""

import importlib.util
import logging
import os
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from clipadapt.errors import StoreError, UsageError
from clipadapt.search.milvus.address import TOKEN, Address

TIMEOUT = "CLIPADAPT_MILVUS_TIMEOUT"
_SECONDS = 30.0
"""That a call may take, trying again included."""
_TRIES, _PAUSE = 3, 0.5
"""To open a file of milvus-lite; seconds between."""
_ALTERING = threading.Lock()
"""milvus-lite writes a collection's properties by way of one temporary name, which two threads take from each other."""
_ABSENT = (100, 1600)
"""Codes of Milvus: no such collection, no such alias."""


class AbsentError(StoreError):
    """A collection or an alias that is not there."""


class Server:
    """A connection; threads may share it."""

    def __init__(self, client: Any, address: Address, seconds: float) -> None:
        self.client, self.address, self.seconds = client, address, seconds

    @classmethod
    def connect(cls, address: Address, *, create: bool = False) -> Self:
        """To what an address names.

        Args:
            create: milvus-lite may make its file.

        Raises:
            UsageError: pymilvus or milvus-lite is not installed, or the time limit is no number.
            AbsentError: milvus-lite has no such file.
            StoreError: the server does not answer, or another process has the file open.
        """
        _require(address)
        seconds = _seconds()
        if address.lite and not create and not Path(address.uri).expanduser().exists():
            raise AbsentError(f"{address}: nothing was written here yet; build one with clipadapt index build")
        if address.lite:
            uri = Path(address.uri).expanduser()
            uri.parent.mkdir(parents=True, exist_ok=True)
        from pymilvus.exceptions import MilvusException

        quiet = ("pymilvus", "milvus_lite", *(("grpc._server",) if address.lite else ()))
        for name in quiet:  # they print tracebacks of what is raised here as one error, or is of no consequence
            logging.getLogger(name).setLevel(logging.CRITICAL)
        where = str(Path(address.uri).expanduser().resolve()) if address.lite else address.uri
        try:
            client = _client(where, seconds, tries=_TRIES if address.lite else 1)
        except MilvusException as error:
            if address.lite:
                raise StoreError(
                    f"{address}: cannot be opened; another process has it open, for milvus-lite lets one at a time, or "
                    "it is no such file; end that process, or serve from a Milvus server"
                ) from error
            raise StoreError(
                f"{address}: no answer within {seconds:g} s ({_said(error)}); check the address, the network, {TOKEN}, "
                "and that the server runs"
            ) from error
        return cls(client, address, seconds)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """What a method of the client gives.

        Raises:
            AbsentError: there is no such collection or alias.
            StoreError: it failed, or no answer came in time.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        alone = self.address.lite and method == "alter_collection_properties"
        try:
            with _ALTERING if alone else nullcontext():
                return getattr(self.client, method)(*args, timeout=self.seconds, **options)
        except (MilvusException, grpc.RpcError) as error:
            code, said = getattr(error, "code", None), _said(error)
            if code in _ABSENT and ("exist" in said or "not found" in said):
                raise AbsentError(f"{self.address}: {said}") from error
            raise StoreError(
                f"{self.address}: {method} failed: {said}; check that the server runs, then try again "
                f"({TIMEOUT} gives calls more than {self.seconds:g} s)"
            ) from error

    def pages(self, collection: str, expression: str, fields: list[str], size: int) -> "list[dict[str, Any]]":
        """Rows of a collection, all of them.

        Raises:
            StoreError: as `call`.
        """
        return [row for page in self.each_page(collection, expression, fields, size) for row in page]

    def each_page(self, collection: str, expression: str, fields: list[str], size: int):
        """Rows of a collection, some at a time.

        Raises:
            StoreError: as `call`.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        try:
            pages = self.client.query_iterator(
                collection, batch_size=size, filter=expression, output_fields=fields, timeout=self.seconds
            )
            try:
                while page := pages.next():
                    yield page
            finally:
                pages.close()
        except (MilvusException, grpc.RpcError) as error:
            raise StoreError(f"{self.address}: reading failed: {_said(error)}; try again") from error


def _client(where: str, seconds: float, tries: int) -> Any:
    """Opened again where milvus-lite closed the connection: it takes the signs of life of one that was long idle, and
    that pymilvus shares with the next client, for an attack ("too many pings").
    """
    import grpc
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    for left in reversed(range(tries)):
        try:
            return MilvusClient(where, token=os.environ.get(TOKEN, ""), timeout=seconds)
        except MilvusException as error:
            inside: Any = error.__context__
            if not left or not isinstance(inside, grpc.RpcError) or inside.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            time.sleep(_PAUSE)
    raise AssertionError("the last try raises or returns")


def _require(address: Address) -> None:
    needed = ("pymilvus", "milvus_lite") if address.lite else ("pymilvus",)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{address}: {', '.join(missing)} not installed; pip install 'clipadapt[milvus]'")


def _seconds() -> float:
    text = os.environ.get(TIMEOUT, str(_SECONDS))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise UsageError(f"{TIMEOUT}={text}: seconds that a call to Milvus may take, such as {_SECONDS:g}")
    return seconds


def _said(error: BaseException) -> str:
    """The message alone, on one line."""
    text = getattr(error, "message", None) or getattr(error, "details", lambda: None)() or str(error)
    return " ".join(str(text).split())[:300]
