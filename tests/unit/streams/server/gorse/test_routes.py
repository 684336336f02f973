"""Feedback, lists and health of Gorse's API, and what the door does not have."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import msgspec
import pytest

from streams.contract.records import Event
from streams.server.gate.key_file import Keys, add_key
from streams.server.gorse.door import gorse_door
from streams.settings.load import Settings
from tests.unit.streams.server.gorse.asked import GorseApp
from tests.unit.streams.server.served import a_list

T0 = "2023-11-14T22:13:20Z"
T0_MS = 1_700_000_000_000
FEEDBACK = {"FeedbackType": "read", "UserId": "u", "ItemId": "a", "Timestamp": T0, "Value": 0}
IMPRESSION = json.dumps({"view": {}, "impression": {"window": False, "shown": True}})


class AnyEvent(Event):
    """An event of any table of types."""

    type: str  # type: ignore[assignment]


def events_of(app: GorseApp) -> list[tuple[str, str, str, int, float | None]]:
    written = [value or b"" for topic, _, value in app.writer.written if topic == "events"]
    found = [msgspec.msgpack.decode(value, type=AnyEvent) for value in written]
    return [(one.user_id, one.item_id, one.type, one.ts, one.value) for one in found]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_feedback_becomes_events(tmp_path: Path, method: str) -> None:
    """A repeat with the same time is the same event; feedback without a time is of now."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        rows = [FEEDBACK, FEEDBACK | {"FeedbackType": "buy", "Value": 2.5}, FEEDBACK | {"Timestamp": ""}]
        assert await app.found("/feedback", method, json=rows) == {"RowAffected": 3}
        view, purchase, now = events_of(app)
        assert (view, purchase) == (("u", "a", "view", T0_MS, None), ("u", "a", "purchase", T0_MS, 2.5))
        assert abs(now[3] - 1000 * time.time()) < 60_000
        await app.found("/feedback", method, json=[FEEDBACK])
        values = [value for _, _, value in app.writer.written]
        assert values[0] == values[3]
        assert await app.found("/feedback", method, json=[]) == {"RowAffected": 0}

    asyncio.run(run())


def test_feedback_of_an_unknown_type_stops_all(tmp_path: Path) -> None:
    """The answer names the types that there are, and the setting that maps another one."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        rows = [FEEDBACK, FEEDBACK | {"FeedbackType": "share"}]
        answer = await app.api("/feedback", "POST", json=rows)
        assert answer.status_code == 400 and answer.json()["field"] == "FeedbackType"
        assert "'share' is none of click, view, purchase" in answer.json()["detail"]
        assert "HEADRACE_SERVE_GORSE_TYPES=share=view" in answer.json()["remedy"]
        assert (await app.refused("/feedback", "POST", json=[FEEDBACK | {"Timestamp": "soon"}]))[:2] == (
            400,
            "Timestamp",
        )
        assert (await app.refused("/feedback", "POST", json=[{"UserId": "u"}]))[0] == 400
        assert (await app.refused("/feedback", "POST", json=[FEEDBACK] * 10_001))[0] == 400
        assert not app.writer.written

    asyncio.run(run())


def test_feedback_that_breaks_the_contract_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    """Sending all again does no harm."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        status, field, detail = await app.refused(
            "/feedback", "POST", json=[FEEDBACK | {"UserId": "u" * 300}, FEEDBACK]
        )
        assert (status, field) == (400, "user_id") and detail.startswith("feedback[0]: user_id: ")
        assert len(events_of(app)) == 1

    asyncio.run(run())


def test_a_list_is_ids_and_with_the_second_version_scores(tmp_path: Path) -> None:
    """Both clients end the path with a slash where there is no category."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        rows = [{"ItemId": name, "Categories": ["c", "d"] if name != "b" else ["c"]} for name in "abc"]
        await app.found("/items", "POST", json=rows)
        await app.put(a_list("u"))
        assert await app.found("/recommend/u/") == ["a", "b", "c"]
        assert await app.found("/recommend/u", params={"n": 1, "offset": 1}) == ["b"]
        assert await app.found("/recommend/u/d") == ["a", "c"]
        assert await app.found("/recommend/u", params={"category": ["c", "d", ""]}) == ["a", "c"]
        scores = await app.found("/recommend/u?n=2", headers={"X-API-Version": "2"})
        assert scores == [{"Id": "a", "Score": 0.5}, {"Id": "b", "Score": 0.25}]
        await app.found("/item/a", "PATCH", json={"IsHidden": True})
        assert await app.found("/recommend/u") == ["b", "c"]
        assert (await app.refused("/recommend/u", params={"n": -1}))[:2] == (400, "n")
        assert (await app.refused("/recommend/u", params={"offset": 10_001}))[:2] == (400, "offset")

    asyncio.run(run())


def test_a_user_without_a_list_gets_the_newest_items(tmp_path: Path) -> None:
    """As Gorse's default does; hidden items and those to come are not among them."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        times = {"a": "2020-01-01", "b": "2021-01-01", "c": None, "d": "2022-01-01", "e": "2999-01-01"}
        rows = [{"ItemId": name, "Timestamp": ts, "IsHidden": name == "d"} for name, ts in times.items()]
        await app.found("/items", "POST", json=rows)
        assert await app.found("/recommend/stranger/") == ["b", "a", "c"]
        assert await app.found("/latest/", params={"n": 2}) == [
            {"Id": "b", "Score": 1_609_459_200.0}, {"Id": "a", "Score": 1_577_836_800.0},
        ]  # fmt: skip
        await app.found("/item/c/category/x", "PUT")
        assert [one["Id"] for one in await app.found("/latest/x")] == ["c"]
        assert await app.found("/latest", params={"offset": 3}) == []
        assert (await app.refused("/latest", params={"user-id": "u"}))[:2] == (501, "user-id")

    asyncio.run(run())


