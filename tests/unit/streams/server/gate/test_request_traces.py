"""Requests in their callers' traces: spans, what they link to, and what they carry on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from streams.runtime.tracing import HEADER
from streams.server.gate.key_file import Keys, add_key
from streams.server.gate.request_traces import RequestTraces, part_of_request, request_under_way
from streams.server.lists.list_traces import ListTraces, WindowTraces
from tests.unit.streams.server.served import ServedApp, a_list, memory_tracing

LIST = "/v1/users/u/recommendations"
ROUTE = "/v1/users/{user_id}/recommendations"
EVENT = {"user_id": "u", "item_id": "a", "type": "view", "event_id": "e1"}


def header(trace: str, span: str, *, is_sampled: bool = True) -> str:
    return f"00-{trace * 16}-{span * 8}-0{int(is_sampled)}"


CALLER, RECORD = header("ca", "11"), header("ec", "22")


class TracedApp(ServedApp):
    """A server whose ended spans can be looked at."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.tracing, self.ended = memory_tracing()
        self.list_traces = ListTraces(self.tracing)
        super().__init__(folder, traces=self.list_traces, request_traces=RequestTraces(self.tracing), **more)

    async def spans(
        self, path: str, method: str = "GET", caller: str = CALLER, key: str = "", **options: Any
    ) -> list[ReadableSpan]:
        """Return the spans of a request of a caller."""
        self.ended.clear()
        await self.ask(path, method, headers={HEADER: caller, "X-API-Key": key}, **options)
        return list(self.ended.get_finished_spans())


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Return the ids of a span and of its parent."""
    assert span.context is not None and span.parent is not None
    return f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}"


@pytest.mark.parametrize("query", ["", "?explain=true"])
def test_an_answer_is_a_span_of_the_callers_trace_and_linked_with_that_of_the_list(tmp_path: Path, query: str) -> None:
    """On the short way and through the application."""

    async def run() -> None:
        app = TracedApp(tmp_path)
        await app.put(a_list())
        (server,) = await app.spans(LIST + query)
        assert ids(server) == ("ca" * 16, "11" * 8) and server.kind is SpanKind.SERVER and not server.links
        assert server.name == f"GET {ROUTE}"
        expected = {"http.request.method": "GET", "http.route": ROUTE, "http.response.status_code": 200}
        assert dict(server.attributes or {}) == expected, "no id of a user"
        app.list_traces.read("u-1", [(HEADER, RECORD.encode())])
        of_list, server = await app.spans(LIST + query)
        assert (of_list.name, ids(of_list)) == ("GET list", ("ec" * 16, "22" * 8))
        assert ids(server)[0] == "ca" * 16
        assert [link.context for link in server.links] == [of_list.context]
        assert [link.context for link in of_list.links] == [server.context]

    asyncio.run(run())


@pytest.mark.parametrize("caller", [header("ca", "11", is_sampled=False), "", "no header", "00-" + "0" * 32])
def test_a_caller_who_is_not_traced_leaves_no_span_of_a_request(tmp_path: Path, caller: str) -> None:
    """The list's own trace goes on."""

    async def run() -> None:
        app = TracedApp(tmp_path)
        await app.put(a_list())
        app.list_traces.read("u-1", [(HEADER, RECORD.encode())])
        (of_list,) = await app.spans(LIST, caller=caller)
        assert of_list.name == "GET list" and not of_list.links
        await app.spans("/v1/events", "POST", caller, json=EVENT)
        assert app.writer.headers == [()]

    asyncio.run(run())


def test_whoever_has_no_key_leaves_no_span(tmp_path: Path) -> None:
    """Not even by asking what is answered without one."""
    file = tmp_path / "keys.json"
    key = add_key(file, "shop", ["read"])

    async def run() -> None:
        app = TracedApp(tmp_path, keys=Keys(file))
        await app.put(a_list())
        for path in (LIST, f"{LIST}?explain=true", "/healthz", "/readyz"):
            assert await app.spans(path) == []
        (answered,) = await app.spans(LIST, key=key)
        (forbidden,) = await app.spans("/v1/events", "POST", key=key, json=EVENT)
        assert [(one.attributes or {})["http.response.status_code"] for one in (answered, forbidden)] == [200, 403]

    asyncio.run(run())


