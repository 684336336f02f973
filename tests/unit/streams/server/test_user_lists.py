"""Lists of known users on demand, and what is popular since a time: a tiny model, no broker."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from models.base.event_types import DEFAULT_TYPES
from models.ranking.catalogue import build_catalogue
from models.rules.repeats import ALL_REPEATS
from models.rules.row_rules import Rules
from streams.contract.records import Recommendation, User, encode
from streams.contract.windows import Trigger, WindowItem, WindowState, seen_hash
from streams.recommender.list_encoding import ListEncoder
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model_job import make_lists
from streams.recommender.served import Model, Served
from streams.recommender.users.records import UserFacts
from streams.runtime.tracing import HEADER
from streams.server.gate.request_traces import RequestTraces
from streams.server.lists.list_traces import WindowTraces
from streams.server.ranking.item_map import mapped, places_of
from streams.server.ranking.known_users import KnownUsers
from streams.server.ranking.on_demand import OnDemand
from streams.server.routes.ranking import since_ms
from streams.settings.load import RecommenderSettings
from tests.support import tiny_models
from tests.support.builders import FakeRecord
from tests.unit.streams.server.served import NOW_MS, ServedApp, a_list, memory_tracing

pytestmark = pytest.mark.model
PATH = "/v1/users/u/recommendations"
TRAINED_TO_MS = tiny_models.artifact().manifest.trained_to_ms


def window(*item_ids: str, revision: int = 7, ts: int = TRAINED_TO_MS + 1_000) -> WindowState:
    """Return a window of views after the training, a second apart."""
    items = [WindowItem(ts + 1_000 * n, f"e{n}", item_id, "view") for n, item_id in enumerate(item_ids)]
    return WindowState(
        1, revision, ts + 1_000 * (len(items) - 1), items, Trigger(f"e{len(items) - 1}", items[-1].ts, 0)
    )


class RankingApp:
    """A server whose model is the tiny one; ``featured`` knows features of users."""

    def __init__(self, folder: Path, *, is_featured: bool = False, **more: Any) -> None:
        plain = ServedApp(folder)
        artifact, catalogue = tiny_models.artifact(), tiny_models.catalogue()
        if is_featured:
            artifact, data = tiny_models.featured_artifact(), tiny_models.featured_data()
            catalogue = build_catalogue(artifact, data.vectors, 1, features=data.item_features)
        self.served = Served.of(Model.of(artifact, RecommenderSettings(), None), catalogue)
        fake: Any = SimpleNamespace(current=lambda: self.served, thread=ModelThread("model"), popularity=None)
        self.model = fake
        self.known = KnownUsers(plain.records, plain.server.measures.add, is_on=True)
        self.records = plain.records
        ranker = OnDemand(self.model, plain.shown, DEFAULT_TYPES, 200, self.known, lambda: NOW_MS / 1000)
        self.app = ServedApp(folder / "ranking", ranker=ranker, shown=plain.shown, **more)

    async def take(self, key: str, state: WindowState | None, offset: int = 0) -> None:
        await self.known.take([FakeRecord(key.encode(), None if state is None else encode(state), offset)])

    def pushed(self, state: WindowState, user: User | None = None) -> Recommendation:
        """Return the list that the recommender would publish."""
        facts = None if user is None else [UserFacts(0, b"d", user)]
        (made,) = make_lists(self.served, [(b"u", state)], ListEncoder(), facts).made
        assert made is not None
        return msgspec.msgpack.decode(made.record, type=Recommendation)


def items(found: dict[str, Any]) -> list[tuple[str, float]]:
    return [(one["item_id"], one["score"]) for one in found["items"]]


def test_a_user_without_a_pushed_list_gets_the_one_that_would_be_pushed(tmp_path: Path) -> None:
    """Item by item; with a pushed list that is too old as well; an unknown user has none."""

    async def run() -> None:
        app, state = RankingApp(tmp_path), window("i03", "i05", "i06")
        await app.take("u", state)
        made = app.pushed(state)
        found = (await app.app.ask(PATH)).json()
        assert items(found) == [(one.item_id, one.score) for one in made.items]
        assert (found["on_demand"], found["revision"], found["event_ts"]) == (True, 7, state.newest_ts)
        await app.app.put(a_list("u", 3))
        assert "on_demand" not in (await app.app.ask(PATH)).json()
        assert items((await app.app.ask(PATH, params={"max_age": 1, "n": 10})).json()) == items(found)
        assert (await app.app.ask("/v1/users/stranger/recommendations")).status_code == 404
        await app.take("u", None, 1)
        assert (await app.app.ask(PATH, params={"max_age": 1})).status_code == 404

    asyncio.run(run())


def test_features_of_the_user_take_part(tmp_path: Path) -> None:
    """As in the list that is pushed."""

    async def run() -> None:
        app, state = RankingApp(tmp_path, is_featured=True), window("i03", "i05", "i06")
        user = User(1, "u", features={"age": 70.0, "group": "odd"})
        await app.take("u", state)
        without = items((await app.app.ask(PATH)).json())
        app.records.put("users", b"u", encode(user))
        found = items((await app.app.ask(PATH)).json())
        assert found == [(one.item_id, one.score) for one in app.pushed(state, user).items] != without

    asyncio.run(run())


def test_the_pushed_list_is_the_answer_where_it_suffices(tmp_path: Path) -> None:
    """A longer list, one without its items, and one of other items are made on demand."""

    async def run() -> None:
        app = RankingApp(tmp_path)
        await app.take("u", window("i03", "i05", "i06"))
        await app.app.put(a_list("u", 7, ["i10", "i11", "i12"]))

        async def asked(**params: Any) -> tuple[bool, list[str]]:
            found = (await app.app.ask(PATH, params=params)).json()
            return found.get("on_demand", False), [item_id for item_id, _ in items(found)]

        assert await asked(n=2, exclude="i10") == (False, ["i11", "i12"])
        assert await asked() == (False, ["i10", "i11", "i12"])
        is_made, listed = await asked(n=15)
        assert is_made and len(listed) == 15 and not {"i03", "i05", "i06"} & set(listed)
        is_made, others = await asked(exclude=["i10", "i11"])
        assert is_made and len(others) == 3 and not {"i10", "i11"} & set(others)
        is_made, none = await asked(category="no such")
        assert is_made and none == []

    asyncio.run(run())


def test_other_rules_are_tried_on_the_list_that_the_recommender_would_make(tmp_path: Path) -> None:
    """All else is equal: without rules the two lists are; nothing is put in force."""

    async def run() -> None:
        app, state = RankingApp(tmp_path), window("i03", "i05", "i06")
        await app.take("u", state)
        ranker = app.app.server.ranker
        plain = await ranker.under_rules(b"u", None)
        assert plain is not None and plain.now == plain.then
        ids = [one.item_id for one in plain.now.items]
        assert ids == [one.item_id for one in app.pushed(state).items]
        rules = Rules.of(f'deny = ["{ids[0]}"]\nlist_size = 6\n[[pins]]\nitem = "{ids[3]}"\nplace = 1\n')
        found = await ranker.under_rules(b"u", rules)
        assert found is not None and [one.item_id for one in found.now.items] == ids
        then = [one.item_id for one in found.then.items]
        assert then[0] == ids[3] and len(then) == 6 and ids[0] not in then
        assert (found.now.rules, found.then.rules) == ("", rules.version)
        assert app.served.rules is None and await ranker.under_rules(b"stranger", rules) is None

    asyncio.run(run())


def test_the_map_has_the_items_and_the_user_on_the_same_axes(tmp_path: Path) -> None:
    """Places are of unit vectors; a user without a window is not on the map."""

    async def run() -> None:
        app = RankingApp(tmp_path)
        await app.take("u", window("i03", "i05", "gone", "i03"))
        ranker, catalogue = app.app.server.ranker, app.served.catalogue
        found, nobody = await ranker.item_map(b"u"), await ranker.item_map(b"stranger")
        assert len(found.points) == found.n_items == found.n_measured == catalogue.n_items
        assert sorted(one.item_id for one in found.window) == ["i03", "i05"] and found.user is not None
        assert (nobody.user, nobody.window, nobody.points) == (None, [], found.points)
        places = {one.item_id: (one.x, one.y) for one in found.points}
        assert all((one.x, one.y) == pytest.approx(places[one.item_id]) for one in found.window)
        assert await ranker.places(["i03", "nothing"]) == {"i03": pytest.approx(places["i03"])}
        unit = catalogue.unit[catalogue.rows_of(["i03", "i05"])]
        apart = np.subtract(places["i03"], places["i05"])
        assert 0 < np.linalg.norm(apart) <= np.linalg.norm(unit[0] - unit[1]) + 1e-6
        assert 0 < sum(found.shares) <= 1 and np.hypot(*found.user) < 2

    asyncio.run(run())


def test_the_map_leaves_out_what_lists_may_not_show(tmp_path: Path) -> None:
    """A hidden item of a user's window has a place all the same: it stays signal."""
    catalogue = RankingApp(tmp_path).served.catalogue
    is_shown = catalogue.is_shown.copy()
    is_shown[catalogue.rows_of(["i03"])] = False
    found = mapped(replace(catalogue, is_shown=is_shown), "artifact")
    assert "i03" not in found.item_ids and "i05" in found.item_ids
    assert found.n_items == found.n_measured == catalogue.n_items - 1
    assert list(places_of(catalogue, found, ["i03", "nothing"])) == ["i03"]


