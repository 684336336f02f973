"""Runs the server until a signal: listens, answers, and stops without cutting an answer off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn

from streams.errors import RunError
from streams.runtime.event_loop import EventLoop
from streams.runtime.memory import keep_for_good
from streams.server.app import build_app
from streams.server.gate.door import Door
from streams.server.open import Opened, open_server
from streams.settings.load import Settings

log = logging.getLogger(__name__)

#: Connections that wait to be accepted.
BACKLOG: Final = 2_048
#: Seconds for which an idle connection stays open.
KEEP_ALIVE_S: Final = 75
READY_POLL_S: Final = 0.05


class _Uvicorn(uvicorn.Server):
    """Leaves signals to :func:`run_server`: uvicorn would raise them again at its end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    RunError
        When the address cannot be had.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(BACKLOG)  # who comes before the server answers waits
    except OSError as exc:
        found.close()
        raise RunError(
            f"serve_port_number={port}: {host}:{port} cannot be had ({exc.strerror}); set HEADRACE_SERVE_PORT_NUMBER to a free port"
        ) from None
    return found


def url_of(listening: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run_server(
    settings: Settings,
    *,
    routers: Sequence[Any] = (),
    listens: Callable[[str], None] = lambda url: None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the server until SIGINT or SIGTERM; what is being answered then is answered.

    Parameters
    ----------
    routers : further handlers, as :func:`~streams.server.app.build_app` takes them
    listens : called with the server's URL, before it is ready
    ready : called once all is read

    Raises
    ------
    HeadraceError
        When the server cannot start, or what it reads cannot be read any more.
    """
    listening = listening_socket(settings.server.serve_bind, settings.server.serve_port_number)
    try:
        with asyncio.Runner(loop_factory=EventLoop) as runner:
            runner.run(_run(settings, listening, routers, listens, ready))
    finally:
        listening.close()


async def _run(
    settings: Settings,
    listening: socket.socket,
    routers: Sequence[Any],
    listens: Callable[[str], None],
    ready: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_server(settings) as opened:
        app = build_app(opened.server, opened.keys, routers, opened.traces)
        server = _Uvicorn(_config(app, settings.health.stop_timeout_s))
        serving = asyncio.ensure_future(server.serve(sockets=[listening]))
        listens(url_of(listening))
        telling = asyncio.ensure_future(_tell(opened, ready))
        stopping = asyncio.ensure_future(stop.wait())
        try:
            ends: set[asyncio.Future[Any]] = {serving, stopping, opened.failed}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            telling.cancel()
            stopping.cancel()
            opened.server.ready.stopping.set()
            server.should_exit = True
            await serving
        if opened.failed.done():
            opened.failed.result()


async def _tell(opened: Opened, ready: Callable[[], None]) -> None:
    while opened.server.ready.waiting():
        await asyncio.sleep(READY_POLL_S)
    keep_for_good()
    ready()


def _config(app: Door, stop_timeout_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(stop_timeout_s)),
    )
