"""``headrace bench serve``: its load, against a server of the test's own; and its options."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from streams.errors import InputError, RunError
from tests.support.programs import arguments
from tools.bench import serve
from tools.bench.live.http_load import Answers, Client
from tools.bench.serve import options_of

Load = Callable[[Client], Awaitable[Answers]]


async def answers_of(load: Load, stall_s: float = 0.0, body: bytes = b"ok", n_before_end: int = 10**9) -> Answers:
    """Return what a load sees of a server whose third answer takes long."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                request = await reader.readuntil(b"\r\n\r\n")
            except EOFError:
                break
            seen.append(request)
            if len(seen) > n_before_end:
                break
            if len(seen) == 3:
                time.sleep(stall_s)  # noqa: ASYNC251 (a server that answers nobody)
            status = b"404 Not Found" if b" /lost " in request else b"200 OK"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await load(Client(f"http://127.0.0.1:{port}", ["/found", "/found", "/found", "/lost"]))


def test_as_many_as_possible_counts_every_answer_by_status() -> None:
    """Paths take turns; bodies are read whole."""
    found = asyncio.run(answers_of(lambda client: client.as_many_as_possible(0.2, 3), body=b"x" * 5_000))
    assert len(found.latencies_s) == sum(found.statuses.values()) > 8
    assert found.statuses[404] == pytest.approx(found.statuses[200] / 3, abs=2)
    assert found.per_s == pytest.approx(len(found.latencies_s) / found.seconds)


def test_a_stall_makes_all_requests_that_were_due_late() -> None:
    """Of 50 requests at 100 a second, those of a stall of 0.3 s wait for its end."""
    found = asyncio.run(answers_of(lambda client: client.at_rate(100, 0.5, 4), stall_s=0.3))
    assert len(found.latencies_s) == 50
    assert sum(latency > 0.1 for latency in found.latencies_s) >= 15


def test_a_connection_that_the_server_ends_is_an_error() -> None:
    """A load that loses requests in silence would measure too little."""
    with pytest.raises(RunError, match="ended a connection"):
        asyncio.run(answers_of(lambda client: client.as_many_as_possible(0.5, 2), n_before_end=5))


@pytest.mark.parametrize("text", ["--rate 0", "--seconds 121", "--users 0", "--rounds 21", "--demand-rate 20001"])
def test_what_is_out_of_its_range_is_refused(text: str) -> None:
    """With the option and the range."""
    with pytest.raises(InputError, match=text.partition(" ")[0]):
        options_of(arguments(serve, *text.split()))
