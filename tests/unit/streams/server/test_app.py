"""The application over a store without a broker: lists, keys, refusals, its document."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from litestar import get, post
from litestar.params import JSONBody

from streams.contract.records import Item
from streams.server.gate.callers import SCOPES, needs
from streams.server.gate.door import BODY_S
from streams.server.gate.key_file import Keys, add_key
from streams.server.parts.server import TheServer
from streams.settings.server import ServerSettings
from tests.unit.streams.server.served import ServedApp, a_list

LIST = "/v1/users/u/recommendations"


def item(item_id: str, **more: Any) -> Item:
    return Item(1, item_id, f"title of {item_id}", **more)


def test_the_short_way_and_the_application_give_the_same_answer(tmp_path: Path) -> None:
    """A question with ``n`` alone does not pass the framework; one more parameter does."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        short, long = await app.ask(LIST), await app.ask(LIST, params={"explain": "false"})
        assert (short.status_code, long.status_code) == (200, 200)
        assert short.content == long.content and short.headers["etag"] == long.headers["etag"]
        assert short.headers["content-type"] == long.headers["content-type"] == "application/json"
        found = short.json()
        assert [one["item_id"] for one in found["items"]] == ["a", "b", "c"]
        assert (found["user_id"], found["revision"], found["list_id"]) == ("u", 1, "u-1")
        assert "sources" not in found["items"][0]
        explained = (await app.ask(LIST, params={"explain": "true"})).json()
        assert explained["items"][0]["sources"] == {"sequence": [1, 2.0]}

    asyncio.run(run())


def test_what_was_withdrawn_after_the_push_is_not_answered(tmp_path: Path) -> None:
    """On both ways; ``n`` counts what is left."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        for one in (item("a"), item("b", available=False), item("c", category="Hats")):
            app.shown.put(one.item_id, one)
        assert [one["item_id"] for one in (await app.ask(LIST)).json()["items"]] == ["a", "c"]
        assert [one["item_id"] for one in (await app.ask(f"{LIST}?n=1")).json()["items"]] == ["a"]
        hats = (await app.ask(LIST, params={"category": "Hats", "n": "1"})).json()["items"]
        assert [(one["item_id"], one["title"]) for one in hats] == [("c", "title of c")]
        left = (await app.ask(LIST, params={"exclude": ["c", "x"]})).json()["items"]
        assert [one["item_id"] for one in left] == ["a"]
        app.shown.put("a", None)
        assert [one["item_id"] for one in (await app.ask(LIST)).json()["items"]] == ["c"]

    asyncio.run(run())


def test_an_answer_that_the_caller_has_is_not_sent_again(tmp_path: Path) -> None:
    """Until the list, or what of it may be shown, changes."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        for path in (LIST, f"{LIST}?explain=true"):
            etag = (await app.ask(path)).headers["etag"]
            for header in (etag, f'"x", W/{etag}', "*"):
                again = await app.ask(path, headers={"If-None-Match": header})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
            assert (await app.ask(path, headers={"If-None-Match": '"x"'})).status_code == 200
        etag = (await app.ask(LIST)).headers["etag"]
        await app.put(a_list(revision=2))
        assert (await app.ask(LIST, headers={"If-None-Match": etag})).status_code == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "status", "kind", "field"),
    [
        ("/v1/users/nobody/recommendations", 404, "no-list", "user_id"),
        (f"{LIST}?n=0", 400, "bad-value", "n"),
        (f"{LIST}?n=601", 400, "bad-value", "n"),
        (f"{LIST}?n=99999999999999999999", 400, "bad-value", "n"),
        (f"{LIST}?n=ten", 400, "bad-value", "n"),
        (f"{LIST}?max_age=0", 400, "bad-value", "max_age"),
        (f"{LIST}?max_age=nan", 400, "bad-value", "max_age"),
        (f"{LIST}?max_age=59", 404, "list-too-old", "max_age"),
        ("/v1/users/" + "u" * 257 + "/recommendations", 400, "bad-value", "user_id"),
        ("/v1/nothing?x=1", 404, "no-route", ""),
        ("/v1/users/%ED%A0%80/recommendations", 404, "no-list", "user_id"),
    ],
)
def test_a_refusal_names_field_and_remedy(tmp_path: Path, path: str, status: int, kind: str, field: str) -> None:
    """The list was made a minute ago."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        answer = await app.ask(path)
        found = answer.json()
        assert answer.status_code == found["status"] == status, found
        assert answer.headers["content-type"] == "application/problem+json"
        assert found["type"] == f"urn:headrace:problem:{kind}" and found.get("field", "") == field
        assert found["remedy"] and found["detail"] and found["request_id"] == answer.headers["x-request-id"]

    asyncio.run(run())


def test_an_id_may_hold_a_slash_and_any_other_character(tmp_path: Path) -> None:
    """Shops name users as they like."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list("a/b"), a_list("用户 1"))
        for path in ("a%2Fb", "%E7%94%A8%E6%88%B7%201"):
            assert (await app.ask(f"/v1/users/{path}/recommendations")).status_code == 200

    asyncio.run(run())


