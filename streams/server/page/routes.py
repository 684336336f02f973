"""The page's router, for :func:`streams.server.app.build_app`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, Router
from litestar.di import Provide

from streams.server.gate.problems import Problem
from streams.server.page import (
    items,
    map_page,
    models_page,
    overview,
    rejects_page,
    rules_page,
    runs_page,
    user_stream,
    users,
)
from streams.server.page.frame.shell import show
from streams.server.page.frame.static_files import static_file
from streams.server.page.parts import PageParts
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
            user_stream.user_stream,
            users.publish_event,
            users.what_if,
            items.items_page,
            items.item_page,
            map_page.map_page,
            map_page.map_points,
            map_page.near,
            models_page.models_page,
            models_page.models_live,
            models_page.check,
            models_page.publish,
            models_page.ask_rollback,
            models_page.rollback,
            rules_page.rules_page,
            rules_page.rules_live,
            rules_page.preview,
            rules_page.put,
            rules_page.ask_rollback,
            rules_page.rollback,
            rejects_page.rejects_page,
            rejects_page.redrive,
            runs_page.runs_page,
        ],
        dependencies={"parts": Provide(parts, sync_to_thread=False)},
        exception_handlers={Problem: refused},
        include_in_schema=False,
    )


def refused(request: Request[Any, Any, Any], problem: Problem) -> Response[bytes]:
    """Return a problem as a page, or as the part of a page that asked."""
    if request.headers.get("hx-request") == "true":
        text = "; ".join(filter(None, (problem.detail, problem.remedy)))
        return show(request, "said", status=problem.status, is_good=False, text=text)
    return show(request, "problem", status=problem.status, problem=problem)
