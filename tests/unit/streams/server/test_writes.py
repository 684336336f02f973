"""Writes over HTTP: events by the contract, records of items and users, forgetting."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.contract.announcements import PrivacyRequest
from streams.contract.pseudonyms import Pseudonyms
from streams.contract.records import Event, Item, User
from streams.errors import BrokerError
from streams.server.writing.bodies import MAX_EVENTS, merge_patch
from streams.settings.load import KafkaSettings
from tests.support.builders import USER_ID_KEY
from tests.unit.streams.server.served import ServedApp, a_list

EVENT = {"event_id": "e1", "user_id": "u", "item_id": "a", "type": "view", "ts": 1_700_000_000_000}


def events_of(app: ServedApp) -> list[Event]:
    return [msgspec.msgpack.decode(value or b"", type=Event) for topic, _, value in app.writer.written if topic == "events"]  # fmt: skip


def test_one_event_and_many_are_written_under_their_users(tmp_path: Path) -> None:
    """What the answer counts is what the broker has."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        one = await app.ask("/v1/events", "POST", json=EVENT)
        assert (one.status_code, one.json()) == (
            200, {"accepted": 1, "events": [{"index": 0, "event_id": "e1"}], "rejected": []},
        )  # fmt: skip
        many = await app.ask("/v1/events", "POST", json=[EVENT | {"event_id": "e2"}, EVENT | {"user_id": "v"}])
        assert many.status_code == 200 and many.json()["accepted"] == 2
        assert [key for _, key, _ in app.writer.written] == [b"u", b"u", b"v"]
        assert events_of(app)[1] == Event(1, "e2", "u", "a", "view", EVENT["ts"])  # type: ignore[arg-type]

    asyncio.run(run())


def test_what_a_caller_leaves_out_is_filled_in(tmp_path: Path) -> None:
    """The same event with the same time has the same id: a repeat is a duplicate."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        bare = {name: EVENT[name] for name in ("user_id", "item_id", "type")}
        for fields in (bare, bare | {"ts": EVENT["ts"]}, bare | {"ts": EVENT["ts"]}):
            assert (await app.ask("/v1/events", "POST", json=fields)).status_code == 200
        now, first, repeat = events_of(app)
        assert first.event_id == repeat.event_id != now.event_id and now.ts > first.ts

    asyncio.run(run())


def test_each_bad_event_is_named_and_the_others_are_taken(tmp_path: Path) -> None:
    """By index, reason and field."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        bad: list[Any] = [
            EVENT | {"type": "stare"}, EVENT | {"ts": 1_700_000_000}, {"user_id": "u"}, "no event", EVENT | {"ts": 9e15},
            EVENT | {"user_id": "u" * 300}, EVENT | {"value": "1"}, EVENT | {"ts": "yesterday"}, EVENT | {"user_id": 7},
        ]  # fmt: skip
        found = await app.ask("/v1/events", "POST", json=[EVENT, *bad])
        told = found.json()
        assert (found.status_code, told["accepted"]) == (207, 1)
        assert [(one["index"], one["reason"], one["field"]) for one in told["rejected"]] == [
            (1, "value", "type"), (2, "range", "ts"), (3, "missing", "item_id"), (4, "malformed", ""), (5, "range", "ts"),
            (6, "length", "user_id"), (7, "type", "value"), (8, "type", "ts"), (9, "type", "user_id"),
        ]  # fmt: skip
        assert "event_types names them" in told["rejected"][0]["detail"]
        none = await app.ask("/v1/events", "POST", json=bad)
        assert (none.status_code, none.json()["accepted"], len(events_of(app))) == (400, 0, 1)

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 10_000, b"[1" + b",1" * MAX_EVENTS + b"]"])
def test_a_body_that_is_no_events_is_a_problem(tmp_path: Path, body: bytes) -> None:
    """Nothing is written."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        answer = await app.ask("/v1/events", "POST", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400 and answer.json()["remedy"] and app.writer.written == []

    asyncio.run(run())


def test_a_broker_that_does_not_take_it_is_told(tmp_path: Path) -> None:
    """The caller must send again."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        app.writer.failure = BrokerError("topic events: not written")
        answer = await app.ask("/v1/events", "POST", json=EVENT)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    asyncio.run(run())


