"""The catalogue: items by a part of their id or title, and each with its neighbours."""

from __future__ import annotations

import time
from typing import Final

from litestar import Response, get
from litestar.params import FromQuery

from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import check_id
from streams.server.page.frame.forms import Asked, UserId
from streams.server.page.frame.shell import show
from streams.server.parts.server import Server, TheServer

#: Items of one answer, and items that are looked at for it.
SHOWN: Final = 100
MAX_LOOKED_AT: Final = 200_000
NEIGHBOURS: Final = 20


@get("/page/items", guards=[needs("read")])
async def items_page(request: Asked, server: TheServer, part: FromQuery[str] = "") -> Response[bytes]:
    """Return items whose id or title has a part, upper or lower case."""
    found = found_items(server, part.strip())
    return show(request, "items/items", items=found, part=part, n=len(server.shown), is_more=len(found) == SHOWN)


def found_items(server: Server, part: str) -> list[tuple[str, str]]:
    """Return id and title of the first items that have a part."""
    wanted, found = part.casefold(), list[tuple[str, str]]()
    for n, item_id in enumerate(server.shown):
        if len(found) == SHOWN or n == MAX_LOOKED_AT:
            break
        title = server.shown.title(item_id)
        if wanted in item_id.casefold() or wanted in title.casefold():
            found.append((item_id, title))
    return found


@get("/page/item", guards=[needs("read")])
async def item_page(request: Asked, item_id: UserId, server: TheServer) -> Response[bytes]:
    """Return an item with the items that are nearest to it, by the model's vectors."""
    check_id("item_id", item_id)
    item = server.shown.get(item_id)
    if item is None:
        raise Problem(
            404, "no-item", f"the catalogue has no item {item_id!r}", field="id", remedy="look for it by title"
        )
    neighbours, problem = [], ""
    try:
        neighbours = (await server.ranker.similar(item_id, NEIGHBOURS, None)).items
    except Problem as exc:
        problem = f"{exc.detail}; {exc.remedy}"
    hidden = bool(server.shown.hidden([item_id]))
    return show(
        request, "items/item", item_id=item_id, item=item, is_hidden=hidden, neighbours=neighbours, no_neighbours=problem,
        now_ms=int(1000 * time.time()),
    )  # fmt: skip
