"""Ranking on demand over HTTP, with a tiny model and no broker; and the stream of lists."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from models.base.event_types import DEFAULT_TYPES
from models.ranking.pipeline import Pipeline
from streams.contract.records import Item
from streams.recommender.list_encoding import Versions
from streams.recommender.model.model_thread import ModelThread
from streams.server.lists.answers import Question
from streams.server.parts.readiness import Readiness
from streams.server.ranking.known_users import KnownUsers
from streams.server.ranking.on_demand import OnDemand
from streams.server.routes.list_stream import lists
from tests.support import tiny_models
from tests.unit.streams.server.served import NOW_MS, ServedApp, a_list

pytestmark = pytest.mark.model
SESSION = "/v1/sessions/recommendations"


def ranking_app(folder: Path) -> ServedApp:
    """Return an application whose model is the tiny one; without a catalogue of its own."""
    app = ServedApp(folder)
    model = SimpleNamespace(artifact=tiny_models.artifact())
    served = SimpleNamespace(model=model, catalogue=tiny_models.catalogue(), versions=Versions("tiny", 1))
    fake: Any = SimpleNamespace(current=lambda: served, thread=ModelThread("model"))
    known = KnownUsers(app.records, app.server.measures.add, is_on=True)
    ranker = OnDemand(fake, app.shown, DEFAULT_TYPES, 100, known, lambda: NOW_MS / 1000)
    return ServedApp(folder / "ranking", ranker=ranker, shown=app.shown)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["item_id"] for one in answer.json()["items"]]


def test_a_session_gets_the_list_that_the_pipeline_makes(tmp_path: Path) -> None:
    """Without what the caller excludes; a visitor without events gets popular items."""

    async def run() -> None:
        app, shop = ranking_app(tmp_path), tiny_models.catalogue()
        window = [tiny_models.window(*shop.item_ids[:3])]
        events = [{"item_id": one.item_id, "type": one.type, "ts": one.ts_ms} for one in window[0]]
        made = Pipeline(tiny_models.artifact(), k=10).recommend(shop, window)[0]
        found = await app.ask(SESSION, "POST", json={"events": events})
        assert set(ids(found)) == {item.item_id for item in made.items}
        assert found.json()["artifact"] == "tiny" and found.json()["degraded"] == "none"
        first = ids(found)[0]
        without = await app.ask(SESSION, "POST", json={"events": events, "exclude": [first], "n": 3, "explain": True})
        assert first not in ids(without) and len(ids(without)) == 3 and without.json()["items"][0]["sources"]
        cold = await app.ask(SESSION, "POST", json={})
        popular = await app.ask("/v1/popular")
        assert ids(cold) == ids(popular) and cold.json()["degraded"] == "popular"

    asyncio.run(run())


def test_candidates_come_back_in_the_models_order_and_no_others(tmp_path: Path) -> None:
    """The answer names those that it leaves out."""

    async def run() -> None:
        app, shop = ranking_app(tmp_path), tiny_models.catalogue()
        wanted = [*shop.item_ids[4:9], "unknown", shop.item_ids[4]]
        found = await app.ask(
            "/v1/rank", "POST", json={"candidates": wanted, "events": [{"item_id": shop.item_ids[0]}]}
        )
        assert set(ids(found)) == set(shop.item_ids[4:9]) and found.json()["left_out"] == ["unknown"]
        scores = [one["score"] for one in found.json()["items"]]
        assert scores == sorted(scores, reverse=True)

    asyncio.run(run())


def test_no_answer_has_an_item_that_was_withdrawn(tmp_path: Path) -> None:
    """Even while the model's catalogue still has it."""

    async def run() -> None:
        app, shop = ranking_app(tmp_path), tiny_models.catalogue()
        for item_id in shop.item_ids:
            app.shown.put(item_id, Item(1, item_id, f"title {item_id}"))
        gone = ids(await app.ask("/v1/popular"))[0]
        app.shown.put(gone, None)
        near = f"/v1/items/{shop.item_ids[0]}/similar?n=600"
        answers = [
            await app.ask("/v1/popular?n=600"),
            await app.ask(near),
            await app.ask(SESSION, "POST", json={"n": 600}),
        ]
        assert all(gone not in ids(answer) for answer in answers)
        ranked = await app.ask("/v1/rank", "POST", json={"candidates": [gone]})
        assert ids(ranked) == [] and ranked.json()["left_out"] == [gone]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "method", "body", "status", "field"),
    [
        (SESSION, "POST", {"n": 0}, 400, "n"),
        (SESSION, "POST", {"events": [{"item_id": ""}]}, 400, "events"),
        (SESSION, "POST", {"events": [{"item_id": "a", "type": "stare"}]}, 400, "type"),
        (SESSION, "POST", {"nn": 1}, 400, ""),
        (SESSION, "POST", [], 400, ""),
        ("/v1/rank", "POST", {"candidates": []}, 400, "candidates"),
        ("/v1/items/unknown/similar", "GET", None, 404, "item_id"),
        ("/v1/popular?n=601", "GET", None, 400, "n"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, path: str, method: str, body: Any, status: int, field: str
) -> None:
    """With the field at fault."""

    async def run() -> None:
        answer = await ranking_app(tmp_path).ask(path, method, json=body)
        assert answer.status_code == status, answer.text
        assert field in answer.json().get("field", "") and answer.json()["remedy"]

    asyncio.run(run())


def test_a_server_without_a_model_says_so(tmp_path: Path) -> None:
    """With the setting that gives it one."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        for answer in (
            await app.ask(SESSION, "POST", json={}), await app.ask("/v1/rank", "POST", json={"candidates": ["a"]}),
            await app.ask("/v1/items/a/similar"), await app.ask("/v1/popular"),
        ):  # fmt: skip
            assert answer.status_code == 501 and "HEADRACE_SERVE_RANKING" in answer.json()["remedy"]

    asyncio.run(run())


def test_a_stream_tells_each_change_of_a_list_and_ends_with_the_server(tmp_path: Path) -> None:
    """A repeat tells nothing; a quiet stream has comments."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        ready: Readiness = app.server.ready
        async with aclosing(lists(app.server, Question("u", 2), beat_s=0.05)) as told:
            assert (await anext(told)).event == "removed"
            await app.put(a_list("other"), a_list("u", 1))
            message = await anext(told)
            assert message.event == "list"
            assert [one["item_id"] for one in msgspec.json.decode(str(message.data))["items"]] == ["a", "b"]
            await app.put(a_list("u", 1))
            assert (await anext(told)).comment == "alive"
            await app.put(a_list("u", 2, ["z"]))
            assert '"z"' in str((await anext(told)).data)
            ready.stopping.set()
            assert [message async for message in told] == []
        assert app.listeners.n == 0

    asyncio.run(run())
