"""What handlers of the page take, and who may send its forms."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter

from streams.server.gate.callers import Scope, caller_of
from streams.server.gate.problems import Problem

Asked = Request[Any, Any, Any]
#: The fields of a form.
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
#: An id may hold a slash, so it is no part of a path.
UserId = Annotated[str, QueryParameter(name="id")]


def check_from_page(request: Asked) -> None:
    """Refuse a form that another site sends: it cannot set this header.

    Raises
    ------
    Problem
        403 without the header that htmx sets.
    """
    if request.headers.get("hx-request") != "true":
        raise Problem(
            403, "origin", "only the page itself may change something here", remedy="use the routes below /v1"
        )


def may(request: Asked, scope: Scope) -> bool:
    """Whether the caller has a scope."""
    scopes = caller_of(request.scope).scopes
    return scope in scopes or "admin" in scopes
