"""``GET /v1/users/{user_id}/recommendations/stream``: new lists of a user as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Final

import msgspec
from litestar import get
from litestar.params import FromPath, Parameter
from litestar.response import ServerSentEvent, ServerSentEventMessage

from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import MAX_N, Question
from streams.server.parts.server import Server, TheServer
from streams.server.routes.pushed_lists import PROBLEMS

#: Seconds between two comments, without which proxies close a quiet connection.
BEAT_S: Final = 15.0
#: Seconds until a server that cannot answer now is asked again.
AWAY_S: Final = 1.0


@get(
    "/v1/users/{user_id:str}/recommendations/stream",
    operation_id="streamRecommendations",
    summary="New lists of a user as they come",
    tags=["lists"],
    guards=[needs("read")],
    responses=PROBLEMS,
)
async def stream(
    server: TheServer,
    user_id: FromPath[str],
    n: Annotated[int | None, Parameter(ge=1, le=MAX_N, description="most items")] = None,
) -> ServerSentEvent:
    """Send server-sent events: ``list`` with what ``GET`` answers, now and after each change.

    ``removed`` says that the user has no list any more. A slow reader gets the newest list alone.
    """
    server.ready.check()
    question = Question(user_id, n)
    question.check()
    return ServerSentEvent(lists(server, question), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


async def lists(
    server: Server, question: Question, beat_s: float = BEAT_S
) -> AsyncGenerator[ServerSentEventMessage, None]:
    """Yield a user's list, then each change of it, until the server stops."""
    last: bytes | None = None
    with server.listeners.listen(server.lists.key_of(question.user_id)) as changed:
        while not server.ready.stopping.is_set():
            changed.clear()
            found = await _encoded(server, question)
            if found is None:
                yield ServerSentEventMessage(data=None, comment="waiting")
                await woken(server.ready.stopping, wait_s=AWAY_S)
                changed.set()
            elif found != last:
                last = found
                yield _message(found)
            if not await woken(changed, server.ready.stopping, wait_s=beat_s):
                yield ServerSentEventMessage(data=None, comment="alive")


async def _encoded(server: Server, question: Question) -> bytes | None:
    """Return a user's list; empty where there is none, None while the server cannot know."""
    try:
        server.ready.check()
        return msgspec.json.encode(await server.lists.answer(question))
    except Problem as problem:
        return None if problem.status == 503 else b""


def _message(found: bytes) -> ServerSentEventMessage:
    return ServerSentEventMessage(event="list" if found else "removed", data=found.decode() or "{}")


async def woken(*events: asyncio.Event, wait_s: float) -> bool:
    """Wait for one of some events; return False where none came in time."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()