def test_a_write_back_says_that_the_items_were_shown(tmp_path: Path) -> None:
    """It never says that the user chose them: without a type for that, it is refused."""

    async def run() -> None:
        app = GorseApp(tmp_path, event_types=IMPRESSION)
        await app.put(a_list("u"))
        params = {"write-back-type": "read", "write-back-delay": "0h1m0s", "n": 2}
        assert await app.found("/recommend/u", params=params) == ["a", "b"]
        found = events_of(app)
        assert [one[:3] for one in found] == [("u", "a", "impression"), ("u", "b", "impression")]
        assert 30_000 < found[0][3] - 1000 * time.time() < 61_000
        late = params | {"write-back-delay": "24h"}
        assert (await app.refused("/recommend/u", params=late))[:2] == (501, "write-back-delay")
        wrong = params | {"write-back-delay": "soon"}
        assert (await app.refused("/recommend/u", params=wrong))[:2] == (400, "write-back-delay")
        plain = GorseApp(tmp_path / "plain")
        await plain.put(a_list("u"))
        assert (await plain.refused("/recommend/u", params=params))[:2] == (501, "write-back-type")
        assert len(events_of(app)) == 2 and not plain.writer.written

    asyncio.run(run())


def test_health_needs_no_key_and_the_rest_does(tmp_path: Path) -> None:
    """A key that may read may not write, nor read with a write-back."""

    async def run() -> None:
        file = tmp_path / "keys.json"
        reader, writer = add_key(file, "r", ["read"]), add_key(file, "w", ["write"])
        app = GorseApp(tmp_path, keys=Keys(file), event_types=IMPRESSION)
        assert (await app.found("/health/live"))["Ready"] is True
        app.caught_up.clear()
        down = await app.api("/health/ready")
        assert (down.status_code, down.json()["Ready"]) == (503, False)
        assert "recommendations" in down.json()["DataStoreError"]
        app.caught_up.set()
        assert (await app.refused("/recommend/u"))[0] == 401
        for path, method, key in (
            ("/feedback", "POST", reader), ("/item", "POST", reader), ("/latest", "GET", writer), ("/user/u", "DELETE", writer),
            ("/recommend/u?write-back-type=read", "GET", reader),
        ):  # fmt: skip
            body = {"json": [] if path == "/feedback" else {"ItemId": "i"}} if method == "POST" else {}
            assert (await app.refused(path, method, headers={"X-API-Key": key}, **body))[0] == 403, path
        assert await app.found("/latest", headers={"X-API-Key": reader}) == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/feedback"), ("GET", "/feedback/read"), ("GET", "/feedback/u/i"), ("DELETE", "/feedback/u/i"),
        ("GET", "/feedback/read/u/i"), ("DELETE", "/feedback/read/u/i"), ("GET", "/user/u/feedback"),
        ("GET", "/user/u/feedback/read"), ("GET", "/item/i/feedback/"), ("GET", "/item/i/feedback/read"),
        ("GET", "/collaborative-filtering/u"), ("GET", "/non-personalized/popular"), ("GET", "/item-to-item/a/i"),
        ("GET", "/user-to-user/a/u"), ("GET", "/user/u/neighbors/"),
    ],
)  # fmt: skip
def test_what_the_door_does_not_have_is_501_with_a_word(tmp_path: Path, method: str, path: str) -> None:
    """The answer says why, and what to ask instead; another path of the API is 404."""

    async def run() -> None:
        app = GorseApp(tmp_path)
        status, _, detail = await app.refused(path, method)
        assert status == 501 and detail.startswith(f"{method} /api{path.rstrip('/')}")
        assert (await app.refused("/dashboard"))[0] == 404

    asyncio.run(run())


def test_the_door_is_closed_unless_a_setting_opens_it() -> None:
    """A server without the setting has no route below ``/api``."""
    assert gorse_door(Settings()) == []
