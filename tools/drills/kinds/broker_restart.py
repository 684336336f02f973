"""``headrace drill broker-restart``: kills and restarts the broker, then pauses it, under load."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

from tools.broker.local_broker import broker_process, start_broker
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.session import Drill
from tools.workers.processes import Process

#: Seconds for which the killed broker stays away, and for which it is paused at most.
DEAD_S: Final = 5.0
UNREACHABLE_S: Final = 60.0
FLOWS_WITHIN_S: Final = 180.0


async def script(drill: Drill) -> None:
    """Kill and restart the broker; then pause it for a minute, or for less with ``--minutes``."""
    async with drill.fault("broker killed", FLOWS_WITHIN_S):
        await _kill_and_start(drill)
        answered = time.monotonic()
    drill.extra["flows_again_s"] = [_since(answered)]
    async with drill.fault("broker unreachable", FLOWS_WITHIN_S):
        await _stand_still(drill, min(UNREACHABLE_S, 60 * drill.plan.minutes))
        answered = time.monotonic()
    drill.extra["flows_again_s"].append(_since(answered))


async def _kill_and_start(drill: Drill) -> None:
    own_process(drill).send(signal.SIGKILL)
    await asyncio.sleep(DEAD_S)
    port, data = int(drill.broker.bootstrap.rpartition(":")[2]), drill.broker.data
    assert data is not None  # a broker that the drill started has one
    drill.broker = await asyncio.to_thread(start_broker, drill.broker.engine, port, data)


async def _stand_still(drill: Drill, seconds: float) -> None:
    process = own_process(drill)
    process.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        process.send(signal.SIGCONT)


def own_process(drill: Drill) -> Process:
    """Return the process of the drill's own broker."""
    process = broker_process(drill.broker)
    assert process is not None  # the kind needs a broker of its own
    return process


def _since(answered: float) -> float:
    """Return the seconds from the broker's answer until all was well again."""
    return round(time.monotonic() - answered, 2)


#: Without a broker the workers must end.
KIND: Final = Kind(script, Needs(own_broker=True, workers_may_end=True))
