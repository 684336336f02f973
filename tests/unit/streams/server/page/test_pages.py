"""What the page answers, over ASGI and without a broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import msgspec
import pytest

from streams.contract.records import Item, RecommendedItem, SourceRank
from streams.server.gate.key_file import Keys, add_key
from streams.server.lists.answers import ListedItem
from streams.server.page.frame.shell import POLICY
from streams.server.page.frame.static_files import CACHE, address_of, static_files
from streams.server.page.routes import page_router
from streams.server.parts.ranking import RankedAnswer, ScoredItem, ScoredItems, SessionQuestion
from tests.unit.streams.server.served import ServedApp, a_list

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}"


def served(tmp_path: Path, keys: Keys | None = None) -> ServedApp:
    """Return an application with the page."""
    return ServedApp(tmp_path, keys=keys, routers=[page_router()])


def get(app: ServedApp, path: str, **headers: str) -> httpx.Response:
    """Return the answer to a GET."""
    return asyncio.run(app.ask(path, headers=headers))


@pytest.mark.parametrize(
    "path", ["/", "/page/users", "/page/user?id=u", "/page/user/live?id=u", "/page/static/none.css"]
)
def test_every_page_forbids_what_is_not_its_own(tmp_path: Path, path: str) -> None:
    """A refusal is a page too."""
    answer = get(served(tmp_path), path)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"


def test_the_language_and_the_theme_are_kept(tmp_path: Path) -> None:
    """A link chooses, a cookie keeps it, and the document names its language."""
    app = served(tmp_path)
    chosen = get(app, "/?language=zh&theme=dark", **{"accept-language": "en"})
    assert 'lang="zh-Hans" data-theme="dark"' in chosen.text and "推荐" in chosen.text
    cookie = "; ".join(f"{name}={value}" for name, value in chosen.cookies.items())
    assert 'lang="zh-Hans" data-theme="dark"' in get(app, "/page/users", cookie=cookie).text
    assert 'lang="en" data-theme="auto"' in get(app, "/page/users").text


def test_a_users_page_shows_titles_source_ranks_and_reasons(tmp_path: Path) -> None:
    """And all texts of the catalogue and of callers as text."""

    async def ask() -> str:
        app = served(tmp_path)
        app.shown.put("a", Item(1, "a", HOSTILE))
        app.shown.put("b", Item(1, "b", "Head torch"))
        ranks = {"retrieval": SourceRank(3, 1.0), "mf": SourceRank(12, 0.5)}
        await app.put(a_list("u/1", items=[]), a_list("u/1", 2, degraded="popular"))
        listed = [RecommendedItem("a", 0.25, ranks, "b")]
        await app.put(msgspec.structs.replace(a_list("u/1", 3), items=listed))
        return (await app.ask("/page/user?id=u%2F1")).text

    text = asyncio.run(ask())
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;{{7*7}}" in text
    assert "because of Head torch" in text and "sequence 3" in text and "factors 12" in text and "0.250" in text


def test_a_page_that_is_open_is_told_only_what_changed(tmp_path: Path) -> None:
    """204 leaves the page as it is; a new list, or a new catalogue, is a new answer."""

    async def ask() -> None:
        app = served(tmp_path)
        await app.put(a_list("u"))
        first = (await app.ask("/page/user/live?id=u")).text
        seen = first.partition("&amp;seen=")[2].partition('"')[0]
        again = await app.ask(f"/page/user/live?id=u&seen={seen}")
        assert seen and (again.status_code, again.content) == (204, b"")
        await app.put(a_list("u", 2))
        changed = await app.ask(f"/page/user/live?id=u&seen={seen}")
        assert changed.status_code == 200 and "of revision 2" in changed.text
        seen = changed.text.partition("&amp;seen=")[2].partition('"')[0]
        app.shown.put("a", Item(1, "a", "New title"))
        assert "New title" in (await app.ask(f"/page/user/live?id=u&seen={seen}")).text

    asyncio.run(ask())


def test_a_form_of_another_site_publishes_nothing(tmp_path: Path) -> None:
    """Only the page sets the header of htmx; a browser lets no other site set it."""

    async def ask() -> httpx.Response:
        app = served(tmp_path)
        return await app.ask("/page/user/events?id=u", "POST", data={"item_id": "a", "type": "view"})

    answer = asyncio.run(ask())
    assert answer.status_code == 403 and "only the page itself" in answer.text


@pytest.mark.parametrize(
    ("user", "form", "said"),
    [
        ("u", {"item_id": "a", "type": "<b>"}, "type: "),
        ("u", {"item_id": "", "type": "view"}, "item_id: "),
        ("u", {"type": "view"}, "item_id: "),
        ("u", {"item_id": "a" * 300, "type": "view"}, "item_id: "),
    ],
)
def test_an_event_that_breaks_the_contract_is_refused_before_a_broker_is_asked(
    tmp_path: Path, user: str, form: dict[str, str], said: str
) -> None:
    """The form says which field is wrong."""

    async def ask() -> httpx.Response:
        app = served(tmp_path)
        return await app.ask(f"/page/user/events?id={user}", "POST", data=form, headers={"hx-request": "true"})

    answer = asyncio.run(ask())
    assert (
        answer.status_code == 200 and said in answer.text and 'class="bad"' in answer.text and "<b>" not in answer.text
    )


def test_the_page_needs_the_scopes_that_it_uses(tmp_path: Path) -> None:
    """A reader sees lists and publishes nothing; nobody sees anything without a key."""
    file = tmp_path / "keys.json"
    key = add_key(file, "reader", ["read"])

    async def ask() -> list[int]:
        app = served(tmp_path, Keys(file))
        form = {"item_id": "a", "type": "view"}
        sent = {"X-API-Key": key, "hx-request": "true"}
        answers = [
            await app.ask("/page/user?id=u"),
            await app.ask("/page/user?id=u", headers={"X-API-Key": key}),
            await app.ask("/page/user/events?id=u", "POST", data=form, headers=sent),
        ]
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [401, 200, 403]


class Asked:
    """A model that remembers what it was asked."""

    def __init__(self) -> None:
        self.questions: list[SessionQuestion] = []

    async def session(self, asked: SessionQuestion) -> RankedAnswer:
        """Return a list of two items."""
        self.questions.append(asked)
        return RankedAnswer("art", "none", [ListedItem("c", 0.5, "Third"), ListedItem("z", 0.2, "New")])

    async def similar(self, item_id: str, n: int, category: str | None) -> ScoredItems:
        """Return one neighbour."""
        return ScoredItems("art", [ScoredItem("b", 0.75, f"beside {item_id}")])


def test_a_pretended_event_is_ranked_with_the_window_and_published_nowhere(tmp_path: Path) -> None:
    """The answer says what moved against the user's list; another site may not ask."""
    model = Asked()

    async def ask() -> tuple[httpx.Response, httpx.Response, int]:
        app = ServedApp(tmp_path, ranker=model, routers=[page_router()])
        await app.put(a_list("u"))
        form = {"item_id": "k", "type": "view"}
        sent = await app.ask("/page/user/what-if?id=u", "POST", data=form, headers={"hx-request": "true"})
        return sent, await app.ask("/page/user/what-if?id=u", "POST", data=form), len(app.writer.written)

    answer, foreign, n_written = asyncio.run(ask())
    assert (answer.status_code, foreign.status_code, n_written) == (200, 403, 0)
    assert [(one.item_id, one.type) for one in model.questions[0].events] == [("k", "view")]
    assert ">↑2<" in answer.text and ">+<" in answer.text and "If a view of k came now" in answer.text


