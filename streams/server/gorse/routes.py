"""The routes of the Gorse door: feedback, lists, health."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter

from streams.server.gate.callers import caller_of, needs
from streams.server.gate.problems import Problem
from streams.server.gorse import ranked
from streams.server.gorse.absent import check_no_user
from streams.server.gorse.bodies import Feedback, Health, Score, Success
from streams.server.gorse.feedback import insert_feedback, write_events
from streams.server.gorse.feedback_types import FeedbackTypes
from streams.server.gorse.recommended import DEFAULT_N, Latest, check_range, duration_ms, recommended
from streams.server.parts.server import TheServer
from streams.server.routes.pushed_lists import PROBLEMS

READ: Final = [needs("read")]
WRITE: Final = [needs("write")]
TAGS: Final = ["gorse"]
WriteBackType: TypeAlias = Annotated[str, QueryParameter(name="write-back-type")]
WriteBackDelay: TypeAlias = Annotated[str, QueryParameter(name="write-back-delay")]
ApiVersion: TypeAlias = Annotated[str, HeaderParameter(name="X-API-Version")]
UserId: TypeAlias = Annotated[str, QueryParameter(name="user-id")]


@dataclass(frozen=True, eq=False)
class Gorse:
    """What the routes of the door share."""

    types: FeedbackTypes
    latest: Latest


TheGorse: TypeAlias = NamedDependency[Gorse]


@post("/feedback", operation_id="gorseInsertFeedback", summary="Insert feedback", tags=TAGS, guards=WRITE, status_code=200,
      responses=PROBLEMS)  # fmt: skip
async def post_feedback(server: TheServer, gorse: TheGorse, data: JSONBody[list[Feedback]]) -> Success:
    """Write an event for each feedback; the answer comes when the broker has them."""
    return Success(await insert_feedback(server, gorse.types, data))


@put(
    "/feedback", operation_id="gorsePutFeedback", summary="Insert feedback", tags=TAGS, guards=WRITE, responses=PROBLEMS
)
async def put_feedback(server: TheServer, gorse: TheGorse, data: JSONBody[list[Feedback]]) -> Success:
    """Write an event for each feedback, as ``POST`` does: what happened cannot be overwritten."""
    return Success(await insert_feedback(server, gorse.types, data))


@get(["/recommend/{user:str}", "/recommend/{user:str}/{in_category:str}"], operation_id="gorseRecommend",
     summary="Recommend items to a user", tags=TAGS, guards=READ, responses=PROBLEMS)  # fmt: skip
async def recommend(
    request: Request[Any, Any, Any],
    server: TheServer,
    gorse: TheGorse,
    user: FromPath[str],
    category: FromQuery[list[str] | None] = None,
    n: FromQuery[int] = DEFAULT_N,
    offset: FromQuery[int] = 0,
    write_back_type: WriteBackType = "",
    write_back_delay: WriteBackDelay = "",
    api_version: ApiVersion = "",
) -> Response[Any]:
    """Return the user's pushed list, and the newest items for a user without one.

    ``X-API-Version: 2`` asks for scores beside the ids. A write-back sends an event for each item
    of the answer, which says that it was shown.
    """
    check_range(n, offset)
    kind = gorse.types.shown_type(write_back_type) if write_back_type else ""
    ts = _write_back_ts(server.settings.sequencer.max_future_skew_ms, write_back_delay)
    if kind:
        caller_of(request.scope).check("write")
    wanted = _categories(request, category)
    found = await recommended(server, gorse.latest, user, categories=wanted, n=n, offset=offset)
    if kind and found:
        await write_events(server, [{"user_id": user, "item_id": one.id, "type": kind, "ts": ts} for one in found])
    return Response(found if api_version.strip() == "2" else [one.id for one in found])


@get(["/latest", "/latest/{in_category:str}"], operation_id="gorseLatest", summary="The newest items", tags=TAGS,
     guards=READ, responses=PROBLEMS)  # fmt: skip
async def latest(
    request: Request[Any, Any, Any],
    server: TheServer,
    gorse: TheGorse,
    category: FromQuery[list[str] | None] = None,
    n: FromQuery[int] = DEFAULT_N,
    offset: FromQuery[int] = 0,
    user_id: UserId = "",
) -> list[Score]:
    """Return the items that may be shown, the newest first."""
    check_range(n, offset)
    check_no_user(user_id)
    server.ready.check()
    return await gorse.latest.items(_categories(request, category), n, offset)


@get(["/popular", "/popular/{in_category:str}"], operation_id="gorsePopular", summary="Popular items", tags=TAGS,
     guards=READ, responses=PROBLEMS)  # fmt: skip
async def popular(
    request: Request[Any, Any, Any],
    server: TheServer,
    category: FromQuery[list[str] | None] = None,
    n: FromQuery[int] = DEFAULT_N,
    offset: FromQuery[int] = 0,
    user_id: UserId = "",
) -> list[Score]:
    """Return the most popular items, as the model in force counts them."""
    check_range(n, offset)
    check_no_user(user_id)
    server.ready.check()
    return await ranked.popular(server, categories=_categories(request, category), n=n, offset=offset)


@get(["/item/{item_id:str}/neighbors", "/item/{item_id:str}/neighbors/{in_category:str}"], operation_id="gorseNeighbors",
     summary="Items near an item", tags=TAGS, guards=READ, responses=PROBLEMS)  # fmt: skip
async def neighbors(
    request: Request[Any, Any, Any],
    server: TheServer,
    item_id: FromPath[str],
    category: FromQuery[list[str] | None] = None,
    n: FromQuery[int] = DEFAULT_N,
    offset: FromQuery[int] = 0,
    user_id: UserId = "",
) -> list[Score]:
    """Return the items nearest to an item by the model's vectors."""
    check_range(n, offset)
    check_no_user(user_id)
    server.ready.check()
    wanted = _categories(request, category)
    return await ranked.neighbours(server, item_id, categories=wanted, n=n, offset=offset)