def test_with_keys_every_route_needs_one_of_its_scope(tmp_path: Path) -> None:
    """Only the two questions of supervisors are open."""
    file = tmp_path / "keys.json"
    reader, writer, admin = (add_key(file, name, [name]) for name in SCOPES)

    async def run() -> None:
        app = ServedApp(tmp_path, keys=Keys(file))
        await app.put(a_list())
        for path in (LIST, f"{LIST}?explain=true", "/metrics", "/v1/schema/openapi.json", "/nothing"):
            refused = await app.ask(path)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert (await app.ask(path, headers={"X-API-Key": "hr_guess"})).status_code == 401
        for path in (LIST, f"{LIST}?explain=true", "/metrics"):
            assert (await app.ask(path, headers={"X-API-Key": reader})).status_code == 200
            assert (await app.ask(path, headers={"Authorization": f"Bearer {admin}"})).status_code == 200
            assert (await app.ask(path, headers={"X-API-Key": writer})).status_code == 403
        for path in ("/healthz", "/readyz"):
            assert (await app.ask(path)).status_code == 200

    asyncio.run(run())


def test_without_keys_pages_of_other_sites_are_refused(tmp_path: Path) -> None:
    """A browser of this machine reaches the server for every page that it shows."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        assert (await app.ask(LIST, headers={"Host": "evil.example:8080"})).status_code == 403
        assert (await app.ask(LIST, headers={"Origin": "http://evil.example"})).status_code == 403
        assert (await app.ask(LIST, headers={"Origin": "http://127.0.0.1:8080"})).status_code == 200
        for host in ("localhost", "localhost:8080", "[::1]:8080"):
            assert (await app.ask(LIST, headers={"Host": host})).status_code == 200

    asyncio.run(run())


def test_a_request_keeps_the_id_that_its_caller_gave(tmp_path: Path) -> None:
    """The logs of two systems meet in it; an id that could break a log is replaced."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        for path in (LIST, "/healthz"):
            assert (await app.ask(path, headers={"X-Request-ID": "abc-1"})).headers["x-request-id"] == "abc-1"
            ids = [(await app.ask(path, headers={"X-Request-ID": "a b"})).headers["x-request-id"] for _ in range(2)]
            assert ids[0] != ids[1] and "a b" not in ids

    asyncio.run(run())


def test_a_caller_above_its_rate_is_told_when_to_come_again(tmp_path: Path) -> None:
    """The others are answered."""

    async def run() -> None:
        app = ServedApp(tmp_path, server=ServerSettings(serve_rate_limit=3))
        answers = [await app.ask(LIST) for _ in range(4)]
        assert [one.status_code for one in answers] == [404, 404, 404, 429]
        assert answers[-1].headers["retry-after"] == "1"
        assert (await app.ask("/healthz")).status_code == 200

    asyncio.run(run())


