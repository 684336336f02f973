"""The catalogue's map: items on two axes, with a user's vector and window, and neighbours."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get
from litestar.params import FromQuery

from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import check_id
from streams.server.page.frame.forms import Asked, UserId
from streams.server.page.frame.shell import HEADERS, look_of_request, show
from streams.server.page.frame.texts import texts_of
from streams.server.page.items import NEIGHBOURS
from streams.server.parts.server import Server, TheServer
from streams.settings.record_limits import MAX_ID_LENGTH

#: Digits of a place that a point needs on a screen.
DIGITS: Final = 4


@get("/page/items/map", guards=[needs("read")])
async def map_page(request: Asked, server: TheServer, user: FromQuery[str] = "") -> Response[bytes]:
    """Return the page of the map; the points come apart."""
    found, problem = None, ""
    try:
        found = await server.ranker.item_map(_key(server, user))
    except Problem as exc:
        problem = f"{exc.detail}; {exc.remedy}"
    return show(request, "items/map", user=user, max_id=MAX_ID_LENGTH, map=found, problem=problem)


@get("/page/items/map/points", guards=[needs("read")])
async def map_points(request: Asked, server: TheServer, user: FromQuery[str] = "") -> Response[dict[str, Any]]:
    """Return the points, as the chart takes them: x, y, id, title."""
    t = texts_of(look_of_request(request).language)
    found = await server.ranker.item_map(_key(server, user))
    points = [[round(one.x, DIGITS), round(one.y, DIGITS), one.item_id, one.title] for one in found.points]
    window = [[round(one.x, DIGITS), round(one.y, DIGITS), one.item_id, one.title] for one in found.window]
    own = [] if found.user is None else [[round(place, DIGITS) for place in found.user]]
    named = {"items": t("map.items"), "near": t("item.near"), "window": t("window.title"), "user": t("user.title")}
    return Response({"items": points, "window": window, "user": own, "names": named}, headers=HEADERS)


def _key(server: Server, user: str) -> bytes | None:
    if not user:
        return None
    check_id("user_id", user)
    return server.lists.key_of(user)


@get("/page/items/near", guards=[needs("read")])
async def near(request: Asked, item_id: UserId, server: TheServer) -> Response[bytes]:
    """Return an item's nearest items with their places on the map."""
    check_id("item_id", item_id)
    try:
        found = (await server.ranker.similar(item_id, NEIGHBOURS, None)).items
        places = await server.ranker.places([one.item_id for one in found])
    except Problem as exc:
        return show(request, "said", is_good=False, text=f"{exc.detail}; {exc.remedy}")
    title = server.shown.title(item_id)
    return show(request, "items/near", item_id=item_id, title=title, neighbours=found, places=places)
