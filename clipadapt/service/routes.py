"""The routes of the API: what is read from a request, which collection answers, and what is sent back.

Everything that takes longer than a moment runs in a thread of `Serving`. Nothing here knows how vectors are made.
"""

import time
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from clipadapt.search.backend import Hit
from clipadapt.search.facets import Range, Values
from clipadapt.search.filters import parse_all
from clipadapt.service import schema
from clipadapt.service.collection import Collection, Found
from clipadapt.service.metrics import CONTENT_TYPE
from clipadapt.service.problems import Problem
from clipadapt.service.replay import PICTURE
from clipadapt.service.requests import documented, json_or_form
from clipadapt.service.serving import Serving
from clipadapt.service.settings import BOUNDS
from clipadapt.service.traffic.traffic import QueryKind
from clipadapt.service.uploads import Uploads

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.ErrorAnswer} for status in (400, 401, 404, 408, 413, 415, 422, 429, 503)
}
Where = Annotated[schema.Conditions, Query()]
SIZES = (64, 1024)


def router(serving: Serving) -> APIRouter:
    """The API of one service."""
    api = APIRouter(responses=ERRORS)
    _add_search(api, serving)
    _add_vectors(api, serving)
    _add_items(api, serving)
    _add_state(api, serving)
    return api


def _add_search(api: APIRouter, serving: Serving) -> None:
    limits = serving.settings.limits

    @api.post(
        "/search", response_model=schema.SearchAnswer, openapi_extra=documented(schema.SearchBody, beside=True),
        summary="The items that fit words, a picture, an item, or several of them",
    )  # fmt: skip
    async def search(request: Request) -> Response:
        started = time.perf_counter()
        body, picture = await json_or_form(request, schema.SearchBody, limits)
        body = body or schema.SearchBody()
        route = serving.traffic.route(body.user, body.arm, candidate=serving.candidate is not None)
        with serving.using(route.arm) as collection:
            found, hits = await serving.run(_searched, collection, body, picture, serving.uploads)
            release = collection.name
        took = round(1000 * (time.perf_counter() - started), 2)
        query_id = serving.traffic.record(
            route, release=release, items=[hit.id for hit in found.hits], took_ms=took, kind=_kind(body, picture),
            k=body.k, where=found.columns, understood=_named(found.understood), query=_kept(body, picture),
        )  # fmt: skip
        if route.mirror:
            serving.start(_mirror(serving, query_id, body, picture))
        answer = {
            "query_id": query_id, "release": release, "arm": route.arm, "took_ms": took, "warnings": found.warnings,
            "understood": found.understood, "hits": hits,
        }  # fmt: skip
        return _json(answer)

    @api.get("/facets", response_model=schema.FacetsAnswer, summary="What the items under some conditions hold")
    async def facets(where: Where = [], arm: schema.Arm = "current") -> Response:  # noqa: B006 - FastAPI copies it
        conditions = parse_all(where)
        with serving.using(arm) as collection:
            count, found = await serving.run(collection.facets, conditions)
        return _json({"items": count, "facets": [_facet(one) for one in found]})


def _add_vectors(api: APIRouter, serving: Serving) -> None:
    limits = serving.settings.limits

    @api.post(
        "/embed", response_model=schema.EmbedAnswer, openapi_extra=documented(schema.EmbedBody, beside=False),
        summary="The vectors of texts, or of a picture",
    )  # fmt: skip
    async def embed(request: Request) -> Response:
        body, picture = await json_or_form(request, schema.EmbedBody, limits)
        _one_of(body is not None, picture is not None, "`texts`, or a file `image`")
        with serving.using() as collection:
            if picture is not None:
                vectors = [(await serving.run(collection.vector_of, picture, serving.uploads)).tolist()]
            else:
                vectors = await serving.run(collection.texts, body.texts if body is not None else [])
            encoder = collection.encoder
            return _json({"image_space": encoder.image_space, "dim": encoder.dim, "vectors": vectors})

    @api.post(
        "/tags", response_model=schema.TagsAnswer, openapi_extra=documented(schema.TagBody, beside=False),
        summary="What an item or a picture is, as far as that is sure",
    )  # fmt: skip
    async def tags(request: Request) -> Response:
        body, picture = await json_or_form(request, schema.TagBody, limits)
        _one_of(body is not None, picture is not None, "`item`, or a file `image`")
        with serving.using() as collection:
            item = body.item if body is not None else None
            found = await serving.run(collection.tags, item, picture, serving.uploads)
        listed = [one._asdict() | {"state": one.state.replace(" ", "_")} for one in found]
        return _json({"tags": listed})


def _add_items(api: APIRouter, serving: Serving) -> None:
    @api.get(
        "/items/{item:path}/picture", summary="An item's picture, small",
        response_class=Response, responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "As known"}},
    )  # fmt: skip
    async def picture(
        request: Request, item: str, size: Annotated[int, Query(ge=SIZES[0], le=SIZES[1])] = 256
    ) -> Response:
        with serving.using(_arm_of(serving, item)) as collection:
            made = await serving.run(collection.thumbnail, item, size)
        headers = {"ETag": made.etag, "Cache-Control": "private, max-age=300"}
        if made.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(made.data, media_type="image/jpeg", headers=headers)

    @api.get("/items/{item:path}", response_model=schema.Item, summary="What is known of an item")
    async def item(item: str) -> Response:
        with serving.using(_arm_of(serving, item)) as collection:
            product, attributes = await serving.run(collection.item, item)
            url = _image_url(collection, item)
        return _json({"id": item, "product": product, "attributes": attributes, "image_url": url})


