"""Tells an open page of a user when window or list have changed, by server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from litestar import get
from litestar.response import ServerSentEvent, ServerSentEventMessage

from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import check_id
from streams.server.page.frame.forms import UserId
from streams.server.page.parts import PageParts, ThePage
from streams.server.page.users import mark_of
from streams.server.parts.server import Server, TheServer
from streams.server.routes.list_stream import woken

#: Seconds between two looks where nobody tells: titles and rules change what a list shows, too.
BEAT_S: Final = 1.0
#: Looks between two comments, without which proxies close a quiet connection.
QUIET_BEATS: Final = 15
#: After so many milliseconds a browser comes back that lost the connection.
RETRY_MS: Final = 1_000


@get("/page/user/stream", guards=[needs("read")])
async def user_stream(user_id: UserId, server: TheServer, parts: ThePage) -> ServerSentEvent:
    """Send an event ``changed`` now and after each change; its data marks the state."""
    check_id("user_id", user_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return ServerSentEvent(changes(server, parts, user_id), headers=headers)


async def changes(
    server: Server, parts: PageParts, user_id: str, beat_s: float = BEAT_S
) -> AsyncGenerator[ServerSentEventMessage, None]:
    """Yield a message for each state of a user's page, until the server stops."""
    last, beats, key = "", 0, server.lists.key_of(user_id)
    with server.listeners.listen(key) as new_list, parts.windows.listeners.listen(key) as new_window:
        while not server.ready.stopping.is_set():
            new_list.clear()
            new_window.clear()
            mark = await _mark(server, parts, user_id) or last
            if mark != last:
                last, beats = mark, 0
                yield ServerSentEventMessage(event="changed", data=mark, retry=RETRY_MS)
            if not await woken(new_list, new_window, server.ready.stopping, wait_s=beat_s):
                beats += 1
                if beats % QUIET_BEATS == 0:
                    yield ServerSentEventMessage(data=None, comment="alive")


async def _mark(server: Server, parts: PageParts, user_id: str) -> str:
    """Return the mark of a user's state; empty while the server cannot tell."""
    try:
        return await mark_of(server, parts, user_id)
    except Problem:
        return ""
