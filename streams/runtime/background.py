"""Jobs that run beside the agent: a failure of one stops the worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from streams.errors import HeadraceError
from streams.runtime.app import StreamApp

log = logging.getLogger(__name__)


async def watched(app: StreamApp, job: Awaitable[None]) -> None:
    """Run a job in the background; its failure stops the worker."""
    try:
        await job
    except asyncio.CancelledError:
        raise
    except Exception as exc:  # the worker loop: no window may wait for ever
        log.error("recommender stops: %s", exc, exc_info=not isinstance(exc, HeadraceError))
        await app.crash(exc)
