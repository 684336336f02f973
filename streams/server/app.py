"""The server's ASGI application: the door, and behind it the routes.

A further router is an argument of :func:`build_app`. Its handlers take ``server: TheServer`` as an
argument, and :func:`streams.server.gate.callers.needs` guards them.
"""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from typing import Any, Final

from litestar import Litestar, Request, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Reference, SecurityScheme

from streams.errors import BrokerError, RecordError
from streams.server.gate.door import REQUEST_ID, Door
from streams.server.gate.key_file import Keys
from streams.server.gate.problems import MEDIA_TYPE, Problem
from streams.server.gate.rates import Rates
from streams.server.gate.request_traces import RequestTraces
from streams.server.parts.server import Server
from streams.server.routes import health, list_stream, pushed_lists, ranking, why, writes

log = logging.getLogger(__name__)

#: Where the OpenAPI document is.
SCHEMA_PATH: Final = "/v1/schema/openapi.json"
HANDLERS: Final = (
    pushed_lists.recommendations,
    list_stream.stream,
    health.healthz,
    health.readyz,
    health.metrics,
    *writes.HANDLERS,
    *ranking.HANDLERS,
    why.why,
)
#: What Litestar finds wrong, by status: the kind of problem and its remedy.
KINDS: Final[dict[int, tuple[str, str]]] = {
    400: ("bad-request", "see the OpenAPI document at /v1/schema/openapi.json"),
    404: ("no-route", "see the OpenAPI document at /v1/schema/openapi.json for the routes"),
    405: ("method", "see the OpenAPI document at /v1/schema/openapi.json for the methods of this route"),
    413: ("too-large", "send less at once; HEADRACE_SERVE_BODY_BYTES is the limit"),
}
#: Arguments of handlers that callers send by another name: a keyword of Python cannot name one.
SENT_AS: Final = {"reader": "for"}


def build_app(
    server: Server, keys: Keys | None, routers: Sequence[Any] = (), traces: RequestTraces | None = None
) -> Door:
    """Return the application; it connects to nothing.

    Parameters
    ----------
    keys : None lets everybody of this machine in
    routers : further handlers, controllers and routers of Litestar
    traces : traces the requests of traced callers; None where nothing is traced
    """
    app = Litestar(
        [*HANDLERS, *routers],
        dependencies={"server": Provide(lambda: server, sync_to_thread=False)},
        exception_handlers={Exception: _answer_of},
        request_max_body_size=server.settings.server.serve_body_bytes,
        openapi_config=_openapi(),
        logging_config=None,
    )
    short_way = pushed_lists.PushedLists(server.lists, server.ready)
    rates = Rates(server.settings.server.serve_rate_limit)
    short_route = pushed_lists.ROUTE.replace(":str", "")
    return Door(app, keys, rates, server.measures, short_way, short_route, traces)  # type: ignore[arg-type]


def _openapi() -> OpenAPIConfig:
    schemes: dict[str, SecurityScheme | Reference] = {
        "key": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
        "bearer": SecurityScheme(type="http", scheme="bearer"),
    }
    return OpenAPIConfig(
        title="headrace",
        version=importlib.metadata.version("headrace"),
        description="Recommendation lists of a Kafka stream of shop events, over HTTP.",
        path=SCHEMA_PATH.rpartition("/")[0],
        render_plugins=[JsonRenderPlugin(path=SCHEMA_PATH.rpartition("/")[2])],
        components=Components(security_schemes=schemes),
        security=[{"key": []}, {"bearer": []}],
        use_handler_docstrings=True,
    )


def _answer_of(request: Request[Any, Any, Any], exc: Exception) -> Response[bytes]:
    """Return the answer to a request that a handler, or Litestar, refused."""
    request_id = request.scope.get(REQUEST_ID, "")
    problem = problem_of(exc)
    if problem.status == 500:
        log.error("request %s failed", request_id, exc_info=exc)
    return Response(
        problem.encoded(str(request_id)), status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def problem_of(exc: Exception) -> Problem:
    """Return the problem that an exception means."""
    match exc:
        case Problem():
            return exc
        case RecordError():
            return Problem(400, exc.reason, exc.detail, field=exc.field, remedy="see docs/contract")
        case BrokerError():
            return Problem(503, "broker", str(exc), remedy="ask again", headers={"Retry-After": "1"})
        case ValidationException():
            return _validation(exc)
        case RecursionError():
            return Problem(
                400, "bad-body", "objects in objects, too deep to be read", field="body", remedy="send less depth"
            )
        case HTTPException():
            kind, remedy = KINDS.get(exc.status_code, ("refused", ""))
            return Problem(exc.status_code, kind, exc.detail, remedy=remedy, headers=dict(exc.headers or {}))
    return Problem(500, "failed", "the server failed", remedy="ask again; the log has the request id")


def _validation(exc: ValidationException) -> Problem:
    """Return the problem of the first value that Litestar refused."""
    first: Any = exc.extra[0] if isinstance(exc.extra, list) and exc.extra else {}
    detail = first.get("message") or exc.detail
    name = str(first.get("key", ""))
    return Problem(400, "bad-value", detail, field=SENT_AS.get(name, name), remedy=KINDS[400][1])
