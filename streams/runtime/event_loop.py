"""The workers' event loop: uvloop's, with a limit on how long a closing TLS connection may take."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvloop

#: Longest wait for a broker's answer to a TLS ``close_notify``. uvloop waits 30 s by default, and
#: aiokafka waits until its connections are closed: each client that ends would delay a rebalance, a
#: recovery or a stop. All requests are answered by then.
TLS_CLOSE_S: Final = 1.0


class EventLoop(uvloop.Loop):
    """A uvloop that cuts TLS connections whose closing takes longer than :data:`TLS_CLOSE_S`."""

    async def create_connection(self, *args: Any, **options: Any) -> Any:
        """Connect as :meth:`asyncio.loop.create_connection`."""
        if options.get("ssl"):
            options.setdefault("ssl_shutdown_timeout", TLS_CLOSE_S)
        return await super().create_connection(*args, **options)


class EventLoopPolicy(uvloop.EventLoopPolicy):
    """Makes every new event loop of the process, in every thread, an :class:`EventLoop`."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a new loop."""
        loop: asyncio.AbstractEventLoop = EventLoop()
        return loop


def install() -> None:
    """Use this event loop in this process from now on."""
    asyncio.set_event_loop_policy(EventLoopPolicy())
