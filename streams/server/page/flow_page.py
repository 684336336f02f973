"""The flow on the first page: a diagram that follows, and the delays as a chart."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from streams.server.gate.callers import needs
from streams.server.page.flow import EDGES, Look
from streams.server.page.parts import PageParts, ThePage
from streams.server.page.shell import HEADERS, look_of_request, show
from streams.server.page.texts import texts_of

Asked = Request[Any, Any, Any]


@get("/page/flow", guards=[needs("read")])
async def flow_now(request: Asked, parts: ThePage) -> Response[bytes]:
    """Return the diagram, for a page that is open."""
    return show(request, "flow", **flow_values(parts))


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