@post(["/session/recommend", "/session/recommend/{in_category:str}"], operation_id="gorseSession", tags=TAGS,
      summary="Recommend items to a session", guards=READ, status_code=200, responses=PROBLEMS)  # fmt: skip
async def session(
    request: Request[Any, Any, Any],
    server: TheServer,
    gorse: TheGorse,
    data: JSONBody[list[Feedback]],
    n: FromQuery[int] = DEFAULT_N,
    offset: FromQuery[int] = 0,
) -> list[Score]:
    """Return a list for a visitor whose feedback is in the body; nothing of it is kept."""
    check_range(n, offset)
    server.ready.check()
    wanted = _categories(request, None)
    return await ranked.of_session(server, gorse.types, data, categories=wanted, n=n, offset=offset)


@get("/health/live", operation_id="gorseLive", summary="Whether the process answers", tags=TAGS)
async def live(server: TheServer) -> Health:
    """Return 200 while the process answers."""
    return _health(server.ready.waiting())


@get("/health/ready", operation_id="gorseReady", summary="Whether requests can be answered", tags=TAGS)
async def ready(server: TheServer) -> Response[Health]:
    """Return 200 once all is read that requests need, else 503."""
    found = _health(server.ready.waiting())
    return Response(found, status_code=200 if found.ready else 503)


def _health(waiting: list[str]) -> Health:
    error = f"not read yet: {', '.join(waiting)}" if waiting else None
    return Health(not waiting, error, error, not waiting, not waiting)


def _categories(request: Request[Any, Any, Any], category: list[str] | None) -> list[str]:
    """Return the category of the path, else those of the query that are not empty."""
    of_path = request.path_params.get("in_category")
    return [of_path] if of_path else [name for name in category or () if name]


def _write_back_ts(max_skew_ms: int, delay: str) -> int:
    delay_ms = duration_ms(delay)
    if delay_ms > max_skew_ms:
        raise Problem(
            501,
            "write-back-delay",
            f"{delay[:40]}: an event may lie at most {max_skew_ms} ms in the future",
            field="write-back-delay",
            remedy="leave it out, and send the feedback when it is due",
        )
    return int(1000 * time.time()) + delay_ms


HANDLERS: Final = (
    post_feedback, put_feedback, recommend, latest, popular, neighbors, session, live, ready,
)  # fmt: skip
