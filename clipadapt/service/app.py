"""The app: the API's routes, the page's files, and the guard around both.

    app = create_app(Serving(settings, "shop", collection))

It is handed what it serves, so a test hands in a small collection, and `clipadapt serve` one that is still loading.
"""

import contextlib
import html
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from clipadapt.service import problems, routes, schema
from clipadapt.service.middleware import Guard
from clipadapt.service.serving import Serving
from clipadapt.service.traffic import events_router

PAGE = Path(__file__).with_name("page")
_BODIES: tuple[type[BaseModel], ...] = (schema.SearchBody, schema.EmbedBody, schema.TagBody)


def create_app(serving: Serving, on_start: Callable[[], None] | None = None) -> FastAPI:
    """The service over HTTP.

    Args:
        on_start: called when the app starts, to load what it serves; must not block.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if on_start is not None:
            on_start()
        yield
        serving.close()

    app = FastAPI(
        title="clipadapt", summary="Visual search", docs_url=None, redoc_url=None, lifespan=lifespan,
        telemetry={"logs": False, "operation_spans": False},  # logs would hold messages, which quote queries
    )  # fmt: skip
    app.state.serving = serving
    problems.install(app)
    app.include_router(routes.router(serving))
    app.include_router(events_router(serving.traffic), responses=routes.ERRORS)
    _add_page(app)
    settings = serving.settings
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(Guard, serving=serving)
    _document(app)
    return app


class _PageFiles(StaticFiles):
    """A browser checks them every time, which costs next to nothing; parts of two versions would not fit together."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_page(app: FastAPI) -> None:
    if PAGE.is_dir():
        app.mount("/page", _PageFiles(directory=PAGE))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_docs(app.openapi()))

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        index = PAGE / "index.html"
        if not index.is_file():
            return PlainTextResponse("This installation has no page; the API is described at /openapi.json.\n")
        return FileResponse(index, headers={"Cache-Control": "no-cache"})


def _docs(document: dict[str, Any]) -> str:
    """The API at a glance, without scripts: the usual pages of this kind load theirs from elsewhere."""
    rows = [
        f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation.get('summary', ''))}</td></tr>"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>clipadapt: API</title>'
        '<h1>API</h1><p>Bodies, answers and limits: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1)</p>'
        f"<table><tr><th>Method</th><th>Path</th><th>What it gives</th></tr>{''.join(rows)}</table></html>"
    )


def _document(app: FastAPI) -> None:
    """Adds the bodies that routes read themselves to the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            _, bodies = models_json_schema(
                [(body, "validation") for body in _BODIES], ref_template="#/components/schemas/{model}"
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
        return app.openapi_schema or {}

    app.openapi = openapi
