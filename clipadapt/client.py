"""A client of `clipadapt serve`, for shops written in Python.

    with Client("http://127.0.0.1:8000", token="...") as client:
        answer = client.search("striped midi skirt", where=["price<50"], k=10)
        client.search(image="photo.jpg", text="in red", text_weight=0.3)
        client.search(parts=[Part(text="midi", weight=0.7), Part(item="1163", weight=-0.3)])
        client.events(answer.query_id, clicks={answer.hits[0].id: 1})

A request is sent again where that can do no harm: when the service was not reached, was busy (429, after the time it
names) or is not ready (503). Events are sent again only when they did not arrive. Needs httpx alone, no torch.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import quote

import httpx

from clipadapt.errors import ServiceError, UsageError

Arm = Literal["current", "candidate"]
Picture = bytes | str | Path
"""An encoded picture, or the path of its file."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds before a request is sent again: doubled each time, and never more than the second."""


class Part(NamedTuple):
    """Words or an item, and how much they count; a weight below 0 is what results should not be like."""

    text: str | None = None
    item: str | None = None
    weight: float = 1.0
    but: str | None = None
    """What is to be other than in the item; such a part stands alone."""


class Hit(NamedTuple):
    """One result."""

    id: str
    product: str
    score: float
    attributes: dict[str, Any]
    image_url: str | None
    """From the service's address; null where it serves no picture of the item."""


class Answer(NamedTuple):
    """The answer to a search."""

    query_id: str
    release: str
    arm: Arm
    took_ms: float
    warnings: list[str]
    hits: list[Hit]
    understood: Sequence[dict[str, Any]] = ()
    """Of each text in which values, numbers or dates were found: text, explained, parts and notes."""


class Item(NamedTuple):
    """What is known of an item."""

    id: str
    product: str
    attributes: dict[str, Any]
    image_url: str | None


class Tag(NamedTuple):
    """One value of a picture."""

    attribute: str
    value: str
    probability: float
    state: Literal["sure", "unsure", "not_applicable"]


class Client:
    """A connection to one service; threads may share it. Close it, or use it in a `with`.

    Args:
        token: the service's bearer token.
        timeout: seconds that one attempt may take.
        retries: how often a request is sent again.
        transport: of httpx, for tests and proxies.
        sleep: waits between attempts.
    """

    def __init__(
        self,
        address: str = "http://127.0.0.1:8000",
        *,
        token: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout, transport=transport)
        self._address, self._retries, self._sleep = address, retries, sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def search(
        self,
        text: str | None = None,
        *,
        item: str | None = None,
        image: Picture | None = None,
        parts: Sequence[Part] = (),
        where: Sequence[str] = (),
        k: int = 24,
        collapse: bool = True,
        text_weight: float | None = None,
        plain: bool = False,
        arm: Arm | None = None,
        user: str | None = None,
    ) -> Answer:
        """The items that fit; arguments mean what they mean in `Index.search` and on the command line.

        Raises:
            ServiceError: the service refuses, or cannot be reached.
            UsageError: a picture's file cannot be read.
        """
        listed = [{name: value for name, value in part._asdict().items() if value is not None} for part in parts]
        body = {
            "text": text, "item": item, "parts": listed or None, "where": list(where) or None, "k": k,
            "collapse": collapse, "text_weight": text_weight, "plain": plain or None, "arm": arm,
            "user": user,
        }  # fmt: skip
        found = self._post("/search", {name: value for name, value in body.items() if value is not None}, image)
        return Answer(**{**found, "hits": [Hit(**hit) for hit in found["hits"]]})

    def item(self, item: str) -> Item:
        """What is known of an item.

        Raises:
            ServiceError: no such item; as `search`.
        """
        return Item(**self._send("GET", f"/items/{quote(item, safe='')}").json())

    def picture(self, item: str, size: int = 256) -> bytes:
        """An item's picture as JPEG, its longer side at most `size` pixels.

        Raises:
            ServiceError: no such picture; as `search`.
        """
        return self._send("GET", f"/items/{quote(item, safe='')}/picture", params={"size": size}).content

    def facets(self, where: Sequence[str] = (), *, arm: Arm = "current") -> dict[str, Any]:
        """What the items under some conditions hold, as GET /facets gives it."""
        return self._send("GET", "/facets", params={"where": list(where), "arm": arm}).json()

    def embed(self, texts: Sequence[str] | None = None, *, image: Picture | None = None) -> list[list[float]]:
        """A unit vector per text, or one for a picture."""
        return self._post("/embed", None if texts is None else {"texts": list(texts)}, image)["vectors"]

    def tags(self, item: str | None = None, *, image: Picture | None = None) -> list[Tag]:
        """What an item of the index, or a picture, is."""
        found = self._post("/tags", None if item is None else {"item": item}, image)
        return [Tag(**one) for one in found["tags"]]

    def events(
        self, query_id: str, *, impressions: Mapping[str, int] | None = None, clicks: Mapping[str, int] | None = None
    ) -> int:
        """Reports which items of an answer were seen and clicked, each with its position from 1; how many counted."""
        events = [
            {"query_id": query_id, "item": item, "position": position, "event": event}
            for event, items in (("impression", impressions or {}), ("click", clicks or {}))
            for item, position in items.items()
        ]
        return self._send("POST", "/events", harmless=False, json={"events": events}).json()["accepted"]

    def info(self) -> dict[str, Any]:
        """What is served, as GET /info gives it."""
        return self._send("GET", "/info").json()

    def ready(self) -> bool:
        """Whether searches are answered now."""
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _post(self, path: str, body: Mapping[str, Any] | None, image: Picture | None) -> dict[str, Any]:
        if image is None:
            return self._send("POST", path, json=body or {}).json()
        content = image if isinstance(image, bytes) else _read(Path(image))
        data = {"query": httpx.Request("POST", "http://x", json=body).content.decode()} if body is not None else None
        return self._send("POST", path, files={"image": content}, data=data).json()

    def _send(self, method: str, path: str, *, harmless: bool = True, **given: Any) -> httpx.Response:
        """`harmless`: nothing changes when the service gets the request twice."""
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                response = self._http.request(method, path, **given)
            except httpx.HTTPError as error:
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                if last or not (harmless or never_sent):
                    raise ServiceError(
                        f"{self._address}{path}: no answer ({error or type(error).__name__}); is the service running?"
                    ) from error
                self._sleep(_pause(attempt))
                continue
            if response.is_success:
                return response
            again = response.status_code == 429 or (harmless and response.status_code == 503)
            if last or not again:
                raise _refused(response)
            self._sleep(_pause(attempt, response.headers.get("retry-after")))
        raise AssertionError("the last attempt returns or raises")


def _pause(attempt: int, named: str | None = None) -> float:
    """The time that the service names, else one that doubles, with chance in it so that clients do not meet again."""
    if named is not None and named.isdecimal():
        return min(float(named), _LONGEST_PAUSE)
    return min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE) * random.uniform(0.5, 1.0)


def _refused(response: httpx.Response) -> ServiceError:
    try:
        error = response.json()["error"]
        code, message, request_id = error["code"], error["message"], error["request_id"]
    except (ValueError, KeyError, TypeError):  # something between here and the service answered
        code, message, request_id = "unknown", response.text[:200], response.headers.get("x-request-id", "")
    text = f"{response.status_code} {code}: {message} (request {request_id})"
    return ServiceError(text, status=response.status_code, code=code, request_id=request_id)


def _read(file: Path) -> bytes:
    try:
        return file.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}; check the path") from error
