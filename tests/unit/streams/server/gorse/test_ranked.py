"""Sessions, neighbours and popular items of Gorse's API, with a tiny model and no broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.base.event_types import DEFAULT_TYPES
from streams.recommender.list_encoding import Versions
from streams.recommender.model.model_thread import ModelThread
from streams.server.lists.shown_items import ShownItems
from streams.server.ranking.on_demand import OnDemand
from tests.support import tiny_models
from tests.unit.streams.server.gorse.asked import GorseApp
from tests.unit.streams.server.served import NOW_MS

pytestmark = pytest.mark.model


def ranking_app(folder: Path) -> GorseApp:
    """Return an application whose model is the tiny one; without a catalogue of its own."""
    shown = ShownItems(lambda: NOW_MS / 1000)
    model = SimpleNamespace(artifact=tiny_models.artifact())
    served = SimpleNamespace(model=model, catalogue=tiny_models.catalogue(), versions=Versions("tiny", 1))
    fake: Any = SimpleNamespace(current=lambda: served, thread=ModelThread("model"))
    nobody: Any = None  # no question of this API is about a known user
    ranker = OnDemand(fake, shown, DEFAULT_TYPES, 100, nobody, lambda: NOW_MS / 1000)
    return GorseApp(folder, shown=shown, ranker=ranker)


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [one["Id"] for one in found]


async def own(app: GorseApp, path: str, method: str = "GET", **options: Any) -> list[str]:
    answer = await app.ask(path, method, **options)
    assert answer.status_code == 200, answer.text
    return [one["item_id"] for one in answer.json()["items"]]


def test_popular_items_and_neighbours_are_those_of_the_model(tmp_path: Path) -> None:
    """In pages; of an unknown item there are none, as in Gorse."""

    async def run() -> None:
        app = ranking_app(tmp_path)
        popular = await own(app, "/v1/popular?n=6")
        assert ids(await app.found("/popular/?n=4")) == popular[:4]
        assert ids(await app.found("/popular?n=2&offset=3")) == popular[3:5]
        near = await own(app, f"/v1/items/{popular[0]}/similar?n=6")
        assert ids(await app.found(f"/item/{popular[0]}/neighbors/?n=6")) == near
        assert await app.found("/item/stranger/neighbors") == []
        assert await app.found("/popular/nothing") == [] == await app.found("/popular?n=0")
        assert await app.found("/popular?category=nothing&category=other") == []
        for path in ("/popular", "/item/a/neighbors"):
            assert (await app.refused(path, params={"user-id": "u"}))[:2] == (501, "user-id")

    asyncio.run(run())


def test_a_session_is_ranked_without_its_own_items(tmp_path: Path) -> None:
    """The order of the feedback is that of its times; nothing is written."""

    async def run() -> None:
        app, known = ranking_app(tmp_path), tiny_models.catalogue().item_ids
        rows = [
            {"FeedbackType": kind, "ItemId": item_id, "UserId": "", "Timestamp": f"2024-01-0{day}T00:00:00Z"}
            for day, kind, item_id in ((2, "like", known[1]), (1, "read", known[0]))
        ]
        day_ms = 86_400_000
        events = [
            {"item_id": known[0], "type": "view", "ts": 1_704_067_200_000},
            {"item_id": known[1], "type": "click", "ts": 1_704_067_200_000 + day_ms},
        ]
        body = {"events": events, "exclude": [known[1], known[0]], "n": 5}
        expected = await own(app, "/v1/sessions/recommendations", "POST", json=body)
        assert ids(await app.found("/session/recommend/?n=5", "POST", json=rows)) == expected
        assert ids(await app.found("/session/recommend?n=2&offset=1", "POST", json=rows)) == expected[1:3]
        assert not {known[0], known[1]} & set(expected) and len(expected) == 5
        cold = ids(await app.found("/session/recommend?n=3", "POST", json=[]))
        assert cold == (await own(app, "/v1/sessions/recommendations", "POST", json={"n": 3}))
        assert await app.found("/session/recommend/nothing", "POST", json=rows) == [] and not app.writer.written
        stare = [rows[0] | {"FeedbackType": "stare"}]
        assert (await app.refused("/session/recommend", "POST", json=stare))[:2] == (400, "FeedbackType")
        long = [rows[0] | {"ItemId": "i" * 300}]
        assert (await app.refused("/session/recommend", "POST", json=long))[:2] == (400, "ItemId")
        old = [rows[0] | {"Timestamp": "1950-01-01"}]
        assert (await app.refused("/session/recommend", "POST", json=old))[:2] == (400, "Timestamp")
        assert (await app.refused("/session/recommend", "POST", json=rows[:1] * 10_001))[0] == 400

    asyncio.run(run())


def test_without_a_model_the_answer_says_which_setting_brings_one(tmp_path: Path) -> None:
    """501 with the setting."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        asked: list[tuple[str, str, dict[str, Any]]] = [
            ("/popular", "GET", {}), ("/item/a/neighbors", "GET", {}), ("/session/recommend", "POST", {"json": []}),
        ]  # fmt: skip
        for path, method, body in asked:
            answer = await app.api(path, method, **body)
            assert answer.status_code == 501 and "HEADRACE_SERVE_RANKING=on" in answer.json()["remedy"]

    asyncio.run(run())
