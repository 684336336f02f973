"""``headrace drill rebalance``: workers of each app join and leave, one by one, under load."""

from __future__ import annotations

import asyncio
from typing import Final

from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.session import Drill
from tools.workers.apps import APP_NAMES

#: Each app goes from one worker to three, and back.
N_JOINING: Final = 2
PAUSE_S: Final = 2.0


async def script(drill: Drill) -> None:
    """Let workers join and leave; report the longest pause around each."""
    for app in APP_NAMES:
        joined = []
        for _ in range(N_JOINING):
            await asyncio.sleep(PAUSE_S)
            async with drill.fault(f"join {app}"):
                joined.append(drill.start_worker(app))
        for worker in joined:
            await asyncio.sleep(PAUSE_S)
            async with drill.fault(f"leave {app}"):
                await drill.cluster.retire(worker)
    for what in ("join", "leave"):
        drill.extra[f"{what}_s"] = [fault.downtime_s for fault in drill.faults if fault.name.startswith(what)]


KIND: Final = Kind(script, Needs(n_workers=1))
