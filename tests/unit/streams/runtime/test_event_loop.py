"""The workers' event loop does not wait for ever for the other end of a TLS connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.runtime.event_loop import TLS_CLOSE_S, EventLoop, EventLoopPolicy
from tests.support.security.certificates import OPENSSL, make_authority, sign


@pytest.fixture
def mute_server(tmp_path: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """Give the port of a TLS server that never answers a ``close_notify``.

    The second value is a context that trusts the server.
    """
    authority = make_authority(tmp_path, "authority")
    made = sign(authority, tmp_path, "server", "IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)
    is_over = threading.Event()

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as raw, context.wrap_socket(raw, server_side=True):
            is_over.wait(60)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield listener.getsockname()[1], ssl.create_default_context(cafile=str(authority.cert))
        is_over.set()
        thread.join(10)


@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl program")
def test_closing_a_tls_connection_ends_in_time_also_when_the_other_end_is_mute(
    mute_server: tuple[int, ssl.SSLContext],
) -> None:
    """Uvloop's own limit is 30 s, and each rebalance of a worker would take so long."""
    port, trusted = mute_server

    async def connect_and_close() -> float:
        lost = asyncio.Event()

        class Connection(asyncio.Protocol):
            def connection_lost(self, exc: Exception | None) -> None:
                lost.set()

        transport, _ = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port, ssl=trusted)
        began = time.monotonic()
        transport.close()
        await asyncio.wait_for(lost.wait(), TLS_CLOSE_S + 5)
        return time.monotonic() - began

    with asyncio.Runner(loop_factory=EventLoop) as runner:
        assert TLS_CLOSE_S / 2 < runner.run(connect_and_close()), "the other end was not mute"


def test_new_loops_are_of_this_kind() -> None:
    """Faust's consumer thread makes a loop of its own."""
    loop = EventLoopPolicy().new_event_loop()
    try:
        assert isinstance(loop, EventLoop)
    finally:
        loop.close()