def test_without_a_model_the_page_says_how_to_get_one(tmp_path: Path) -> None:
    """Neighbours and pretended events need ranking on demand."""

    async def ask() -> list[str]:
        app = served(tmp_path)
        app.shown.put("a", Item(1, "a", "First"))
        form, sent = {"item_id": "k", "type": "view"}, {"hx-request": "true"}
        answers = [
            await app.ask("/page/user/what-if?id=u", "POST", data=form, headers=sent),
            await app.ask("/page/item?id=a"),
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        return [answer.text for answer in answers]

    assert all("HEADRACE_SERVE_RANKING=on" in text for text in asyncio.run(ask()))


def test_items_are_found_by_a_part_and_shown_with_their_neighbours(tmp_path: Path) -> None:
    """A part of title or id, in any case; an unknown item is 404, a hidden one says so."""

    async def ask() -> list[httpx.Response]:
        app = ServedApp(tmp_path, ranker=Asked(), routers=[page_router()])
        app.shown.put("sku-1", Item(1, "sku-1", "Blue SHOE", category="feet"))
        app.shown.put("sku-2", Item(1, "sku-2", HOSTILE, available=False))
        paths = (
            "/page/items?part=shoe",
            "/page/items?part=SKU-2",
            "/page/item?id=sku-1",
            "/page/item?id=sku-2",
            "/page/item?id=n",
        )
        return [await app.ask(path) for path in paths]

    by_title, by_id, shown, hidden, unknown = asyncio.run(ask())
    assert "Blue SHOE" in by_title.text and "sku-2" not in by_title.text
    assert "sku-2" in by_id.text and "Blue" not in by_id.text and "<script>alert" not in by_id.text
    assert "beside sku-1" in shown.text and "0.750" in shown.text and "feet" in shown.text
    assert "No list may show" in hidden.text and "No list may show" not in shown.text
    assert unknown.status_code == 404


def test_a_user_is_found_by_id(tmp_path: Path) -> None:
    """The form's address leads to the user's page, whatever characters the id has."""
    answer = get(served(tmp_path), "/page/users?user=a%2Fb%20%3F")
    assert (answer.status_code, answer.headers["location"]) == (303, "/page/user?id=a%2Fb%20%3F")


def test_a_static_file_has_an_address_of_its_content_and_nothing_else_is_served(tmp_path: Path) -> None:
    """A browser may keep it for good, because other content has another address."""
    app = served(tmp_path)
    answer = get(app, address_of("page.css"))
    assert answer.status_code == 200 and answer.headers["cache-control"] == CACHE
    assert answer.headers["content-type"].startswith("text/css")
    assert "vendor/htmx.min.js" in static_files()
    for path in ("../shell.py", "%2e%2e/shell.py", "vendor", ""):
        assert get(app, f"/page/static/{path}").status_code == 404, path
