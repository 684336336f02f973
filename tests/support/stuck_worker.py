"""A sequencer that gets stuck on purpose; the variable ``STUCK`` says how.

``faust -A tests.support.stuck_worker worker`` starts it.

``agent``: the agent never ends its first batch. ``loop``: the first batch blocks the event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from streams.runtime.app import StreamApp, start_app
from streams.sequencer.agent import Sequencer, build_sequencer
from streams.settings.load import Settings


async def _stand_still(self: Sequencer, batches: Any) -> None:
    async for _ in batches.noack().events():
        if os.environ["STUCK"] == "loop":
            time.sleep(1_000)
        await asyncio.sleep(1_000)


def build(settings: Settings) -> StreamApp:
    """Return the sequencer's app with an agent that stands still."""
    Sequencer.sequence = _stand_still  # type: ignore[method-assign]
    return build_sequencer(settings)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = start_app(build)
    return app
