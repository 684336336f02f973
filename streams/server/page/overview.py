"""The first page: whether the server is ready, and what it holds."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, get

from streams.server.gate.callers import needs
from streams.server.page.flow_page import flow_values
from streams.server.page.parts import ThePage
from streams.server.page.shell import show
from streams.server.parts.server import Server, TheServer
from streams.settings.record_limits import MAX_ID_LENGTH


@get("/", guards=[needs("read")])
async def overview(request: Request[Any, Any, Any], server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return the first page."""
    return show(request, "overview", max_id=MAX_ID_LENGTH, **flow_values(parts), **await _numbers(server))


@get("/page/overview", guards=[needs("read")])
async def overview_numbers(request: Request[Any, Any, Any], server: TheServer) -> Response[bytes]:
    """Return the numbers of the first page, for a page that is open."""
    return show(request, "overview_numbers", **await _numbers(server))


async def _numbers(server: Server) -> dict[str, Any]:
    return {
        "waiting": server.ready.waiting(),
        "n_lists": await server.store.count(),
        "n_items": len(server.shown),
        "has_rules": server.shown.rules is not None,
    }
