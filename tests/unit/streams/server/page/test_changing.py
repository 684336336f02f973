"""Models and rules on the page: what is shown, and who may change what, over ASGI."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.rules.document import version_of
from streams.contract.records import Item
from streams.server.gate.key_file import Keys, add_key
from streams.server.lists.answers import ListedItem
from streams.server.lists.listeners import Listeners
from streams.server.page.parts import PageParts
from streams.server.page.routes import page_router
from streams.server.page.rules_page import compared
from streams.server.page.topics.windows import Found
from streams.server.page.user_stream import changes
from tests.unit.streams.server.page.deployed import NEW, NEXT, OLD, ROOT, RULES, SHA, ShownAnnouncer, ShownDeployment
from tests.unit.streams.server.served import ServedApp, a_list

SENT = {"hx-request": "true"}


class NoWindows:
    """A reader of windows that finds none."""

    def __init__(self) -> None:
        self.listeners = Listeners()
        self.state: Any = "searching"

    def ask(self, key: bytes) -> Found:
        """Return the state."""
        return Found(self.state)

    def recent(self, n: int) -> list[bytes]:
        """Return nobody."""
        return []


def app_of(folder: Path, keys: Keys | None = None) -> tuple[ServedApp, ShownAnnouncer, PageParts]:
    """Return an application whose page has a made deployment."""
    announcer, nothing = ShownAnnouncer(), NoWindows()
    rest: Any = None
    parts = PageParts(nothing, rest, rest, ShownDeployment(), announcer)
    return ServedApp(folder, keys=keys, routers=[page_router(lambda server: parts)]), announcer, parts


def asked(app: ServedApp, path: str, form: dict[str, str] | None = None, **headers: str) -> httpx.Response:
    """Return the answer to a form, or to a GET."""
    if form is None:
        return asyncio.run(app.ask(path, headers=headers))
    return asyncio.run(app.ask(path, "POST", data=form, headers=SENT | headers))


def test_a_page_of_models_says_who_serves_what_and_why_not_the_newest(tmp_path: Path) -> None:
    """In force, refused with the reason, and still loading."""
    text = asked(app_of(tmp_path)[0], "/page/models").text
    assert NEW in text and OLD in text and "wish counts as view; train it again" in text and "12000 of 41203" in text
    assert text.count("has told nothing") == 1 and f"{ROOT}/2026-12-01" in text and "0.2134" in text


def test_an_artifact_is_checked_then_announced_as_it_was_seen(tmp_path: Path) -> None:
    """The form carries the checksum and the newest announcement; another site may not send it."""
    app, announcer, _ = app_of(tmp_path)
    form = {"place": f"{ROOT}/2026-12-01", "refresh": "2.5"}
    confirm = asked(app, "/page/models/check", form).text
    assert NEXT in confirm and f'name="sha256" value="{SHA}"' in confirm and 'name="newest" value="live@0.7"' in confirm
    answer = asked(app, "/page/models/publish", form | {"sha256": SHA, "newest": "live@0.7"})
    assert "live@0.8" in answer.text
    assert announcer.sent == [("publish", f"{ROOT}/2026-12-01", "live@0.7", SHA, "2.5")]
    assert asyncio.run(app.ask("/page/models/publish", "POST", data=form)).status_code == 403
    assert len(announcer.sent) == 1


@pytest.mark.parametrize(
    ("form", "told"),
    [({"place": "/etc"}, "outside"), ({"place": ""}, "place: empty"), ({"place": ROOT, "refresh": "x"}, "refresh &#39;x"),
     ({"place": ROOT, "refresh": "9999"}, "from 0 to 3650"), ({"place": ROOT, "refresh": "nan"}, "number of days")],
)  # fmt: skip
def test_what_cannot_be_announced_says_why(tmp_path: Path, form: dict[str, str], told: str) -> None:
    """And offers no button."""
    text = asked(app_of(tmp_path)[0], "/page/models/check", form).text
    assert told in text and "<button" not in text


def test_an_artifact_with_other_golden_lists_cannot_be_published(tmp_path: Path) -> None:
    """Recommenders would refuse it."""
    text = asked(app_of(tmp_path)[0], "/page/models/check", {"place": f"{ROOT}/unlike"}).text
    assert "golden window 3 of 64" in text and "<button" not in text


def test_going_back_needs_two_steps_and_names_what_is_taken_back(tmp_path: Path) -> None:
    """For models and for rules."""
    app, announcer, _ = app_of(tmp_path)
    assert f"{ROOT}/2026-11-23" in asked(app, "/page/models/rollback").text
    asked(app, "/page/models/rollback", {"newest": "live@0.7"})
    assert version_of(RULES) in asked(app, "/page/rules/rollback").text
    asked(app, "/page/rules/rollback", {"expected": "abc"})
    assert announcer.sent == [("rollback", "live@0.7", "None"), ("back", "abc")]


@pytest.mark.parametrize(
    ("path", "method"),
    [("models/check", "POST"), ("models/publish", "POST"), ("models/rollback", "GET"), ("models/rollback", "POST"),
     ("rules/put", "POST"), ("rules/rollback", "GET"), ("rules/rollback", "POST")],
)  # fmt: skip
def test_only_an_admin_changes_a_deployment(tmp_path: Path, path: str, method: str) -> None:
    """A reader who may write events sees no form, and is refused by each route."""
    file = tmp_path / "keys.json"
    key = add_key(file, "shop", ["read", "write"])
    app, announcer, _ = app_of(tmp_path, Keys(file))
    headers = SENT | {"X-API-Key": key}
    answer = asyncio.run(app.ask(f"/page/{path}", method, headers=headers))
    assert answer.status_code == 403 and announcer.sent == []
    shown = asked(app, f"/page/{path.partition('/')[0]}", None, **headers).text
    assert "A key with the scope admin may change this." in shown and 'id="roll-back"' not in shown


def test_rules_that_cannot_be_used_name_line_and_remedy(tmp_path: Path) -> None:
    """With the line itself, as text."""
    form = {"text": '# ok\r\ndeny = ["<b>"]\r\nlist_sise = 3', "user": "u"}
    text = asked(app_of(tmp_path)[0], "/page/rules/preview", form).text
    assert "line 3: list_sise: no such key; did you mean list_size?" in text and "list_sise = 3</pre>" in text
    assert "<b>" not in text


def test_without_a_model_a_preview_says_what_would_go(tmp_path: Path) -> None:
    """And that it cannot say what would come."""
    app, announcer, _ = app_of(tmp_path)

    async def run() -> tuple[str, str, str]:
        for item_id in "abc":
            app.shown.put(item_id, Item(1, item_id, f"Item {item_id}"))
        await app.put(a_list("u"))
        text = 'deny = ["b"]'
        form = {"text": text, "user": "u"}
        shown = (await app.ask("/page/rules/preview", "POST", data=form, headers=SENT)).text
        unknown = (await app.ask("/page/rules/preview", "POST", data=form | {"user": "v"}, headers=SENT)).text
        put = {"text": text, "version": version_of(text), "expected": version_of(RULES)}
        for version in (version_of(text), "another"):
            said = await app.ask("/page/rules/put", "POST", data=put | {"version": version}, headers=SENT)
        return shown, unknown, said.text

    shown, unknown, said = asyncio.run(run())
    assert shown.count('class="is-gone"') == 1 and "HEADRACE_SERVE_RANKING=on" in shown and "↑1" in shown
    assert "no list to compare" in unknown and "changed since the preview" in said
    assert announcer.sent == [("put", 'deny = ["b"]', version_of(RULES))]


def test_two_lists_are_compared_item_by_item() -> None:
    """What goes, what comes, and what moves by how much."""
    now, then = ([ListedItem(one, 0.5) for one in ids] for ids in ("abcd", "caxd"))
    before, after = compared(now, then)
    assert [(one.fate, one.by) for one in before] == [("down", 1), ("gone", 0), ("up", 2), ("same", 0)]
    assert [(one.fate, one.by) for one in after] == [("up", 2), ("down", 1), ("new", 0), ("same", 0)]


def test_an_open_page_is_told_of_lists_windows_and_titles(tmp_path: Path) -> None:
    """Once each; a comment keeps a quiet connection open; the stream ends with the server."""

    async def run() -> None:
        app, _, parts = app_of(tmp_path)
        windows: Any = parts.windows
        stream = changes(app.server, parts, "u", beat_s=0.01)
        marks = [(await anext(stream)).data]
        await app.put(a_list("u"))
        marks.append((await anext(stream)).data)
        windows.state = "none"
        windows.listeners.wake([b"u"])
        marks.append((await anext(stream)).data)
        app.shown.put("a", Item(1, "a", "New title"))
        marks.append((await anext(stream)).data)
        assert len(set(marks)) == 4
        quiet = await anext(stream)
        assert (quiet.data, quiet.comment) == (None, "alive")
        app.server.ready.stopping.set()
        assert [one async for one in stream] == []
        assert app.server.listeners.n == windows.listeners.n == 0

    asyncio.run(run())
