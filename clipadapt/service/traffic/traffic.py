"""Who answers a query, and what is written down of it: the one object that an app needs.

    traffic = Traffic.open(flag=Path("flag.yaml"), log=Path("logs"))
    route = traffic.route("user 17", None, candidate=True)
    query_id = traffic.record(route, release="000004", items=["1163", "20"], took_ms=4.1, kind="text", k=24)
    if route.mirror:
        traffic.record_mirror(query_id, release="000005", items=["20", "77"], took_ms=5.0)
    traffic.record_event(query_id, item="20", position=2, event="click")
    traffic.close()

Everything takes microseconds, waits for no disk and may be called from any thread. A user's id goes no further than
this object: what is logged is a hash. Nothing here searches.
"""

import datetime
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from clipadapt.deploy.event_log.form import What, stamp
from clipadapt.service.traffic.flag import Arm, Flag, FlagFile
from clipadapt.service.traffic.users import Identity, Query
from clipadapt.service.traffic.writer import Writer

QueryKind = Literal["text", "picture", "item", "mixed"]
Outcome = Literal["written", "unknown query", "no room"]


class Route(NamedTuple):
    """Who answers one query."""

    arm: Arm
    mirror: bool
    """Whether the candidate is to be asked too, afterwards, for the log alone."""
    user: str | None
    """Hashed; null where none was given, and where the client asked for the arm: then nobody was assigned to it, so
    that the answer is no part of a comparison of users."""


class Traffic:
    """The flag, the log and the identity of users of one service."""

    def __init__(
        self,
        flag: FlagFile | None,
        writer: Writer | None,
        identity: Identity,
        *,
        keep_queries: bool = False,
        clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._flag, self._writer, self._identity = flag, writer, identity
        self._keep_queries, self._clock = keep_queries, clock
        self._without_candidate = False

    @classmethod
    def open(cls, flag: str | Path | None = None, log: str | Path | None = None, *, keep_queries: bool = False) -> Self:
        """Reads the flag and starts the log's writer; null leaves either out.

        Args:
            keep_queries: whether the log keeps the words of queries.

        Raises:
            ConfigError: the flag is at fault.
            StoreError: the log cannot be written, or its secret cannot be read.
        """
        watched = FlagFile(flag) if flag is not None else None
        folder = Path(log) if log is not None else None
        identity = Identity.of(folder)
        return cls(watched, Writer(folder) if folder is not None else None, identity, keep_queries=keep_queries)

    @property
    def logs(self) -> bool:
        """Whether anything is written down."""
        return self._writer is not None

    def arm_of(self, user: str | None) -> Arm:
        """Who answers a user that asks for no arm: the current release, or what the flag says."""
        return self._flag.flag.arm_of(user) if self._flag is not None and user is not None else "current"

    def route(self, user: str | None, asked: Arm | None, *, candidate: bool) -> Route:
        """Who answers a query.

        Args:
            user: an opaque id; null: nobody's, answered by the current release.
            asked: the arm that the client wants; null: what the flag says.
            candidate: whether a candidate is served now.
        """
        if asked is not None:
            return Route(asked, False, None)
        hashed = self._identity.hashed(user) if user is not None else None
        flag = self._flag.flag if self._flag is not None else None
        self._without_candidate = flag is not None and flag.share > 0 and not candidate
        if flag is None or not candidate:
            return Route("current", False, hashed)
        # In a shadow nobody's answer depends on the draw, so that queries without a user may be drawn one by one.
        mirror = flag.mode == "shadow" and flag.chosen(user if user is not None else secrets.token_hex(8))
        arm = flag.arm_of(user) if user is not None else "current"
        return Route(arm, mirror, hashed)

    def record(
        self,
        route: Route,
        *,
        release: str,
        items: Sequence[str],
        took_ms: float,
        kind: QueryKind,
        k: int,
        where: Sequence[str] = (),
        understood: Sequence[str] = (),
        query: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes an answer down; gives the query id that its events come back with.

        Args:
            items: ids, best first.
            where: columns that the query was restricted by.
            understood: values and columns that its words were read for; never the words.
            query: as the client sent it; kept only where the log keeps queries.
        """
        query_id = self._identity.issue(Query(release, route.arm, route.user))
        kept = json.dumps(query, ensure_ascii=False) if query is not None and self._keep_queries else None
        self._answer(
            query_id, route.user, release, route.arm, items=list(items), took_ms=took_ms, kind=kind, k=k,
            where=list(where), understood=list(understood), query=kept,
        )  # fmt: skip
        return query_id

    def record_mirror(
        self,
        query_id: str,
        *,
        release: str,
        items: Sequence[str] = (),
        took_ms: float | None = None,
        error: str | None = None,
    ) -> None:
        """Writes the candidate's answer to a mirrored query down, or why it gave none.

        Raises:
            ValueError: the query id is none of this service's.
        """
        query = self._identity.read(query_id)
        if query is None:
            raise ValueError(f"{query_id!r} is no query id that `record` gave")
        self._answer(
            query_id, query.user, release, "candidate", mirrored=True, items=list(items), took_ms=took_ms, error=error
        )

    def record_event(self, query_id: str, *, item: str, position: int, event: What) -> Outcome:
        """Writes down that an item of an answer was seen or clicked."""
        query = self._identity.read(query_id)
        if query is None:
            return "unknown query"
        head = {"ts": stamp(self._clock()), "user": query.user, "release": query.release, "arm": query.arm}
        record = head | {"query_id": query_id, "item": item, "position": position, "event": event}
        return "written" if self._writer is not None and self._writer.put("events", record) else "no room"

    def state(self) -> dict[str, Any] | None:
        """The flag as /info shows it; null: there is none."""
        if self._flag is None:
            return None
        flag: Flag = self._flag.flag
        return {"path": str(self._flag.path), "share": flag.share, "mode": flag.mode, "error": self._flag.error}

    def faults(self) -> list[str]:
        """What is wrong now, in words."""
        faults = []
        if self._flag is not None and self._flag.error is not None:
            faults.append(self._flag.error)
        if self._without_candidate:
            faults.append("the flag gives users to a candidate, and none is served; the current release answers them")
        if self._writer is not None and self._writer.fault is not None:
            faults.append(self._writer.fault)
        if self._writer is not None and self._writer.dropped:
            faults.append(f"{self._writer.dropped:,} record(s) of the event log were lost since the start")
        return faults

    def counts(self) -> dict[str, float]:
        """Counters and gauges for /metrics; empty without a log."""
        if self._writer is None:
            return {}
        writer = self._writer
        return {
            "written": writer.written, "dropped": writer.dropped, "waiting": writer.waiting,
            "sealed_parts": writer.sealed.parts, "torn_bytes": writer.sealed.bytes,
        }  # fmt: skip

    def close(self) -> None:
        """Flushes and closes the log.

        Raises:
            StoreError: something could not be written.
        """
        if self._writer is not None:
            self._writer.close()

    def _answer(
        self, query_id: str, user: str | None, release: str, arm: Arm, *, mirrored: bool = False, **rest: Any
    ) -> None:
        if self._writer is not None:
            head = {"ts": stamp(self._clock()), "user": user, "release": release, "arm": arm, "query_id": query_id}
            self._writer.put("answers", head | {"mirrored": mirrored} | rest)
