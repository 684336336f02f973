"""What every request passes first: its id, its key, its rate, and a short way for pushed lists.

::

    request ─► id ─► key ─► rate ─► a pushed list? ──yes──► answer
                                         │ no
                                         ▼
                                    the application

The door is plain ASGI. A framework's route costs more than the answer of a pushed list.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NamedTuple

from streams.server.gate.callers import CALLER, EVERY_SCOPE, Caller
from streams.server.gate.key_file import Keys
from streams.server.gate.measures import NO_ROUTE, Measures
from streams.server.gate.problems import MEDIA_TYPE, Problem
from streams.server.gate.rates import Rates
from streams.server.gate.request_traces import RequestTraces

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where the door leaves the id of a request in its ASGI scope.
REQUEST_ID: Final = "headrace.request_id"
#: Answered without a key: supervisors and load balancers have none.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/api/health/live", "/api/health/ready"})
#: Files of the page that hold nothing of the shop.
OPEN_FOLDER: Final = "/page/static/"
#: Longest wait for a part of a body.
BODY_S: Final = 30.0
LOCAL_HOSTS: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})
_CALLERS_OWN_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Answer(NamedTuple):
    """An answer whose body is complete.

    Parameters
    ----------
    is_short : whether the short way has made it
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    is_short: bool = False


#: Answers a request without the application; None leaves it to the application.
ShortWay = Callable[[Scope, Caller], Awaitable[Answer | None]]


class _Head(NamedTuple):
    """The headers that the door reads."""

    request_id: bytes | None = None
    key: str | None = None
    host: bytes = b""
    origin: bytes | None = None
    is_page: bool = False
    traceparent: bytes = b""


