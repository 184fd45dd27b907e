"""Reads what a client sent: JSON, or a form with a picture and the same JSON in it.

    body, picture = await searched(request, limits)

One reader for every route, so that both forms mean the same everywhere. Nothing here decodes a picture.
"""

import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from clipadapt.service.problems import Problem
from clipadapt.service.settings import Limits

Body = TypeVar("Body", bound=BaseModel)
FORM_FIELD, FORM_FILE = "query", "image"


async def json_or_form(request: Request, model: type[Body], limits: Limits) -> tuple[Body | None, bytes | None]:
    """The JSON as `model` and the picture; either may be missing from a form.

    Raises:
        Problem: 400 no JSON, 413 too large, 415 another content type.
        ValidationError: JSON that does not fit the model.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or not kind:
        return parsed(await request.body(), model, limits), None
    if kind != "multipart/form-data":
        raise Problem(415, "unsupported_type", f"content type {kind!r}; send application/json or multipart/form-data")
    async with request.form(max_files=1, max_fields=4, max_part_size=limits.query_bytes) as form:
        if unknown := sorted(set(form) - {FORM_FIELD, FORM_FILE}):
            raise Problem(
                400, "bad_request", f"form field {unknown[0][:40]!r}; a form has `{FORM_FILE}` and `{FORM_FIELD}`"
            )
        file, query = form.get(FORM_FILE), form.get(FORM_FIELD)
        if isinstance(file, str) or isinstance(query, UploadFile):
            raise Problem(400, "bad_request", f"`{FORM_FILE}` is a file, `{FORM_FIELD}` a text of JSON")
        picture = None if file is None else await file.read()
        body = None if query is None else parsed(query.encode(), model, limits)
    if picture is not None and len(picture) > limits.upload_bytes:
        raise Problem(413, "too_large", f"a picture of {len(picture):,} bytes; {limits.upload_bytes:,} are the most")
    return body, picture


def parsed(content: bytes, model: type[Body], limits: Limits) -> Body:
    """JSON as a model.

    Raises:
        Problem: no JSON, or too much of it.
        ValidationError: it does not fit.
    """
    if len(content) > limits.query_bytes:
        raise Problem(413, "too_large", f"{len(content):,} bytes of JSON; {limits.query_bytes:,} are the most")
    try:
        document: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Problem(400, "bad_json", "the body is no JSON; see /openapi.json for what is expected") from error
    return model.model_validate(document)


def documented(model: type[BaseModel], *, beside: bool) -> dict[str, Any]:
    """What OpenAPI says of such a body; `beside`: a form's picture may come with the JSON."""
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    properties: dict[str, Any] = {FORM_FILE: {"type": "string", "format": "binary"}}
    if beside:
        properties[FORM_FIELD] = reference
    schema = {"type": "object", "properties": properties, "required": [FORM_FILE], "additionalProperties": False}
    form: dict[str, Any] = {"schema": schema}
    if beside:
        form["encoding"] = {FORM_FIELD: {"contentType": "application/json"}}
    content = {"application/json": {"schema": reference}, "multipart/form-data": form}
    return {"requestBody": {"required": True, "content": content}}
