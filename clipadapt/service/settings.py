"""What a service allows: limits, who may ask, and how it answers. Nothing here serves anything."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """The most that one request may bring or ask for, and that all of them may use together."""

    upload_bytes: int = 10_000_000
    pixels: int = 40_000_000
    """Of an uploaded picture, read from its header before any is decoded: 120 MB as RGB."""
    k: int = 200
    text_characters: int = 1_000
    conditions: int = 50
    parts: int = 16
    texts: int = 64
    """Of one request for vectors."""
    query_bytes: int = 65_536
    """Of the JSON of a request."""
    threads: int = 32
    """Requests that are worked on at once; most of them wait for a vector, which is made for all together."""
    waiting: int = 128
    """Requests that may wait for a thread; the next one is answered 429."""
    uploads: int = 48
    """Requests with more than a query's bytes at once: each may take `upload_bytes` of memory."""
    body_seconds: float = 20.0
    """For a request to arrive in full."""
    work_seconds: float = 20.0
    """From a request's arrival to its answer."""
    decoding: int = 2
    """Pictures that are decoded at once: each may take several times its pixels in memory."""
    remembered_queries: int = 4_096
    """Vectors of texts and pictures that are kept, each; 8 MB at 512 dimensions."""
    remembered_thumbnails: int = 64_000_000
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
