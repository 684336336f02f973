"""Why an item is in a user's list, over HTTP: a tiny model, no broker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models.ranking.explaining.influence import influences
from models.ranking.explaining.tracing import Person
from models.ranking.pipeline import Pipeline
from models.rules.row_rules import Rules
from streams.contract.records import Item, User, encode
from streams.contract.windows import Trigger, WindowItem, WindowState, seen_hash
from streams.recommender.list_records import behaviours
from streams.server.gate.key_file import Keys, add_key
from streams.server.parts.why import WhyAnswer
from streams.server.ranking.why import PIECE
from tests.support import tiny_models
from tests.unit.streams.server.served import NOW_MS, ServedApp
from tests.unit.streams.server.test_user_lists import RankingApp, window

pytestmark = pytest.mark.model
#: A recomputed score is the list's within this.
TOLERANCE = 1e-5
PAST = ("i03", "i05", "i06")


def path_of(item_id: str, user_id: str = "u") -> str:
    return f"/v1/users/{user_id}/why/{item_id}"


async def answered(app: RankingApp, item_id: str, **params: str) -> WhyAnswer:
    """Return the answer about an item; it keeps the struct of the document."""
    found = await app.app.ask(path_of(item_id), params=params)
    assert found.status_code == 200, found.text
    return msgspec.json.decode(found.content, type=WhyAnswer)


def run_with(tmp_path: Path, state: WindowState, scenario: Callable[[RankingApp], Any], **more: bool) -> None:
    """Run a scenario with a user ``u`` who has this window."""

    async def run() -> None:
        app = RankingApp(tmp_path, **more)
        await app.take("u", state)
        await scenario(app)

    asyncio.run(run())


@pytest.mark.parametrize("is_featured", [False, True])
def test_a_listed_item_has_the_score_of_the_pushed_list_and_what_made_it(tmp_path: Path, is_featured: bool) -> None:
    """Of every item: place, sources, contributions that sum, past items; features take part."""
    state = window(*PAST)
    user = User(1, "u", features={"age": 70.0, "group": "odd"}) if is_featured else None

    async def scenario(app: RankingApp) -> None:
        if user is not None:
            app.records.put("users", b"u", encode(user))
        pushed = app.pushed(state, user)
        made = (await app.app.ask("/v1/users/u/recommendations")).json()
        await app.app.put(pushed)
        assert made["on_demand"]
        for rank, (item, on_demand) in enumerate(zip(pushed.items, made["items"], strict=True), 1):
            found = await answered(app, item.item_id)
            assert (found.listed, found.step, found.rank, found.needed) == (True, "listed", rank, [])
            assert found.score == pytest.approx(item.score, abs=TOLERANCE)
            assert found.score == pytest.approx(on_demand["score"], abs=TOLERANCE)
            assert {one.source for one in found.sources if one.brought} == item.sources.keys()
            assert found.fusion is not None
            assert found.fusion.probability == pytest.approx(item.score, abs=TOLERANCE)
            adds = sum(one.adds for one in found.fusion.groups)
            assert adds == pytest.approx(found.fusion.logit - found.fusion.baseline, abs=1e-9)
            assert sorted(one.item_id for one in found.pulled_by) == sorted(PAST)
            assert found.pushed is not None
            assert (found.pushed.list_id, found.pushed.rank, found.pushed.score) == (pushed.list_id, rank, item.score)
            made_of = found.of_list
            assert (made_of.revision, made_of.event_ts, made_of.produced_ts) == (7, state.newest_ts, NOW_MS)
            assert (made_of.artifact, made_of.rules, made_of.n_items) == (pushed.artifact, "", len(pushed.items))

    run_with(tmp_path, state, scenario, is_featured=is_featured)


def test_an_item_that_is_not_listed_says_at_which_step_it_fell_out(tmp_path: Path) -> None:
    """Had, had before, refused, outranked: what is true of it first."""
    state = window(*PAST)
    state.seen, state.hidden = seen_hash("i07"), seen_hash("i08")

    async def scenario(app: RankingApp) -> None:
        listed = {item.item_id for item in app.pushed(state).items}
        had, before, refused = [await answered(app, item_id) for item_id in ("i05", "i07", "i08")]
        assert [one.step for one in (had, before, refused)] == ["had", "had", "refused"]
        assert "once in the window, last as view" in had.detail and "left the window" in before.detail
        others = [await answered(app, one) for one in app.served.catalogue.item_ids if one not in {*listed, *PAST}]
        steps = {one.step for one in others}
        assert "outranked" in steps and steps <= {"outranked", "no-candidate", "had", "refused"}
        for one in others:
            assert not one.listed and one.needed
            if one.step == "outranked":
                assert one.rank is not None and one.rank > len(listed)
                assert one.needed[0].score is not None and one.needed[0].needed is not None
                assert one.needed[0].score <= one.needed[0].needed

    run_with(tmp_path, state, scenario)


def test_what_the_shop_hides_is_named_and_its_rules_as_well(tmp_path: Path) -> None:
    """By the newest record, also before the model's catalogue has taken it in."""

    async def scenario(app: RankingApp) -> None:
        shown = app.app.shown
        for item_id in app.served.catalogue.item_ids:
            shown.put(item_id, Item(1, item_id, f"Title {item_id}"))
        first, last, *others = (item.item_id for item in app.pushed(window(*PAST)).items)
        shown.put(others[0], Item(1, others[0], "Withdrawn", available=False))
        shown.put(others[1], Item(1, others[1], "Unpublished", published_ts=NOW_MS + 1))
        shown.put(others[2], Item(1, others[2], "Expired", expires_ts=NOW_MS))
        shown.put(others[3], None)
        shown.put("new", Item(1, "new", "New"))
        answers = [await answered(app, item_id) for item_id in (*others[:4], "new")]
        assert [one.step for one in answers] == ["withdrawn", "unpublished", "expired", "removed", "left-out"]
        assert not any(one.listed for one in answers)
        rules = Rules.of(f'deny = ["{first}"]\n[[boosts]]\nitems = ["{last}"]\nfactor = 1.5\n')
        shown.obey(rules)
        app.served = app.served.under(rules, NOW_MS)
        denied, boosted = await answered(app, first), await answered(app, last)
        assert denied.step == "rule" and "deny" in denied.detail and not denied.listed
        assert boosted.listed and boosted.rules == [{"rule": "boosts[1]", "factor": 1.5}]
        assert boosted.of_list.rules == rules.version and boosted.title == f"Title {last}"

    run_with(tmp_path, window(*PAST), scenario)


