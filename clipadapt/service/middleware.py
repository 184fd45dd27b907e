"""Around every request: an id, security headers, who may ask, how much may be sent and how slowly, one line of log.

The line holds method, route, status, duration and the id, a span of OpenTelemetry the same and the path; a query, a
picture or a user never. Nothing here knows what a
route does.
"""

import asyncio
import hmac
import json
import logging
import random
import time
from http.cookies import CookieError, SimpleCookie

from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipadapt.service.problems import Problem, answer
from clipadapt.service.rates import Rates
from clipadapt.service.serving import Serving

access = logging.getLogger("clipadapt.service.access")
log = logging.getLogger(__name__)

COOKIE = "clipadapt_token"
"""Where a page may keep the token, for pictures are asked for by the browser, without a header."""
_OPEN = ("/healthz", "/readyz", "/", "/favicon.ico")
_UNLIMITED = ("/healthz", "/readyz", "/metrics")
_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
"""Where a route does not set its own."""
_MULTIPART_MARGIN = 100_000
"""Bytes that a form may hold beside its picture."""


class Guard:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app, self._serving, self._settings = app, serving, serving.settings
        self._most = self._settings.limits.upload_bytes + _MULTIPART_MARGIN
        self._uploads = 0
        self._rates = Rates(self._settings.rate) if self._settings.rate is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, request_id = time.perf_counter(), f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = request_id
        _name_span(request_id)
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message["headers"]}
                more = [header for header in _HEADERS if header[0] not in there]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *more]
            await send(message)

        try:
            refused = self._refused(scope)
            if refused is not None:
                response = answer(request_id, refused.status_code, refused.code, refused.detail, _plain(refused))
                await response(scope, receive, sending)
            elif self._large(scope):
                self._uploads += 1
                try:
                    await self._app(scope, self._bounded(receive), sending)
                finally:
                    self._uploads -= 1
            else:
                await self._app(scope, self._bounded(receive), sending)
        except Exception:
            log.exception("request %s failed", request_id)
            if not status:
                response = answer(request_id, 500, "internal", "the service failed; its log has more under this id")
                await response(scope, receive, sending)
        finally:
            self._report(scope, request_id, status, time.perf_counter() - started)

    def _refused(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        path = scope["path"]
        token = self._settings.token
        if token is not None and not (path in _OPEN or path.startswith("/page/")) and not _brings(headers, token):
            problem = Problem(401, "unauthorised", "send the service's token: Authorization: Bearer TOKEN")
            problem.headers = {"WWW-Authenticate": "Bearer"}
            return problem
        hosts = self._settings.hosts
        if hosts and _name(headers.get("host", "")) not in hosts:
            return Problem(400, "unknown_host", f"this service answers as {', '.join(hosts)}; see --allowed-host")
        if self._rates is not None and path not in _UNLIMITED:
            wait = self._rates.wait(str((scope.get("client") or ("",))[0]))
            if wait is not None:
                message = f"more than {self._settings.rate} from one client; try again in {wait} s"
                return Problem(429, "too_many_requests", message, retry_after=wait)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._most:
            return self._too_large()
        if self._uploads >= self._settings.limits.uploads and self._large(scope):
            return Problem(429, "busy", "too many pictures are arriving; try again in a second", retry_after=1)
        return None

    def _large(self, scope: Scope) -> bool:
        """Whether a request may bring more than a query; one that does not say how much may."""
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        return (
            "transfer-encoding" in headers or not length.isdecimal() or int(length) > self._settings.limits.query_bytes
        )

    def _bounded(self, receive: Receive) -> Receive:
        """Ends a body that is too large, or that does not end."""
        taken, deadline = 0, time.monotonic() + self._settings.limits.body_seconds
        whole = False

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:
                return await receive()  # what comes after the body: that the client has gone
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):  # wait_for would start a task
                    message = await receive()
            except TimeoutError as error:
                seconds = self._settings.limits.body_seconds
                raise Problem(408, "too_slow", f"the request did not arrive in {seconds:g} seconds") from error
            taken += len(message.get("body", b""))
            whole = message["type"] != "http.request" or not message.get("more_body", False)
            if taken > self._most:
                raise self._too_large()
            return message

        return bounded

    def _report(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None)
        self._serving.metrics.observe(route, scope["method"], status, seconds)
        if not access.isEnabledFor(logging.INFO):
            return
        line = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "request_id": request_id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(1000 * seconds, 1),
        }
        access.info("%s", json.dumps(line))

    def _too_large(self) -> Problem:
        return Problem(
            413, "too_large", f"more than {self._settings.limits.upload_bytes:,} bytes; send a smaller picture"
        )


def _name_span(request_id: str) -> None:
    """FastAPI makes a span of each request where OpenTelemetry is set up; conditions of a search stay out of it."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({"clipadapt.request_id": request_id, "url.query": "left out"})


def _plain(problem: Problem) -> dict[str, str]:
    return dict(problem.headers or {})


def _brings(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            morsel = None
        given = morsel.value if morsel is not None else ""
    return hmac.compare_digest(given.strip().encode(), token.encode())


def _name(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower()