def test_before_all_is_read_nothing_is_answered(tmp_path: Path) -> None:
    """Else a user who has a list would be told that there is none."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        app.caught_up.clear()
        for path in (LIST, f"{LIST}?explain=true"):
            answer = await app.ask(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        waiting = await app.ask("/readyz")
        assert (waiting.status_code, waiting.json()["waiting"]) == (503, ["recommendations"])
        assert (await app.ask("/healthz")).json() == {"status": "alive"}
        app.caught_up.set()
        assert (await app.ask("/readyz")).json() == {"status": "ready"}
        app.server.ready.stopping.set()
        assert (await app.ask("/readyz")).status_code == 503
        assert (await app.ask(LIST)).status_code == 200, "a server that stops still answers"

    asyncio.run(run())


def test_further_routers_get_the_server_and_its_guards(tmp_path: Path) -> None:
    """Further doors are mounted so. An error of theirs is a problem that tells no detail."""

    @get("/more")
    async def more(server: TheServer) -> dict[str, int]:
        return {"items": len(server.shown)}

    @post("/more", guards=[needs("write")])
    async def echo(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        return data

    @get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret")

    file = tmp_path / "keys.json"
    reader, writer = add_key(file, "r", ["read"]), add_key(file, "w", ["write"])

    async def run() -> None:
        keyed = ServedApp(
            tmp_path, keys=Keys(file), routers=[more, echo, broken], server=ServerSettings(serve_body_bytes=1_024)
        )
        read, write = {"X-API-Key": reader}, {"X-API-Key": writer}
        assert (await keyed.ask("/more", headers=read)).json() == {"items": 0}
        assert (await keyed.ask("/more", "POST", headers=read, json={})).status_code == 403
        assert (await keyed.ask("/more", "POST", headers=write, json={"a": 1})).json() == {"a": 1}
        for body in (b"{", b"[]", b"\xff"):
            assert (await keyed.ask("/more", "POST", headers=write, content=body)).status_code == 400
        large = await keyed.ask("/more", "POST", headers=write, json={"a": "x" * 2_000})
        assert (large.status_code, large.json()["type"]) == (413, "urn:headrace:problem:too-large")
        assert (await keyed.ask("/more", "DELETE", headers=read)).status_code == 405
        answer = await keyed.ask("/broken", headers=read)
        assert answer.status_code == 500 and "secret" not in answer.text and answer.json()["request_id"]

    asyncio.run(run())


def test_the_metrics_count_requests_by_route(tmp_path: Path) -> None:
    """No id of a user is in them."""

    async def run() -> None:
        app = ServedApp(tmp_path)
        await app.put(a_list())
        for path in (LIST, LIST, f"{LIST}?explain=true", "/v1/users/nobody/recommendations", "/nothing"):
            await app.ask(path)
        text = (await app.ask("/metrics")).text
        route = 'route="/v1/users/{user_id}/recommendations"'
        assert f'headrace_serve_requests_total{{{route},status="2xx"}} 3.0' in text
        assert 'headrace_serve_requests_total{route="none",status="4xx"} 2.0' in text
        assert "headrace_serve_lists 1.0" in text and "nobody" not in text
        assert f"headrace_serve_latency_seconds_count{{{route}}} 3.0" in text

    asyncio.run(run())


def test_the_openapi_document_has_the_routes_and_the_schemas_of_the_structs(tmp_path: Path) -> None:
    """Clients are generated from it."""

    async def run() -> None:
        found = (await ServedApp(tmp_path).ask("/v1/schema/openapi.json")).json()
        assert found["openapi"].startswith("3.1")
        asked = found["paths"]["/v1/users/{user_id}/recommendations"]["get"]
        assert {one["name"] for one in asked["parameters"]} == {
            "user_id", "n", "category", "exclude", "max_age", "explain",
        }  # fmt: skip
        assert {"200", "400", "401", "403", "404", "429", "503"} <= asked["responses"].keys()
        assert {"UserList", "ListedItem", "ProblemBody"} <= found["components"]["schemas"].keys()
        assert {"key", "bearer"} == found["components"]["securitySchemes"].keys()
        assert "server" not in str(asked["parameters"])

    asyncio.run(run())


def test_a_body_that_does_not_come_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who sends a head and no body must not hold the server."""
    assert BODY_S > 1
    monkeypatch.setattr("streams.server.gate.door.BODY_S", 0.05)

    @post("/more")
    async def echo(data: JSONBody[dict[str, Any]]) -> dict[str, Any]:
        return data

    async def run() -> list[Any]:
        app = ServedApp(tmp_path, routers=[echo])
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"5")]
        scope = {
            "type": "http", "method": "POST", "path": "/more", "raw_path": b"/more", "query_string": b"", "root_path": "",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1",
        }  # fmt: skip
        await app.app(scope, receive, send)
        return sent

    assert asyncio.run(run())[0]["status"] == 408
