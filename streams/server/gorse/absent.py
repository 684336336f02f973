"""What Gorse's API has and the door has not: 501, with a word and what to do instead."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, route

from streams.server.gate.problems import Problem
from streams.server.parts.server import Server

FEEDBACK: Final = (
    "the server keeps no feedback: events are on the topic events",
    "read the topic, or ask for the user's list with explain",
)
UNDO: Final = (
    "what happened stays in the stream, and one event cannot be taken out of it",
    "send an event of a type that hides the item, or forget the user with DELETE /api/user/USER",
)
ONE_LIST: Final = (
    "there is one list a user, made of all sources together",
    "GET /api/recommend/USER, or /v1/users/USER/recommendations?explain=true for each source's rank",
)
USERS: Final = ("there are no neighbours of users", "GET /api/recommend/USER")

#: Paths and methods of Gorse, and why and what instead.
ABSENT: Final[tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, str]], ...]] = (
    (("GET",), ("/feedback", "/feedback/{a:str}", "/feedback/{a:str}/{b:str}", "/feedback/{a:str}/{b:str}/{c:str}",
                "/user/{a:str}/feedback", "/user/{a:str}/feedback/{b:str}",
                "/item/{a:str}/feedback", "/item/{a:str}/feedback/{b:str}"), FEEDBACK),
    (("DELETE",), ("/feedback/{a:str}/{b:str}", "/feedback/{a:str}/{b:str}/{c:str}"), UNDO),
    (("GET",), ("/collaborative-filtering/{a:str}", "/collaborative-filtering/{a:str}/{b:str}",
                "/non-personalized/{a:str}", "/item-to-item/{a:str}/{b:str}"), ONE_LIST),
    (("GET",), ("/user/{a:str}/neighbors", "/user-to-user/{a:str}/{b:str}"), USERS),
)  # fmt: skip


def absent(detail: str, remedy: str, field: str = "") -> Problem:
    """Return the problem of what Gorse has and the door has not."""
    return Problem(501, "not-in-the-gorse-door", detail, field=field, remedy=remedy)


def check_no_user(user_id: str) -> None:
    """Refuse to leave out what a user has read: the server does not know it."""
    if user_id:
        raise absent(
            "the server does not know what a user has read",
            "GET /api/recommend/USER, whose list leaves it out",
            "user-id",
        )


def check_no_search(q: str) -> None:
    """Refuse a search."""
    if q:
        raise absent("there is no search in the catalogue", "search where the shop's catalogue is", "q")


def check_own_ids(server: Server) -> None:
    """Refuse to list users where the topics have pseudonyms in place of their ids."""
    if server.settings.kafka.user_id_key_file:
        raise absent("the topics have pseudonyms of users, from which no id can be had", "GET /api/user/USER")


def _handler(methods: tuple[str, ...], paths: tuple[str, ...], why: tuple[str, str]) -> Any:
    @route(list(paths), http_method=list(methods), include_in_schema=False, status_code=501)  # type: ignore[arg-type]
    async def answer(request: Request[Any, Any, Any]) -> None:
        raise absent(f"{request.method} {request.url.path}: {why[0]}", why[1])

    return answer


HANDLERS: Final = tuple(_handler(*one) for one in ABSENT)