def test_past_items_are_asked_for_in_pieces_and_come_as_if_asked_for_at_once(tmp_path: Path) -> None:
    """Between two pieces other questions have the model's thread."""
    past = [f"i{n:02}" for n in range(PIECE + 2)]
    state = window(*past)

    async def scenario(app: RankingApp) -> None:
        artifact, shop = app.served.model.artifact, app.served.catalogue
        item = app.pushed(state).items[0]
        found = await answered(app, item.item_id)
        pipeline = Pipeline(artifact, k=10, n_candidates=200)
        row, seen = shop.row_of[item.item_id], app.served.left_out(state)
        once = influences(pipeline, shop, behaviours(state), seen, row, item.score, Person())
        assert [one.item_id for one in found.pulled_by] == [one.item_id for one in once]
        assert [one.change for one in found.pulled_by] == pytest.approx([one.change for one in once], abs=TOLERANCE)

    run_with(tmp_path, state, scenario)


def test_a_user_of_the_shop_gets_a_sentence_without_numbers(tmp_path: Path) -> None:
    """In the language that is asked for, with titles, and without what only engineers read."""

    async def scenario(app: RankingApp) -> None:
        for item_id in app.served.catalogue.item_ids:
            app.app.shown.put(item_id, Item(1, item_id, "Lamp" if item_id not in PAST else "Chair"))
        listed = app.pushed(window(*PAST)).items[0].item_id
        for item_id, english, chinese in (
            (listed, "We suggest “Lamp”", "为您推荐“Lamp”"),
            ("i05", "already know", "已经关注过"),
        ):
            for language, part in (("en", english), ("zh", chinese)):
                found = await answered(app, item_id, **{"for": "user", "language": language})
                assert part in found.text and not re.search(r"\d", found.text)
                assert (found.sources, found.fusion, found.pulled_by, found.score) == ([], None, [], None)
                assert (found.detail, found.needed) == ("", [])
        plain = (await app.app.ask(path_of(listed), params={"for": "user"})).json()
        assert "We suggest" in plain["text"] and "sources" not in plain

    run_with(tmp_path, window(*PAST), scenario)