def test_items_that_left_the_window_stay_out(tmp_path: Path) -> None:
    """Unless the model may repeat them: then the pushed list has them as well."""

    async def run() -> None:
        app = RankingApp(tmp_path)
        state = window("i03", "i05")
        state.seen = seen_hash("i06") + seen_hash("i07")
        await app.take("u", state)
        listed = {item_id for item_id, _ in items((await app.app.ask(PATH, params={"n": 24})).json())}
        assert len(listed) == 20 and not {"i03", "i05", "i06", "i07"} & listed
        assert app.served.repeats != ALL_REPEATS

    asyncio.run(run())


def test_what_is_no_window_is_counted_and_the_one_before_holds(tmp_path: Path) -> None:
    """A fence belongs to no user and is no fault."""

    async def run() -> None:
        app = RankingApp(tmp_path)
        counted: list[str] = []
        known = KnownUsers(app.records, lambda name, n: counted.append(name), is_on=True)
        good = encode(window("i01"))
        await known.take([FakeRecord(b"u", good, 0), FakeRecord(b"u", b"\xc1", 1), FakeRecord(b"\xff\x00", b"x", 2)])
        assert counted == ["windows_malformed"]
        kept = known.window(b"u")
        assert kept is not None and kept.items[0].item_id == "i01"

    asyncio.run(run())


