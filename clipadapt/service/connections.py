"""Connections on which a request has to begin in time.

    uvicorn.Config(app, http=heads_within(20.0))

uvicorn waits for the rest of a request's head for as long as the client likes, and so for the first byte of a new
connection: as many of those as it takes at once would keep everybody else out. How long a body may take is the guard's
matter, and how long a connection may lie still between two requests that of uvicorn's `timeout_keep_alive`.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def heads_within(seconds: float) -> type[asyncio.Protocol]:
    """The protocol of a connection, which is closed where a head takes longer than that."""

    class Bounded(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch()

        def _watch(self) -> None:
            """From the first byte of a head to its last; more bytes win no time."""
            if self.conn.their_state is not h11.IDLE:
                self._unwatch()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(seconds, self._close)

        def _unwatch(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _close(self) -> None:
            self._deadline = None
            if self.conn.their_state is h11.IDLE:
                self.transport.close()

    return Bounded