class Door:
    """An ASGI application before another one. For one event loop.

    Parameters
    ----------
    keys : None lets everybody of this machine in, who may then do everything
    short_way : is asked first
    short_route : names its requests in the metrics
    traces : traces the requests of traced callers; None where nothing is traced
    """

    def __init__(
        self,
        app: App,
        keys: Keys | None,
        rates: Rates,
        measures: Measures,
        short_way: ShortWay,
        short_route: str,
        traces: RequestTraces | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._rates = rates
        self._measures = measures
        self._short_way = short_way
        self._short_route = short_route
        self._traces = traces
        self._own_ids = (f"{secrets.token_hex(6)}-{n}".encode() for n in itertools.count())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        head = _head_of(scope)
        request_id = head.request_id or next(self._own_ids)
        scope[REQUEST_ID] = request_id.decode()
        outer = _Outer(send, request_id)
        route = NO_ROUTE
        traces = self._traces
        span = None if traces is None else traces.begin(head.traceparent, scope["method"])
        try:
            if traces is None or span is None:
                route = await self._answer(scope, head, receive, outer)
            else:
                with traces.under_way(span):
                    route = await self._answer(scope, head, receive, outer)
        finally:
            self._measures.note(route, outer.status, time.perf_counter() - began_s)
            caller: Caller | None = scope.get(CALLER)
            # whoever has no key fills no collector: a span that does not end is not sent
            if span is not None and caller is not None and caller.scopes:
                span.end(scope["method"], "" if route == NO_ROUTE else route, outer.status)

    async def _answer(self, scope: Scope, head: _Head, receive: Receive, outer: _Outer) -> str:
        """Answer a request; return its route."""
        answer = await self._without_app(scope, head, outer.request_id)
        if answer is not None:
            await _send(outer, answer)
            return self._short_route if answer.is_short else NO_ROUTE
        await self._app(scope, receive if scope["method"] in ("GET", "HEAD") else _patient(receive), outer)
        return scope.get("path_template") or NO_ROUTE

    async def _without_app(self, scope: Scope, head: _Head, request_id: bytes) -> Answer | None:
        """Return the answer of the short way, or a refusal; None leaves it to the application."""
        try:
            caller = scope[CALLER] = self._let_in(scope, head)
            return await self._short_way(scope, caller)
        except Problem as problem:
            return refusal(problem, request_id)
        except Exception:  # the door: no request may end without an answer
            log.exception("request %s failed", request_id.decode())
            return refusal(Problem(500, "failed", "the server failed", remedy="ask again"), request_id)

    def _let_in(self, scope: Scope, head: _Head) -> Caller:
        """Return who asks; raise :class:`Problem` for a caller who may not."""
        if scope["path"] in OPEN_PATHS or scope["path"].startswith(OPEN_FOLDER):
            return Caller("-", frozenset())
        if self._keys is None:
            caller = Caller(_address(scope), EVERY_SCOPE)
            _check_local(scope, head)
        else:
            owner = None if head.key is None else self._keys.owner(head.key)
            if owner is None:
                self._measures.add("refused_keys")
                self._check_rate(_address(scope))
                raise _unknown_key(head)
            caller = owner
        self._check_rate(caller.name)
        return caller

    def _check_rate(self, caller: str) -> None:
        wait_s = self._rates.wait_s(caller)
        if wait_s:
            self._measures.add("refused_rates")
            raise Problem(
                429,
                "rate",
                f"{caller} sends more requests than serve_rate_limit allows",
                remedy="send fewer; Retry-After says when to go on",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )


class _Outer:
    """Adds the request id to an answer, and remembers its status."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.request_id)]
        await self._send(message)


def _head_of(scope: Scope) -> _Head:
    request_id = key = origin = None
    host, is_page, traceparent = b"", False, b""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            key = value.decode("latin-1")
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            key = key or value[7:].strip().decode("latin-1")
        elif name == b"authorization" and value[:6].lower() == b"basic ":
            key = key or _password(value[6:])
        elif name == b"accept":
            is_page = value.startswith(b"text/html")
        elif name == b"x-request-id" and _CALLERS_OWN_ID.fullmatch(value):
            request_id = value
        elif name == b"host":
            host = value
        elif name == b"origin":
            origin = value
        elif name == b"traceparent":
            traceparent = value
    return _Head(request_id, key, host, origin, is_page, traceparent)


def _check_local(scope: Scope, head: _Head) -> None:
    """Refuse a page of another site that a browser of this machine shows.

    Without keys, whoever reaches the server may do everything. A browser reaches it for every page
    that it shows: such a request names another host, or another origin.
    """
    name = head.host.rpartition(b":")[0] if head.host.rpartition(b":")[2].isdigit() else head.host
    if name.lower() not in LOCAL_HOSTS:
        raise Problem(
            403,
            "host",
            "the header Host names no address of this machine, and there are no keys",
            field="Host",
            remedy="ask for 127.0.0.1 or localhost, or set HEADRACE_SERVE_KEYS_FILE",
        )
    if head.origin is not None and head.origin.partition(b"://")[2] != head.host:
        raise Problem(
            403,
            "origin",
            "a page of another site may not ask a server without keys",
            field="Origin",
            remedy="ask from the shop's own server, or set HEADRACE_SERVE_KEYS_FILE",
        )


def _password(value: bytes) -> str | None:
    """Return the password of HTTP Basic: a browser sends a key so, with any user name."""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode("latin-1")
    except ValueError:
        return None


def _unknown_key(head: _Head) -> Problem:
    return Problem(
        401,
        "key",
        "the request has no key" if head.key is None else "the key is not known",
        field="X-API-Key",
        remedy="send a key in the header X-API-Key, or as bearer token; headrace serve keys add makes one",
        headers={"WWW-Authenticate": 'Basic realm="headrace"' if head.is_page else "Bearer"},
    )


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "-"


def refusal(problem: Problem, request_id: bytes) -> Answer:
    """Return the answer that says no."""
    headers = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    body = problem.encoded(request_id.decode())
    return Answer(problem.status, [(b"content-type", MEDIA_TYPE.encode()), *headers], body)


async def _send(send: Send, answer: Answer) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    headers = answer.headers if answer.status == 304 else [*answer.headers, length]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _patient(receive: Receive) -> Receive:
    """Return a receive that waits at most :data:`BODY_S` for each part of a body."""

    async def wait() -> Message:
        try:
            return await asyncio.wait_for(receive(), BODY_S)
        except TimeoutError:
            raise Problem(
                408, "slow-body", f"no part of the body came for {BODY_S:g} s", remedy="send the body at once"
            ) from None

    return wait
