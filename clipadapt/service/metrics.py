"""What a service counts, in Prometheus' text form.

    metrics = Metrics();  metrics.observe("/search", "POST", 200, 0.004);  metrics.render()

Routes are counted by their template, never by what a client wrote, so that their number is bounded. With several
workers (PROMETHEUS_MULTIPROC_DIR is set before this is imported) any of them answers for all.
"""

import os
from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_OTHER = "other"


class Metrics:
    """The counters of one service process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self._requests = Counter(
            "clipadapt_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "clipadapt_request_seconds", "From request to answer.", ["route"], buckets=_SECONDS, registry=registry
        )
        self._pending = Gauge(
            "clipadapt_pending", "Requests at work or waiting.", multiprocess_mode="livesum", registry=registry
        )
        self._batches = Histogram(
            "clipadapt_batch", "Inputs per call of a tower.", ["tower"], buckets=_SIZES, registry=registry
        )
        self._items = Gauge(
            "clipadapt_items", "Items that can be found.", ["arm"], multiprocess_mode="livemax", registry=registry
        )
        self._serving = Gauge(
            "clipadapt_release_serving", "1 for the release of an arm.", ["arm", "release"],
            multiprocess_mode="livemax", registry=registry,
        )  # fmt: skip
        self._switches = Counter("clipadapt_release_switches", "Releases that took over.", ["arm"], registry=registry)
        self._refused = Counter(
            "clipadapt_releases_refused", "Releases that could not be served.", ["arm"], registry=registry
        )
        self._faulty = Gauge(
            "clipadapt_faults", "Lines under faults in /info.", multiprocess_mode="livemax", registry=registry
        )
        self._log = Gauge(
            "clipadapt_event_log", "Of the event log.", ["what"], multiprocess_mode="livesum", registry=registry
        )
        self._now: dict[str, str] = {}

    def observe(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """One request."""
        method = method if method in ("GET", "POST", "HEAD", "OPTIONS") else _OTHER
        self._requests.labels(route or _OTHER, method, str(status)).inc()
        self._seconds.labels(route or _OTHER).observe(seconds)

    def batch(self, tower: str, inputs: int) -> None:
        """One call of a tower."""
        self._batches.labels(tower).observe(inputs)

    def switched(self, arm: str, release: str, items: int) -> None:
        """A release, or another version of its index, answers from now on."""
        before = self._now.get(arm)
        if before is not None and before != release:
            self._serving.labels(arm, before).set(0)
            self._switches.labels(arm).inc()
        self._now[arm] = release
        self._serving.labels(arm, release).set(1)
        self._items.labels(arm).set(items)

    def refused(self, arm: str) -> None:
        """A release could not be served."""
        self._refused.labels(arm).inc()

    def render(self, *, pending: int, faults: int, log: Mapping[str, float]) -> bytes:
        """The text, with what is known only now."""
        self._pending.set(pending)
        self._faulty.set(faults)
        for what, value in log.items():
            self._log.labels(what).set(value)
        if not os.environ.get(DIRECTORY):
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)
        return generate_latest(everyone)
