"""POST /events: impressions and clicks of answers, as a page or a shop's front end reports them.

    {"events": [{"query_id": "...", "item": "1163", "position": 1, "event": "click"}]}
    -> 202 {"accepted": 1, "refused": 0}

An event counts for the release, the arm and the user of its query id, whoever sends it; one with a query id that was
never issued is refused, the others of the request are not. Nothing here keeps anything.
"""

from typing import Annotated

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from clipadapt.deploy.event_log.form import What
from clipadapt.service.traffic.traffic import Traffic

MOST_EVENTS = 200
"""Of one request; as many as a page of results can show."""
_LONGEST = 512
_RETRY_AFTER = "5"


class EventIn(BaseModel):
    """One event."""

    model_config = ConfigDict(extra="forbid")

    query_id: Annotated[str, Field(min_length=1, max_length=_LONGEST)]
    item: Annotated[str, Field(min_length=1, max_length=_LONGEST)]
    position: Annotated[int, Field(ge=1, le=10_000)]
    """From 1."""
    event: What


class EventsIn(BaseModel):
    """What is posted."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[EventIn], Field(min_length=1, max_length=MOST_EVENTS)]
    user: Annotated[str | None, Field(max_length=_LONGEST)] = None
    """Accepted and not used: an event is of the user that its query was of."""


class Accepted(BaseModel):
    """How many were written down, and how many came with a query id that this service never gave."""

    accepted: int
    refused: int


def events_router(traffic: Traffic) -> APIRouter:
    """The route, for an app to include. Its HTTPExceptions carry {"code", "message"} as their detail."""
    router = APIRouter()

    @router.post("/events", status_code=202)
    async def post_events(body: EventsIn) -> Accepted:
        """Report that items of an answer were seen or clicked."""
        if not traffic.logs:
            raise HTTPException(
                404, {"code": "no_event_log", "message": "this service keeps no events; start it with --log FOLDER"}
            )
        outcomes = [
            traffic.record_event(one.query_id, item=one.item, position=one.position, event=one.event)
            for one in body.events
        ]
        if "no room" in outcomes:
            lost = outcomes.count("no room")
            raise HTTPException(
                503,
                {
                    "code": "events_lost",
                    "message": f"{lost} of {len(outcomes)} events could not be kept, for the log is behind or its disk "
                    "is full; send those later",
                },
                {"Retry-After": _RETRY_AFTER},
            )
        refused = outcomes.count("unknown query")
        return Accepted(accepted=len(outcomes) - refused, refused=refused)

    return router
