"""The page of rules: what is in force, and what another document would do to a user's list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from litestar import Response, get, post
from litestar.params import FromQuery

from models.rules.document import version_of
from models.rules.parse import RulesError
from models.rules.row_rules import Rules
from streams.announcements.sending.rules import PREVIOUS, summary, warnings
from streams.errors import HeadraceError
from streams.server.gate.callers import needs
from streams.server.gate.problems import Problem
from streams.server.lists.answers import ListedItem, Question, check_id
from streams.server.page.frame.forms import Asked, Form, check_from_page, may
from streams.server.page.frame.shell import look_of_request, show
from streams.server.page.frame.texts import texts_of
from streams.server.page.parts import PageParts, ThePage
from streams.server.parts.server import Server, TheServer
from streams.settings.record_limits import MAX_ID_LENGTH


class Place(NamedTuple):
    """An item of a list, and what becomes of it in the other one.

    Parameters
    ----------
    fate : ``same``, ``up``, ``down``, ``gone`` or ``new``
    by : places up or down
    """

    item: ListedItem
    fate: str
    by: int = 0


@get("/page/rules", guards=[needs("read")])
async def rules_page(request: Asked, server: TheServer, parts: ThePage, user: FromQuery[str] = "") -> Response[bytes]:
    """Return the rules in force, and the form that tries others."""
    values = await _in_force(server, parts)
    return show(
        request, "rules/rules", is_admin=may(request, "admin"), user=user, max_id=MAX_ID_LENGTH, **values
    )  # fmt: skip


@get("/page/rules/live", guards=[needs("read")])
async def rules_live(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Return the rules in force and who obeys them, for a page that is open."""
    return show(request, "rules/live", **await _in_force(server, parts))


async def _in_force(server: Server, parts: PageParts) -> dict[str, Any]:
    scenario, look = server.settings.recommender.scenario, await parts.deployment.look()
    held, before = look.rules.get(scenario), look.rules.get(scenario + PREVIOUS)
    record = None if held is None else held.record
    previous = None if before is None else before.record
    answers = None if look.live is None else [(one, one.receipts.get("rules")) for one in look.live]
    return {
        "scenario": scenario,
        "held": held,
        "record": record,
        "version": "" if record is None else version_of(record.rules),
        "previous": "" if previous is None else version_of(previous.rules),
        "answers": answers,
    }


@post("/page/rules/preview", guards=[needs("read")], status_code=200)
async def preview(request: Asked, server: TheServer, parts: ThePage, data: Form) -> Response[bytes]:
    """Say what is wrong with a document, or show what it would do to a user's list."""
    check_from_page(request)
    text, user_id = text_of(data), data.get("user", "").strip()
    size = server.settings.recommender.list_size
    try:
        rules = Rules.of(text, size)
    except RulesError as exc:
        lines = text.splitlines()
        line = lines[exc.line - 1] if 0 < exc.line <= len(lines) else ""
        return show(request, "rules/wrong", problem=str(exc), number=exc.line, line=line[:200])
    values: dict[str, Any] = {"now": [], "then": [], "note": "", "problem": ""}
    if user_id:
        check_id("user_id", user_id)
        try:
            values |= await _effect(server, user_id, rules)
        except Problem as problem:
            values["problem"] = f"{problem.detail}; {problem.remedy}"
    in_force = await _in_force(server, parts)
    return show(
        request, "rules/preview", version_then=rules.version, summary=summary(rules.document),
        warnings=warnings(rules.document, size), user=user_id, is_admin=may(request, "admin"), **in_force, **values,
    )  # fmt: skip


async def _effect(server: Server, user_id: str, rules: Rules) -> dict[str, Any]:
    """Return a user's list as it is and as it would be.

    A server without a model takes the items that the rules deny out of the pushed list, and says
    so: it cannot rank what would follow.
    """
    if server.settings.server.serve_ranking == "on":
        effect = await server.ranker.under_rules(server.lists.key_of(user_id), rules)
        if effect is None:
            return {"note": "no_window"}
        now, then = compared(effect.now.items, effect.then.items)
        return {"now": now, "then": then, "note": "ranked"}
    try:
        pushed = (await server.lists.answer(Question(user_id))).items
    except Problem as problem:
        if problem.status != 404:
            raise
        return {"note": "no_list"}
    hidden = server.shown.hidden_under((item.item_id for item in pushed), rules)
    now, then = compared(pushed, [item for item in pushed if item.item_id not in hidden])
    return {"now": now, "then": then, "note": "without_model"}


def compared(now: Sequence[ListedItem], then: Sequence[ListedItem]) -> tuple[list[Place], list[Place]]:
    """Return two lists with what becomes of the first one's items, and where the other's were."""
    places_now = {item.item_id: place for place, item in enumerate(now)}
    places_then = {item.item_id: place for place, item in enumerate(then)}

    def fate(item: ListedItem, missing: str) -> Place:
        before, after = places_now.get(item.item_id), places_then.get(item.item_id)
        if before is None or after is None:
            return Place(item, missing)
        return Place(item, "same" if before == after else "up" if after < before else "down", abs(before - after))

    return [fate(item, "gone") for item in now], [fate(item, "new") for item in then]


@post("/page/rules/put", guards=[needs("admin")], status_code=200)
async def put(request: Asked, server: TheServer, parts: ThePage, data: Form) -> Response[bytes]:
    """Announce rules that were previewed."""
    check_from_page(request)
    text = text_of(data)
    t = texts_of(look_of_request(request).language)
    try:
        rules = Rules.of(text, server.settings.recommender.list_size)
        if rules.version != data.get("version"):
            return show(request, "said", is_good=False, text=t("rules.changed"))
        announcement = await parts.announcer.put_rules(text, data.get("expected", ""))
    except (HeadraceError, RulesError) as exc:
        return show(request, "said", is_good=False, text=str(exc))
    return show(request, "said", is_good=True, text=t("rules.announced", id=announcement))


@get("/page/rules/rollback", guards=[needs("admin")])
async def ask_rollback(request: Asked, server: TheServer, parts: ThePage) -> Response[bytes]:
    """Ask whether to go back to the rules of before."""
    return show(request, "rules/rollback", **await _in_force(server, parts))


@post("/page/rules/rollback", guards=[needs("admin")], status_code=200)
async def rollback(request: Asked, parts: ThePage, data: Form) -> Response[bytes]:
    """Announce the rules of before."""
    check_from_page(request)
    t = texts_of(look_of_request(request).language)
    try:
        announcement = await parts.announcer.rollback_rules(data.get("expected", ""))
    except HeadraceError as exc:
        return show(request, "said", is_good=False, text=str(exc))
    return show(request, "said", is_good=True, text=t("rules.announced", id=announcement))


def text_of(data: dict[str, str]) -> str:
    """Return the document of a form, with the ends of lines that files have."""
    return data.get("text", "").replace("\r\n", "\n")
