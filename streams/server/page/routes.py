"""The page's router, for :func:`streams.server.app.build_app`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, Router
from litestar.di import Provide

from streams.server.gate.problems import Problem
from streams.server.page import items, overview, rejects_page, users
from streams.server.page.parts import PageParts
from streams.server.page.shell import show
from streams.server.page.static_files import static_file
from streams.server.parts.server import Server, TheServer


def page_router(open_parts: Callable[[Server], PageParts] = PageParts.of) -> Router:
    """Return the page's handlers, for one server."""
    made: list[PageParts] = []

    def parts(server: TheServer) -> PageParts:
        if not made:
            made.append(open_parts(server))
        return made[0]

    return Router(
        "/",
        route_handlers=[
            static_file,
            overview.overview,
            overview.overview_numbers,
            overview.flow_now,
            overview.flow_chart,
            users.users,
            users.recent_users,
            users.user_page,
            users.user_live,
            users.publish_event,
            users.what_if,
            items.items_page,
            items.item_page,
            rejects_page.rejects_page,
            rejects_page.redrive,
        ],
        dependencies={"parts": Provide(parts, sync_to_thread=False)},
        exception_handlers={Problem: refused},
        include_in_schema=False,
    )


def refused(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """Return a problem as a page."""
    return show(request, "problem", status=problem.status, problem=problem)
