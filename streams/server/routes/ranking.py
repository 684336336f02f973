"""What the model answers on demand: sessions, candidates, similar and popular items."""

from __future__ import annotations

import re
import time
from typing import Annotated, Final

from litestar import get, post
from litestar.params import FromPath, JSONBody, Parameter

from models.rules.repeats import UNITS_MS
from streams.server.gate.callers import needs
from streams.server.gate.problems import bad_value
from streams.server.lists.answers import MAX_N, check_id
from streams.server.parts.ranking import DEFAULT_N, RankedAnswer, RankQuestion, ScoredItems, SessionQuestion
from streams.server.parts.server import TheServer
from streams.server.routes.pushed_lists import PROBLEMS

READ: Final = [needs("read")]
N = Annotated[int, Parameter(ge=1, le=MAX_N, description="most items")]
Category = Annotated[str | None, Parameter(description="only items of this category")]

Since = Annotated[
    str | None,
    Parameter(description="a time in ms since 1970, or how long ago: a whole number with s, m, h or d, such as 24h"),
]
_SINCE: Final = re.compile(r"([0-9]{1,15})([smhd]?)")


def since_ms(text: str, now_s: float) -> int:
    """Return the time that ``since`` means, in ms since 1970.

    Raises
    ------
    Problem
        400 for a text that is neither a time nor a duration.
    """
    found = _SINCE.fullmatch(text)
    if found is None:
        remedy = "give ms since 1970, or a whole number with s, m, h or d, such as 24h"
        raise bad_value("since", f"{text[:40]!r}, must be a time or a duration", remedy)
    number = int(found[1])
    return number if not found[2] else int(1000 * now_s) - number * UNITS_MS[found[2]]


@post("/v1/sessions/recommendations", operation_id="recommendSession", summary="A list for an unknown visitor",
      tags=["ranking"], guards=READ, status_code=200, responses=PROBLEMS)  # fmt: skip
async def recommend_session(server: TheServer, data: JSONBody[SessionQuestion]) -> RankedAnswer:
    """Rank for a visitor whose behaviours are in the body. Nothing of it is kept."""
    server.ready.check()
    return await server.ranker.session(data)


@post("/v1/rank", operation_id="rank", summary="The caller's candidates, ranked", tags=["ranking"], guards=READ,
      status_code=200, responses=PROBLEMS)  # fmt: skip
async def rank(server: TheServer, data: JSONBody[RankQuestion]) -> RankedAnswer:
    """Return the caller's candidates in the model's order, without those that may not be shown."""
    server.ready.check()
    return await server.ranker.rank(data)


@get("/v1/items/{item_id:str}/similar", operation_id="similarItems", summary="Items near an item", tags=["ranking"],
     guards=READ, responses=PROBLEMS)  # fmt: skip
async def similar(
    server: TheServer, item_id: FromPath[str], n: N = DEFAULT_N, category: Category = None
) -> ScoredItems:
    """Return the nearest items by the cosine of the model's vectors."""
    server.ready.check()
    check_id("item_id", item_id)
    return await server.ranker.similar(item_id, n, category)


@get("/v1/popular", operation_id="popularItems", summary="Popular items", tags=["ranking"], guards=READ,
     responses=PROBLEMS)  # fmt: skip
async def popular(server: TheServer, n: N = DEFAULT_N, category: Category = None, since: Since = None) -> ScoredItems:
    """Return the items with the greatest shares of popularity.

    Without ``since`` these are of training and of the events after it, the recent ones weighing
    most. With it they are of the events since then, as far as users' windows hold them.
    """
    server.ready.check()
    return await server.ranker.popular(n, category, None if since is None else since_ms(since, time.time()))


HANDLERS: Final = (recommend_session, rank, similar, popular)