def test_a_window_of_which_the_model_knows_nothing_is_explained_by_popularity(tmp_path: Path) -> None:
    """Fusion has no part in such a list."""

    async def scenario(app: RankingApp) -> None:
        made = (await app.app.ask("/v1/users/u/recommendations")).json()
        found = await answered(app, made["items"][0]["item_id"])
        assert (found.of_list.degraded, found.fusion, found.rank) == ("popular", None, 1)
        assert [one.source for one in found.sources if one.brought] == ["popular"]
        assert found.score == pytest.approx(made["items"][0]["score"], abs=TOLERANCE)

    ts = tiny_models.artifact().manifest.trained_to_ms
    items = [WindowItem(ts, "e", "unheard-of", "view")]
    run_with(tmp_path, WindowState(1, 1, ts, items, Trigger("e", ts, 0)), scenario)


@pytest.mark.parametrize(
    ("user_id", "item_id", "params", "status", "kind", "field"),
    [
        ("stranger", "i01", {}, 404, "no-window", "user_id"),
        ("u", "unheard-of", {}, 404, "no-item", "item_id"),
        ("u", "i01", {"for": "nobody"}, 400, "bad-value", "for"),
        ("u", "i01", {"language": "zh"}, 400, "bad-value", "language"),
        ("u", "i01", {"for": "user", "language": "fr"}, 400, "bad-value", "language"),
        ("u" * 257, "i01", {}, 400, "bad-value", "user_id"),
        ("u", "i" * 257, {}, 400, "bad-value", "item_id"),
    ],
)
def test_what_cannot_be_explained_is_refused(
    tmp_path: Path, user_id: str, item_id: str, params: dict[str, str], status: int, kind: str, field: str
) -> None:
    """With the field at fault."""

    async def scenario(app: RankingApp) -> None:
        answer = await app.app.ask(path_of(item_id, user_id), params=params)
        found = answer.json()
        assert answer.status_code == found["status"] == status, found
        assert answer.headers["content-type"] == "application/problem+json"
        assert found["type"].endswith(f":{kind}") and found["field"] == field and found["remedy"]

    run_with(tmp_path, window(*PAST), scenario)


def test_without_a_model_there_is_no_answer(tmp_path: Path) -> None:
    """501 where the server never has one, 503 while it has none yet."""

    async def run() -> None:
        off = await ServedApp(tmp_path / "off").ask(path_of("i01"))
        assert off.status_code == 501 and "HEADRACE_SERVE_RANKING" in off.json()["remedy"]
        app = RankingApp(tmp_path)
        await app.take("u", window(*PAST))
        app.model.current = lambda: None
        waiting = await app.app.ask(path_of("i01"))
        assert waiting.status_code == 503 and waiting.headers["retry-after"]

    asyncio.run(run())


def test_a_key_needs_the_scope_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, "writer", ["write"])

    async def run() -> None:
        app = ServedApp(tmp_path, keys=Keys(file))
        assert (await app.ask(path_of("i01"))).status_code == 401
        assert (await app.ask(path_of("i01"), headers={"X-API-Key": key})).status_code == 403

    asyncio.run(run())
