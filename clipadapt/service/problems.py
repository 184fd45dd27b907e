"""Every answer that is no success, in one form: {"error": {"code", "message", "request_id"}}.

A message is a plain sentence with the remedy. What clipadapt refuses (errors.py) is a 400 with its own message; a fault
of the service itself is a 500 that tells nothing of its inside, and stands in the log under the request's id.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from clipadapt.errors import CatalogueError, ClipadaptError, UsageError

log = logging.getLogger(__name__)

_CODES = {
    400: "bad_request", 401: "unauthorised", 404: "not_found", 405: "method_not_allowed", 408: "too_slow",
    413: "too_large", 415: "unsupported_type", 422: "invalid_request", 429: "too_many_requests", 503: "not_ready",
}  # fmt: skip


class Problem(HTTPException):
    """A request that is refused."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, message, {"Retry-After": str(retry_after)} if retry_after is not None else None)
        self.code = code


def answer(
    request_id: str, status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The response that tells of a problem."""
    error = {"code": code, "message": message, "request_id": request_id}
    return JSONResponse({"error": error}, status, headers)


def install(app: FastAPI) -> None:
    """Makes every exception of a route an answer in this form."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        code = error.code if isinstance(error, Problem) else _CODES.get(error.status_code, "error")
        message: Any = error.detail
        if isinstance(message, dict):  # as a router of another package gives it
            code, message = message["code"], message["message"]
        headers = dict(error.headers) if error.headers else None
        return answer(_id(request), error.status_code, code, str(message), headers)

    @app.exception_handler(RequestValidationError)
    @app.exception_handler(ValidationError)
    async def invalid(request: Request, error: RequestValidationError | ValidationError) -> JSONResponse:
        return answer(_id(request), 422, "invalid_request", _described(error))

    @app.exception_handler(ClipadaptError)
    async def unusable(request: Request, error: ClipadaptError) -> JSONResponse:
        if isinstance(error, CatalogueError):
            return answer(_id(request), 422, "bad_picture", str(error))
        if isinstance(error, UsageError):
            return answer(_id(request), 400, "bad_query", str(error))
        log.error("request %s: %s", _id(request), error)
        return answer(_id(request), 503, "unavailable", "the index cannot answer just now; try again in a moment")


def _described(error: RequestValidationError | ValidationError) -> str:
    faults = []
    for one in error.errors()[:5]:
        where = ".".join(str(part) for part in one["loc"] if part not in ("body", "query", "path"))
        faults.append(f"{where}: {one['msg']}" if where else str(one["msg"]))
    return "; ".join(faults) or "the request does not fit the API; see /openapi.json"


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