def test_events_carry_the_trace_of_the_request_on(tmp_path: Path) -> None:
    """The records of each event name the request's span; refused events leave a span alone."""

    async def run() -> None:
        app = TracedApp(tmp_path)
        publish, server = await app.spans("/v1/events", "POST", json=[EVENT, EVENT | {"event_id": "e2"}])
        assert (publish.name, server.name, server.kind) == ("publish", "POST /v1/events", SpanKind.SERVER)
        assert ids(server) == ("ca" * 16, "11" * 8)
        assert server.context is not None and publish.parent == server.context
        carried = f"00-{server.context.trace_id:032x}-{server.context.span_id:016x}-01".encode()
        assert app.writer.headers == [((HEADER, carried),)] * 2
        (refused,) = await app.spans("/v1/events", "POST", json={"user_id": "u"})
        assert (refused.attributes or {})["http.response.status_code"] == 400
        assert refused.status.status_code is StatusCode.UNSET

    asyncio.run(run())


def test_a_failure_of_the_server_is_an_error_and_an_unknown_path_names_no_route(tmp_path: Path) -> None:
    """A caller's mistake is no error of the server."""

    async def run() -> None:
        app = TracedApp(tmp_path)
        (failed,) = await app.spans("/v1/popular")
        assert (failed.name, failed.status.status_code) == ("GET /v1/popular", StatusCode.ERROR)
        (unknown,) = await app.spans("/v1/users/secret-name")
        assert unknown.name in ("GET", "GET /v1/users/{user_id}") and unknown.status.status_code is StatusCode.UNSET
        assert "secret-name" not in f"{unknown.name} {dict(unknown.attributes or {})}"
        (lost,) = await app.spans("/secret-name")
        assert lost.name == "GET" and "http.route" not in (lost.attributes or {})

    asyncio.run(run())


def test_requests_at_once_do_not_share_a_span(tmp_path: Path) -> None:
    """Each task has its own; after a request there is none."""

    async def run() -> None:
        app = TracedApp(tmp_path)
        await app.put(a_list())
        callers = [header("ca", "11"), header("cb", "33"), header("cc", "44", is_sampled=False)]
        await asyncio.gather(*(app.ask(f"{LIST}?explain=true", headers={HEADER: one}) for one in callers))
        assert {ids(span) for span in app.ended.get_finished_spans()} == {
            ("ca" * 16, "11" * 8), ("cb" * 16, "33" * 8)
        }  # fmt: skip
        assert request_under_way() is None
        with part_of_request("rank"):
            pass
        assert len(app.ended.get_finished_spans()) == 2

    asyncio.run(run())


def test_a_window_without_a_trace_ends_that_of_the_users_window_before(tmp_path: Path) -> None:
    """A window is named by its user, whose next window replaces it; so does a removal."""
    app = TracedApp(tmp_path)
    traces = WindowTraces(app.tracing)
    traces.read(b"u", [(HEADER, RECORD.encode())])
    traces.answered(b"u", "list on demand", 1, 7)
    (span,) = app.ended.get_finished_spans()
    assert (span.name, ids(span), dict(span.attributes or {})) == (
        "list on demand", ("ec" * 16, "22" * 8), {"headrace.revision": 7}
    )  # fmt: skip
    traces.read(b"u", ())
    traces.answered(b"u", "list on demand", 1, 8)
    traces.read(b"u", [(HEADER, RECORD.encode())])
    traces.forget(b"u")
    traces.answered(b"u", "list on demand", 1, 8)
    assert len(app.ended.get_finished_spans()) == 1
