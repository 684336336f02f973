"""The first page: whether the server is ready, what it holds, and the flow with its delays."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from streams.server.gate.callers import needs
from streams.server.lists.store import count_of
from streams.server.page.frame.forms import Asked
from streams.server.page.frame.shell import HEADERS, look_of_request, show
from streams.server.page.frame.texts import texts_of
from streams.server.page.parts import PageParts, ThePage
from streams.server.page.topics.flow import EDGES, Look
from streams.server.parts.server import Server, TheServer
from streams.settings.record_limits import MAX_ID_LENGTH


@get("/", guards=[needs("read")])
async def overview(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return the first page."""
    return show(request, "overview/overview", max_id=MAX_ID_LENGTH, **flow_values(parts), **await _numbers(server))


@get("/page/overview", guards=[needs("read")])
async def overview_numbers(request: Asked, server: TheServer) -> Response[bytes]:
    """Return the numbers of the first page, for a page that is open."""
    return show(request, "overview/numbers", **await _numbers(server))


async def _numbers(server: Server) -> dict[str, Any]:
    return {
        "waiting": server.ready.waiting(),
        "n_lists": await count_of(server.store),
        "n_items": len(server.shown),
        "has_rules": server.shown.rules is not None,
    }


@get("/page/flow", guards=[needs("read")])
async def flow_now(request: Asked, parts: ThePage) -> Response[bytes]:
    """Return the diagram, for a page that is open."""
    return show(request, "overview/flow", **flow_values(parts))


@get("/page/flow/chart", guards=[needs("read")])
async def flow_chart(request: Asked, parts: ThePage) -> Response[dict[str, Any]]:
    """Return the delays over time, as the chart takes them."""
    t = texts_of(look_of_request(request).language)
    looks = parts.flow.looks()
    series = [{"name": t(f"flow.{edge}"), "points": [_point(look, edge) for look in looks]} for edge in EDGES]
    return Response({"unit": "ms", "series": series}, headers=HEADERS)


def _point(look: Look, edge: str) -> tuple[int, float | None]:
    delay = look.delays.get(edge)
    return look.at_ms, None if delay is None else delay.p99_ms


def flow_values(parts: PageParts) -> dict[str, Any]:
    """Return what the diagram shows."""
    looks = parts.flow.looks()
    return {"flow": looks[-1] if looks else None, "flow_problem": parts.flow.problem}
