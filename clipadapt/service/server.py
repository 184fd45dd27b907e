"""Runs the service: opens the port at once, loads in the background, and stops without dropping a request."""

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from threadpoolctl import threadpool_limits

from clipadapt.errors import UsageError
from clipadapt.service.app import create_app
from clipadapt.service.connections import heads_within
from clipadapt.service.serving import Serving

log = logging.getLogger(__name__)

_GRACE = 20
"""Seconds that requests at hand have when the service is stopped."""

_CONNECTIONS = 1_024
"""Open at once; more are turned away before a request is read."""


class _Server(uvicorn.Server):
    """Ends on SIGINT and SIGTERM once requests at hand are answered, and returns; uvicorn's would raise them again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, self.handle_exit) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(serving: Serving, load: Callable[[], None], listening: socket.socket, *, at_once: bool = True) -> None:
    """Serves until a signal ends it.

    Args:
        load: opens what is served and puts it into `serving`.
        listening: an open port, see `open_port`.
        at_once: takes connections meanwhile, loading in a thread of its own; otherwise only when it is done.

    Raises:
        Exception: whatever `load` raises.
    """
    failed: list[BaseException] = []
    logging.getLogger("clipadapt.towers.long_texts").setLevel(logging.ERROR)  # it names texts, here those of queries

    def open_it() -> None:
        load()
        one_thread_each()

    def loading() -> None:
        try:
            open_it()
        except BaseException as error:
            failed.append(error)
            server.should_exit = True

    def begin() -> None:
        if at_once:
            threading.Thread(target=loading, name="loading", daemon=True).start()

    if not at_once:
        open_it()
    app = create_app(serving, begin)
    config = uvicorn.Config(
        app, access_log=False, log_level="warning", timeout_graceful_shutdown=_GRACE, server_header=False,
        timeout_keep_alive=15, http=heads_within(serving.settings.limits.body_seconds),
        limit_concurrency=_CONNECTIONS, h11_max_incomplete_event_size=32_768,
    )  # fmt: skip
    server = _Server(config)
    server.run(sockets=[listening])
    if failed:
        raise failed[0]


def one_thread_each() -> None:
    """From now on a product of matrices keeps to the thread that asks for it; towers keep theirs.

    Requests are answered side by side as it is. With threads of its own OpenBLAS lets products of several wait for one
    another: eight threads then search a seventh as often as with one each. Limits what is loaded by now.
    """
    threadpool_limits(1, user_api="blas")


def open_port(host: str, port: int) -> socket.socket:
    """An open port, whose address is logged; 0 takes any that is free.

    Raises:
        UsageError: it cannot be opened.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.create_server((host, port), family=family, backlog=2_048)
        # asyncio does so only for sockets that name their protocol, which this one does not (Python 3.11): a kept
        # connection then waits 40 ms for each answer, until the client has acknowledged its first half.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{host}:{port} cannot be opened ({reason}); choose another --host or --port") from error
    log.info("open http://%s:%d", f"[{host}]" if ":" in host else host, made.getsockname()[1])
    return made
