"""``GET /v1/users/{user_id}/recommendations``: the newest list of a user, as it was pushed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from streams.server.gate.callers import Caller, needs
from streams.server.gate.door import Answer
from streams.server.gate.problems import ProblemBody
from streams.server.lists.answers import MAX_N, ListAnswers, Question, UserList, etag_of, matches
from streams.server.parts.readiness import Readiness
from streams.server.parts.server import TheServer

ROUTE: Final = "/v1/users/{user_id:str}/recommendations"
_PATH: Final = re.compile(r"/v1/users/([^/]+)/recommendations")
_QUERY: Final = re.compile(rb"(?:n=([0-9]{1,4}))?")
JSON: Final = b"application/json"
#: A list may change with the next event: whoever keeps an answer asks whether it still holds.
CACHE: Final = "private, no-cache"
PROBLEMS: Final[Mapping[int, ResponseSpec]] = {
    status: ResponseSpec(ProblemBody, description=text, media_type="application/problem+json")
    for status, text in (
        (400, "a parameter is out of its range"),
        (401, "no key, or one that is not known"),
        (403, "the key lacks the scope"),
        (404, "nothing is known of what is asked for"),
        (429, "too many requests"),
        (503, "the server has not read what it needs"),
    )
}


class PushedLists:
    """The short way to a pushed list: a question with ``n`` alone. For one event loop."""

    def __init__(self, lists: ListAnswers, ready: Readiness) -> None:
        self._lists = lists
        self._ready = ready
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: Mapping[str, Any], caller: Caller) -> Answer | None:
        """Answer a request; None for one that the application must answer."""
        if scope["method"] != "GET":
            return None
        query = _QUERY.fullmatch(scope["query_string"])
        path = None if query is None else _PATH.fullmatch(_decoded_path(scope))
        if query is None or path is None:
            return None
        caller.check("read")
        self._ready.check()
        n = None if query[1] is None else int(query[1])
        body = self._encoder.encode(await self._lists.answer(Question(unquote(path[1]), n)))
        etag = etag_of(body)
        headers = [(b"etag", etag.encode()), (b"cache-control", CACHE.encode())]
        if_none_match = next((value for name, value in scope["headers"] if name == b"if-none-match"), None)
        if if_none_match is not None and matches(if_none_match.decode("latin-1"), etag):
            return Answer(304, headers, b"", is_short=True)
        return Answer(200, [(b"content-type", JSON), *headers], body, is_short=True)


def _decoded_path(scope: Mapping[str, Any]) -> str:
    """Return the path as it was sent: an id may hold an encoded slash."""
    raw = scope.get("raw_path")
    return str(scope["path"]) if not raw else raw.decode("latin-1")


@get(
    ROUTE,
    operation_id="getRecommendations",
    summary="The newest list of a user",
    tags=["lists"],
    guards=[needs("read")],
    responses=PROBLEMS,
)
async def recommendations(
    request: Request[Any, Any, Any],
    server: TheServer,
    user_id: Annotated[str, Parameter(description="the shop's own id of the user")],
    n: Annotated[int | None, Parameter(ge=1, le=MAX_N, description="most items; all of the list without it")] = None,
    category: Annotated[str | None, Parameter(description="only items of this category")] = None,
    exclude: Annotated[list[str] | None, Parameter(description="ids of items that the answer must not have")] = None,
    max_age: Annotated[
        float | None, Parameter(gt=0, description="the list must have been made within so many seconds")
    ] = None,
    explain: Annotated[bool, Parameter(description="each item with its rank and score in each source")] = False,
) -> Response[UserList]:
    """Return the newest list of a user, without items that may not be shown now.

    The list has been pushed: it knows the user's events up to ``event_ts``. The header ``ETag``
    serves a later ``If-None-Match``.
    """
    server.ready.check()
    question = Question(user_id, n, category, frozenset(exclude or ()), max_age, explain)
    found = await server.lists.answer(question)
    etag = etag_of(msgspec.json.encode(found))
    headers = {"ETag": etag, "Cache-Control": CACHE}
    if matches(request.headers.get("if-none-match", ""), etag):
        return Response(b"", status_code=304, headers=headers)  # type: ignore[arg-type]  # no body
    return Response(found, headers=headers)
