"""A user's page: window and list, live, and a form that publishes an event of the user."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery
from litestar.response import Redirect
from litestar.status_codes import HTTP_204_NO_CONTENT

from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import Question, UserList, check_id
from streams.server.page.frame.forms import Asked, Form, UserId, check_from_page
from streams.server.page.frame.shell import HEADERS, look_of_request, show
from streams.server.page.frame.texts import text_or, texts_of
from streams.server.page.parts import PageParts, ThePage
from streams.server.page.topics.windows import Found
from streams.server.parts.ranking import Behaved, SessionQuestion
from streams.server.parts.server import Server, TheServer
from streams.settings.record_limits import MAX_ID_LENGTH

#: Items that the page shows of a list, and users whose windows changed last.
SHOWN_ITEMS: Final = 50
RECENT: Final = 60
#: Items that the form proposes.
PROPOSED: Final = 500
#: Most behaviours that a question for a list may have.
MAX_BEHAVED: Final = 1_000


@get("/page/users", guards=[needs("read")])
async def users(request: Asked, user: FromQuery[str] = "") -> Response[bytes]:
    """Return the page that finds a user; with ``user`` go to that user's page."""
    if user:
        return Redirect(f"/page/user?id={quote(user, safe='')}", status_code=303)
    return show(request, "user/users", max_id=MAX_ID_LENGTH)


@get("/page/users/recent", guards=[needs("read")])
async def recent_users(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return links to the users whose windows changed last.

    With pseudonyms there are none: the topics do not have the shop's own ids.
    """
    has_own_ids = server.lists.key_of("-") == b"-"
    keys = parts.windows.recent(RECENT) if has_own_ids else []
    return show(request, "user/recent", users=[key.decode("utf-8", "replace") for key in keys])


@get("/page/user", guards=[needs("read")])
async def user_page(request: Asked, user_id: UserId, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return a user's page."""
    check_id("user_id", user_id)
    items = [(item_id, server.shown.title(item_id)) for item_id in itertools.islice(server.shown, PROPOSED)]
    types = server.settings.sequencer.types().names
    values = await _live(request, user_id, server, parts)
    return show(request, "user/user", items=items, types=types, max_id=MAX_ID_LENGTH, **values)


@get("/page/user/live", guards=[needs("read")])
async def user_live(
    request: Asked, user_id: UserId, server: TheServer, parts: ThePage, seen: FromQuery[str] = ""
) -> Response[bytes]:
    """Return window and list of a user; 204 where the page that is open shows them already."""
    check_id("user_id", user_id)
    values = await _live(request, user_id, server, parts)
    if values["seen"] == seen:
        return Response(b"", status_code=HTTP_204_NO_CONTENT, headers=HEADERS)
    return show(request, "user/live", **values)


async def mark_of(server: Server, parts: PageParts, user_id: str) -> str:
    """Return what changes when the user's window, list, or what answers may show changes."""
    found = parts.windows.ask(server.lists.key_of(user_id))
    return _mark(found, await _list_of(server, user_id), server.shown.version)


async def _live(request: Asked, user_id: str, server: Server, parts: PageParts) -> dict[str, Any]:
    found = parts.windows.ask(server.lists.key_of(user_id))
    shown_list = await _list_of(server, user_id)
    t = texts_of(look_of_request(request).language)
    says = t("list.says", n=shown_list.revision, items=len(shown_list.items)) if shown_list else t("list.says_none")
    return {
        "user_id": user_id,
        "state": found.state,
        "window": found.window,
        "list": shown_list,
        "titles": _titles(server, found, shown_list),
        "says": says,
        "seen": _mark(found, shown_list, server.shown.version),
    }


async def _list_of(server: Server, user_id: str) -> UserList | None:
    """Return the newest list of a user; None for a user without one."""
    try:
        return await server.lists.answer(Question(user_id, n=SHOWN_ITEMS, explain=True))
    except Problem as problem:
        if problem.status != 404:
            raise
        return None


def _titles(server: Server, found: Found, shown_list: UserList | None) -> dict[str, str]:
    """Return the titles of all items that the page names without one."""
    named: Iterable[str] = [one.item_id for one in found.window.items] if found.window else []
    because = [item.because for item in shown_list.items if item.because] if shown_list else []
    return {item_id: server.shown.title(item_id) for item_id in (*named, *because)}


def _mark(found: Found, shown_list: UserList | None, version: int) -> str:
    """Return what differs between two states that look different."""
    window = 0 if found.window is None else found.window.revision
    newest = "" if shown_list is None else f"{shown_list.list_id} {shown_list.produced_ts} {shown_list.provisional}"
    return hashlib.blake2b(f"{found.state} {window} {newest} {version}".encode(), digest_size=9).hexdigest()


@post("/page/user/events", guards=[needs("write")], status_code=200)
async def publish_event(
    request: Asked,
    user_id: UserId,
    server: TheServer,
    data: Form,
) -> Response[bytes]:
    """Publish an event of a user, now; answer once the broker has it."""
    check_from_page(request)
    language = look_of_request(request).language
    item_id, kind = data.get("item_id", "").strip(), data.get("type", "")
    event = {"user_id": user_id, "item_id": item_id, "type": kind}
    found = await server.writes.events(msgspec.json.encode(event))
    if found.rejected:
        wrong = found.rejected[0]
        return show(request, "said", is_good=False, text=f"{wrong.field}: {wrong.detail}")
    text = texts_of(language)("event.published", type=text_or(language, f"type.{kind}", kind), item=item_id)
    return show(request, "said", is_good=True, text=text)


@post("/page/user/what-if", guards=[needs("read")], status_code=200)
async def what_if(
    request: Asked,
    user_id: UserId,
    server: TheServer,
    parts: ThePage,
    data: Form,
) -> Response[bytes]:
    """Return the list that an event of the user would lead to; nothing is published."""
    check_from_page(request)
    check_id("user_id", user_id)
    item_id, kind = data.get("item_id", "").strip(), data.get("type", "")
    check_id("item_id", item_id)
    window = parts.windows.ask(server.lists.key_of(user_id)).window
    behaved = [Behaved(one.item_id, one.type, one.ts) for one in window.items] if window else []
    behaved.append(Behaved(item_id, kind, max(int(1000 * time.time()), behaved[-1].ts or 0) if behaved else None))
    try:
        answer = await server.ranker.session(SessionQuestion(behaved[-MAX_BEHAVED:], n=SHOWN_ITEMS, explain=True))
    except Problem as problem:
        return show(request, "said", is_good=False, text=f"{problem.detail}; {problem.remedy}")
    now = await _list_of(server, user_id)
    places = {item.item_id: place for place, item in enumerate(now.items)} if now else {}
    moves = [_move(places.get(item.item_id), place) for place, item in enumerate(answer.items)]
    kind_text = text_or(look_of_request(request).language, f"type.{kind}", kind)
    return show(
        request, "user/what_if", answer=answer, moves=moves, item=server.shown.title(item_id) or item_id, kind=kind_text
    )


def _move(before: int | None, now: int) -> str:
    """Return how an item moved from a list to another, as the page shows it."""
    if before is None:
        return "+"
    return "" if before == now else f"{'↑' if before > now else '↓'}{abs(before - now)}"
