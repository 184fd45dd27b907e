"""What a service allows: limits, who may ask, and how it answers. Nothing here serves anything.

upload_bytes: 5_000_000      # a file for `clipadapt serve --limits`; what it leaves out stays as below
waiting: 32
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from pydantic import NonNegativeInt as Whole

from clipadapt.sections import Count, FileSection, Positive

MOST_PIXELS = 89_478_485
"""That `data.decode` takes."""


@dataclass(frozen=True)
class Bounds:
    """The most that a request may ask for: a part of the API, so the same in every service."""

    k: int = 200
    text_characters: int = 1_000
    conditions: int = 50
    parts: int = 16
    texts: int = 64
    """Of one request for vectors."""


BOUNDS = Bounds()


class Limits(FileSection):
    """The most that one request may bring, and that all of them may use together: a matter of the machine."""

    upload_bytes: Count = 10_000_000
    pixels: Annotated[int, Field(ge=1, le=MOST_PIXELS)] = 40_000_000
    """Of an uploaded picture, read from its header before any is decoded: 120 MB as RGB."""
    query_bytes: Count = 65_536
    """Of the JSON of a request."""
    threads: Count = 32
    """Requests that are worked on at once; most of them wait for a vector, which is made for all together."""
    waiting: Whole = 128
    """Requests that may wait for a thread; the next one is answered 429."""
    uploads: Count = 48
    """Requests with more than a query's bytes at once: each may take `upload_bytes` of memory."""
    body_seconds: Positive = 20.0
    """For a request's head to arrive, and for all of it."""
    work_seconds: Positive = 20.0
    """From a request's arrival to its answer."""
    decoding: Count = 2
    """Pictures that are decoded at once: each may take several times its pixels in memory."""
    remembered_queries: Whole = 4_096
    """Vectors of texts and pictures that are kept, each; 8 MB at 512 dimensions."""
    remembered_thumbnails: Whole = 64_000_000
    """Bytes."""


@dataclass(frozen=True)
class Settings:
    """How a service answers."""

    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    """What a request has to bring as a bearer token; null: nothing."""
    cors: tuple[str, ...] = ()
    """Origins whose pages may ask; none: pages of the service alone."""
    gather_ms: float = 3.0
    """How long a batch waits for more where requests are coming in together; 0: one request, one batch."""
    rate: str | None = None
    """Most requests of one client, such as "20/second"; null: any number."""
    hosts: tuple[str, ...] = ()
    """Names that the service may be addressed by; none: any. Keeps pages elsewhere from reaching a local service by a
    name that they point to it."""
    poll_seconds: float = 1.0
    """How often a folder of releases is looked at for another promoted one."""