def test_an_item_is_put_changed_read_and_withdrawn(tmp_path: Path) -> None:
    """At once in the answers of this server."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        for item_id in "abc":
            assert (
                await app.ask(f"/v1/items/{item_id}", "PUT", json={"title": item_id, "price": 2})
            ).status_code == 204
        assert (await app.ask("/v1/items/a")).json() == {"v": 1, "item_id": "a", "title": "a", "price": 2.0}
        changed = await app.ask("/v1/items/a", "PATCH", json={"available": False, "price": None})
        assert changed.status_code == 204
        assert (await app.ask("/v1/items/a")).json() == {"v": 1, "item_id": "a", "title": "a", "available": False}
        assert (await app.ask("/v1/items/b", "DELETE")).status_code == 204
        assert (await app.ask("/v1/items/b")).status_code == 404
        items = (await app.ask("/v1/users/u/recommendations")).json()["items"]
        assert [one["item_id"] for one in items] == ["c"]
        topic, key, value = app.writer.written[0]
        assert (topic, key, msgspec.msgpack.decode(value or b"", type=Item).title) == ("items", b"a", "a")
        assert app.writer.written[-1] == ("items", b"b", None)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("PUT", "/v1/items/a", {}, 400, "title"),
        ("PUT", "/v1/items/a", {"title": "t", "price": -1}, 400, "price"),
        ("PUT", "/v1/items/" + "a" * 300, {"title": "t"}, 400, "item_id"),
        ("PUT", "/v1/items/a", [], 400, "body"),
        ("PATCH", "/v1/items/a", {"title": "t"}, 404, "item_id"),
        ("PUT", "/v1/users/u", {"follows": "v"}, 400, "follows"),
        ("PATCH", "/v1/users/u", {}, 404, "user_id"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused(
    tmp_path: Path, method: str, path: str, body: Any, status: int, field: str
) -> None:
    """With the field at fault; nothing is written."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        answer = await app.ask(path, method, json=body)
        assert (answer.status_code, answer.json()["field"]) == (status, field) and app.writer.written == []

    asyncio.run(run())


def test_a_user_is_put_changed_and_forgotten(tmp_path: Path) -> None:
    """With pseudonyms the topics never see the shop's ids."""
    pseudonyms = Pseudonyms(USER_ID_KEY)

    async def run() -> None:
        app = ServedApp(tmp_path, pseudonyms=pseudonyms)
        assert (await app.ask("/v1/events", "POST", json=EVENT | {"user_id": "u42"})).status_code == 200
        body = {"features": {"age": 4}, "follows": ["v42"]}
        assert (await app.ask("/v1/users/u42", "PUT", json=body)).status_code == 204
        assert (
            await app.ask("/v1/users/u42", "PATCH", json={"features": {"age": None, "city": "x"}})
        ).status_code == 204
        of = pseudonyms.of
        assert (await app.ask("/v1/users/u42")).json() == {
            "v": 1, "user_id": "u42", "features": {"city": "x"}, "follows": [of("v42")],
        }  # fmt: skip
        forgotten = await app.ask("/v1/users/u42", "DELETE")
        assert forgotten.status_code == 202
        assert [topic for topic, _, _ in app.writer.written] == ["events", "users", "users", "users", "privacy"]
        assert {key for _, key, _ in app.writer.written} == {of("u42").encode()}
        assert not any(b"u42" in (value or b"") for _, _, value in app.writer.written)
        request = msgspec.msgpack.decode(app.writer.written[-1][2] or b"", type=PrivacyRequest)
        assert (request.user_id, request.action, request.request_id) == (of("u42"), "forget", forgotten.json()["request_id"])  # fmt: skip
        assert msgspec.msgpack.decode(app.writer.written[1][2] or b"", type=User).follows == [of("v42")]
        assert (await app.ask("/v1/users/u42")).status_code == 404

    asyncio.run(run())


def test_topics_of_other_systems_are_not_written(tmp_path: Path) -> None:
    """Their readers would reject what headrace writes."""
    kafka = KafkaSettings(events_format="debezium", items_format="debezium")

    async def run() -> None:
        app = ServedApp(tmp_path, kafka=kafka)
        for path, method, body in (("/v1/events", "POST", EVENT), ("/v1/items/a", "PUT", {"title": "t"})):
            answer = await app.ask(path, method, json=body)
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:headrace:problem:foreign-topic")
        assert app.writer.written == []

    asyncio.run(run())


def test_a_merge_patch_is_that_of_the_standard() -> None:
    """Examples of RFC 7396, appendix A."""
    for target, patch, result in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ):
        assert merge_patch(target, patch) == result


def test_the_document_shows_the_records_of_the_contract(tmp_path: Path) -> None:
    """What a body may leave out is not required."""

    async def run() -> None:
        paths = (await ServedApp(tmp_path).ask("/v1/schema/openapi.json")).json()["paths"]
        one, many = paths["/v1/events"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
        assert one["required"] == ["user_id", "item_id", "type"] and many["items"] == one
        item = paths["/v1/items/{item_id}"]["put"]["requestBody"]["content"]["application/json"]["schema"]
        assert item["required"] == ["title"] and item["properties"]["price"]["anyOf"][0]["minimum"] == 0

    asyncio.run(run())