def _add_state(api: APIRouter, serving: Serving) -> None:
    @api.get("/healthz", summary="Whether the process runs")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @api.get("/readyz", summary="Whether it answers searches")
    async def readyz() -> dict[str, str]:
        with serving.using():
            return {"status": "ready"}

    @api.get("/metrics", summary="What was counted, for Prometheus", response_class=Response)
    async def metrics() -> Response:
        traffic = serving.traffic
        text = serving.metrics.render(pending=serving.pending, faults=len(serving.faults), log=traffic.counts())
        return Response(text, media_type=CONTENT_TYPE)

    @api.get("/info", response_model=schema.Info, summary="What is served, and its limits")
    async def info() -> Response:
        limits = serving.settings.limits
        with serving.using() as collection:
            index = collection.index
            content: dict[str, Any] = {
                "name": serving.name, "items": len(index), "image_space": index.meta.image_space,
                "pictures": collection.pictures is not None, "tags": collection.tagger is not None,
                "reads": collection.reads,
                "events": serving.traffic.logs,
                "current": _described(collection),
                "columns": _columns(collection),
            }  # fmt: skip
        candidate = serving.candidate
        content |= {
            "candidate": None if candidate is None else _described(candidate), "flag": serving.traffic.state(),
            "faults": serving.faults,
            "limits": {
                "upload_bytes": limits.upload_bytes, "pixels": limits.pixels, "k": BOUNDS.k,
                "text_characters": BOUNDS.text_characters, "conditions": BOUNDS.conditions,
            },
        }  # fmt: skip
        return _json(content)


async def _mirror(serving: Serving, query_id: str, body: schema.SearchBody, picture: bytes | None) -> None:
    """Asks the candidate for the log alone; left out while requests wait, for nobody may wait for this."""
    started, release = time.perf_counter(), "unknown"
    try:
        with serving.using("candidate") as collection:
            release = collection.name
            if serving.pending >= serving.settings.limits.threads:
                raise Problem(429, "busy", "requests were waiting")
            found = await serving.run(collection.search, body, picture, serving.uploads)
    except Exception as error:  # whatever it is, it belongs into the log that compares the two
        serving.traffic.record_mirror(
            query_id, release=release, error=str(getattr(error, "code", type(error).__name__))
        )
        return
    took = round(1000 * (time.perf_counter() - started), 2)
    serving.traffic.record_mirror(query_id, release=release, items=[hit.id for hit in found.hits], took_ms=took)


def _kept(body: schema.SearchBody, picture: bytes | None) -> dict[str, Any]:
    """A query as a log keeps it, where it does; of a picture only that there was one."""
    kept = body.model_dump(exclude_defaults=True, exclude={"user"})
    return kept if picture is None else {**kept, PICTURE: True}


def _named(understood: list[dict[str, Any]]) -> list[str]:
    """What a log keeps of what was understood: the catalogue's values and columns, nothing that somebody wrote."""
    named = []
    for part in (part for one in understood for part in one["parts"]):
        sign = "not " if part["kind"] == "unwanted" else ""
        named += [f"{sign}{value['attribute']}: {value['value']}" for value in part["values"]]
        named += part["columns"]
    return list(dict.fromkeys(named))


def _arm_of(serving: Serving, item: str) -> schema.Arm:
    """The candidate for an item that it alone has, such as a new one."""
    current, candidate = serving.current, serving.candidate
    there = current is None or current.index.holds(item)
    return "current" if there or candidate is None or not candidate.index.holds(item) else "candidate"


def _kind(body: schema.SearchBody, picture: bytes | None) -> QueryKind:
    """What a search was made of."""
    kinds: set[QueryKind] = set()
    if body.text is not None or any(part.text is not None for part in body.parts):
        kinds.add("text")
    if body.item is not None or any(part.item is not None for part in body.parts):
        kinds.add("item")
    if picture is not None:
        kinds.add("picture")
    return kinds.pop() if len(kinds) == 1 else "mixed"


def _one_of(first: bool, second: bool, what: str) -> None:
    if first == second:
        raise Problem(400, "bad_request", f"give {what}, and only one of them")


def _json(content: Any) -> Response:
    """JSON; dates among attributes as ISO 8601."""
    return Response(orjson.dumps(content), media_type="application/json")


def _searched(
    collection: Collection, body: schema.SearchBody, picture: bytes | None, uploads: Uploads
) -> tuple[Found, orjson.Fragment]:
    """What was found, and its hits as JSON: in the thread that searched, for the event loop has all others to serve."""
    found = collection.search(body, picture, uploads)
    return found, orjson.Fragment(orjson.dumps([_hit(collection, hit) for hit in found.hits]))


def _hit(collection: Collection, hit: Hit) -> dict[str, Any]:
    return {
        "id": hit.id, "product": hit.product, "score": round(hit.score, 6), "attributes": hit.attributes,
        "image_url": _image_url(collection, hit.id),
    }  # fmt: skip


def _image_url(collection: Collection, item: str) -> str | None:
    there = collection.pictures is not None and item in collection.pictures
    return f"/items/{quote(item, safe='')}/picture" if there else None


def _facet(facet: Values | Range) -> dict[str, Any]:
    if isinstance(facet, Range):
        return {"name": facet.name, "kind": "range", "low": facet.low, "high": facet.high}
    listed = [{"value": value, "count": count} for value, count in facet.values]
    return {"name": facet.name, "kind": "values", "values": listed, "more": facet.more}


def _described(collection: Collection) -> dict[str, Any]:
    meta = collection.index.meta
    return {
        "release": collection.name, "model": meta.model, "factory": meta.factory,
        "recall": {kind: measured.recall for kind, measured in meta.measured.items()}, "encoder": collection.runtime,
    }  # fmt: skip


def _columns(collection: Collection) -> Sequence[dict[str, str]]:
    return [{"name": name, "kind": kind} for name, kind in collection.index.columns.items()]
