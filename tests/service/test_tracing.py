"""Spans where OpenTelemetry is set up: one per request, one per batch that links to it, and no query in either."""

import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch):
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


def test_a_search_is_a_span_that_its_batch_links_to(spans: InMemorySpanExporter, client_of):
    client = client_of()
    answer = client.post("/search", json={"text": "privatewish", "where": ["baseColour=Red"]})
    batch, request = sorted(spans.get_finished_spans(), key=lambda span: span.name)[::-1]
    assert request.name == "POST /search" and request.attributes is not None
    assert request.attributes["clipadapt.request_id"] == answer.headers["x-request-id"]
    assert request.attributes["http.response.status_code"] == 200
    assert batch.name == "encode text"
    assert batch.attributes == {"clipadapt.inputs": 1, "clipadapt.requests": 1}
    assert [link.context for link in batch.links] == [request.get_span_context()]


def test_spans_hold_no_query(spans: InMemorySpanExporter, client_of, monkeypatch: pytest.MonkeyPatch):
    client = client_of()
    client.get("/facets", params={"where": ["baseColour=privatewish"]})
    client.post("/search", json={"text": "fine", "where": ["privatewish"]})
    encoder = client.app.state.serving.current.encoder

    def broken(texts: list[str]):
        raise ValueError(f"cannot read {texts}")

    monkeypatch.setattr(encoder.texts, "_encode", broken)
    assert client.post("/search", json={"text": "privatewish shirt"}).status_code == 500
    found = spans.get_finished_spans()
    assert {span.name for span in found} == {"GET /facets", "POST /search", "encode text"}
    assert "privatewish" not in json.dumps([json.loads(span.to_json()) for span in found])


def test_nothing_is_traced_where_it_is_not_set_up(client):
    client.post("/search", json={"text": "red"})
    assert not trace.get_current_span().is_recording()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