def test_popularity_follows_the_windows_and_can_be_asked_since_a_time(tmp_path: Path) -> None:
    """A window replaces the one before; a later count of another model reaches the same numbers."""

    async def run() -> None:
        app, ts = RankingApp(tmp_path), TRAINED_TO_MS + 3_600_000
        await app.take("before", window("i01", "i02"))
        app.model.popularity = counted = await app.known.counted_for(tiny_models.artifact())
        app.known.adopt(counted)
        await app.take("a", window("i05", "i06", ts=ts))
        await app.take("b", window("i06", ts=ts))
        await app.take("b", window("i06", "i07", ts=ts, revision=8))
        await app.take("gone", window("i09", ts=ts))
        await app.take("gone", None)

        async def popular(since: str, **more: Any) -> dict[str, float]:
            answer = await app.app.ask("/v1/popular", params={"since": since, **more})
            assert answer.status_code == 200, answer.text
            return dict(items(answer.json()))

        assert await popular(str(ts)) == {"i06": 0.5, "i05": 0.25, "i07": 0.25}
        assert list(await popular(str(ts), n=1)) == ["i06"]
        assert (await popular(str(TRAINED_TO_MS))).keys() == {"i01", "i02", "i05", "i06", "i07"}
        assert await popular(str(NOW_MS)) == {}
        assert (await app.known.counted_for(tiny_models.artifact())).since(ts)() == counted.since(ts)()
        early = await app.app.ask("/v1/popular", params={"since": str(TRAINED_TO_MS - 1)})
        assert early.status_code == 400 and early.json()["field"] == "since" and "training" in early.json()["detail"]
        assert (await app.app.ask("/v1/popular", params={"since": "yesterday"})).json()["field"] == "since"

    asyncio.run(run())


def test_an_answer_on_demand_is_in_the_callers_trace_and_in_that_of_the_window(tmp_path: Path) -> None:
    """A list, and why an item is in it; the spans name no user and no item."""

    async def run() -> None:
        tracing, ended = memory_tracing()
        app = RankingApp(tmp_path, request_traces=RequestTraces(tracing))
        app.known.traces = WindowTraces(tracing)
        caller, window_trace = f"00-{'ca' * 16}-{'11' * 8}-01", f"00-{'ec' * 16}-{'22' * 8}-01"
        record = FakeRecord(b"u", encode(window("i03", "i05")), headers=[(HEADER, window_trace.encode())])
        await app.known.take([record])
        for path, route, what in (
            (PATH, "/v1/users/{user_id}/recommendations", "list on demand"),
            ("/v1/users/u/why/i07", "/v1/users/{user_id}/why/{item_id}", "why"),
        ):
            ended.clear()
            assert (await app.app.ask(path, headers={HEADER: caller})).status_code == 200
            rank, of_window, server = ended.get_finished_spans()
            assert [one.name for one in (rank, of_window, server)] == ["rank", what, f"GET {route}"]
            assert [f"{one.parent.span_id:016x}" for one in (of_window, server) if one.parent] == ["22" * 8, "11" * 8]
            assert rank.parent == server.context
            assert [link.context for link in server.links] == [of_window.context]
            told = [dict(one.attributes or {}) for one in (rank, of_window, server)]
            assert told[0] == {} and told[1] == {"headrace.revision": 7}
            assert told[2].keys() == {"http.request.method", "http.route", "http.response.status_code"}

    asyncio.run(run())


def test_since_is_a_time_or_a_duration() -> None:
    """A number alone is a time."""
    assert since_ms("1700000000000", 0) == 1_700_000_000_000
    assert since_ms("24h", 1_700_000_000) == 1_700_000_000_000 - 86_400_000
    assert since_ms("90s", 100.5) == 10_500
