"""``headrace drill kill``: kills and pauses workers at bad moments, under load."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from tools.drills.cluster import DrillWorker, is_ready
from tools.drills.kind import Kind
from tools.drills.session import SESSION_TIMEOUT_MS, Drill
from tools.workers.apps import APP_NAMES, AppName

Moment = Literal["any", "start", "recovery", "rebalance", "zombie"]
#: The plan has a kill at each of these moments; further kills come at any moment.
MOMENTS: Final[tuple[Moment, ...]] = ("any", "start", "recovery", "rebalance")
#: A drill has one pause beyond the session timeout for this many kills, and at least one.
KILLS_PER_ZOMBIE: Final = 5
ZOMBIE_S: Final = (SESSION_TIMEOUT_MS / 1000 + 2.0, SESSION_TIMEOUT_MS / 1000 + 4.0)
#: Load before a pause in events a second, and its duration in seconds.
BURST_PER_S: Final = 10_000.0
BURST_S: Final = (0.5, 1.0)
#: Time between two faults, in seconds.
PAUSE_S: Final = (0.5, 3.0)
#: The drill waits this many seconds for the right moment. A rebalance after a kill may begin only
#: when the session times out.
MOMENT_S: Final = 20.0
POLL_S: Final = 0.02


def plan_faults(n_kills: int, rng: random.Random) -> list[tuple[Moment, AppName]]:
    """Return the moments and the apps of the faults, in seeded order.

    Kills and pauses take the apps in turn. The first pause is of a sequencer, because the broker
    fences its writes.
    """
    moments: list[Moment] = [MOMENTS[i] if i < len(MOMENTS) else "any" for i in range(n_kills)]
    moments += ["zombie"] * max(1, n_kills // KILLS_PER_ZOMBIE)
    rng.shuffle(moments)
    first = rng.randrange(len(APP_NAMES))
    kills, pauses = itertools.cycle(APP_NAMES[first:] + APP_NAMES[:first]), itertools.cycle(APP_NAMES)
    return [(moment, next(pauses if moment == "zombie" else kills)) for moment in moments]


async def script(drill: Drill) -> None:
    """Cause the faults of the plan, each when all is well again."""
    drill.extra["moments_not_met"] = 0
    for moment, app in plan_faults(drill.plan.kills, drill.rng):
        await asyncio.sleep(drill.rng.uniform(*PAUSE_S))
        victim = drill.rng.choice(drill.cluster.of_app(app))
        others = [worker for worker in drill.cluster.of_app(app) if worker is not victim]
        async with drill.fault(f"{moment} {victim.label}") as fault:
            if not await _strike(drill, moment, victim, drill.rng.choice(others) if others else victim):
                fault.name += " (moment not met)"
                drill.extra["moments_not_met"] += 1


async def _strike(drill: Drill, moment: Moment, victim: DrillWorker, other: DrillWorker) -> bool:
    """Cause one fault; return whether it came at its moment."""
    cluster = drill.cluster
    if moment == "zombie":
        await _pause_at_work(drill, victim)
        return True
    first_pid = victim.pid
    cluster.kill(victim)
    if moment == "start":  # another worker dies while this one starts
        met = await _until(lambda: _is_started(victim, first_pid))
        cluster.kill(other)
        return met
    if moment == "recovery":  # the same worker dies again before it is ready
        met = await _until(lambda: _is_recovering(victim, first_pid))
        cluster.kill(victim)
        return met
    if moment == "rebalance":  # another worker dies while it takes over
        met = other is not victim and await _until(lambda: _is_unready(other))
        cluster.kill(other)
        return met
    return True


async def _pause_at_work(drill: Drill, worker: DrillWorker) -> None:
    """Pause a worker during a burst, when it holds batches that it will try to write later."""
    drill.load.rate_per_s = BURST_PER_S
    try:
        await asyncio.sleep(drill.rng.uniform(*BURST_S))
        worker.pause()
    finally:
        drill.load.rate_per_s = drill.plan.rate_per_s
    await pause(worker, drill.rng.uniform(*ZOMBIE_S))


async def pause(worker: DrillWorker, seconds: float) -> None:
    """Pause a worker for longer than its session, then let it continue: it is a zombie."""
    worker.pause()
    try:
        await asyncio.sleep(seconds)
    finally:
        worker.resume()


async def _until(condition: Callable[[], Awaitable[bool]]) -> bool:
    deadline = time.monotonic() + MOMENT_S
    while time.monotonic() < deadline:
        if await condition():
            return True
        await asyncio.sleep(POLL_S)
    return False


async def _is_started(worker: DrillWorker, before: int | None) -> bool:
    return worker.is_running and worker.pid != before


async def _is_recovering(worker: DrillWorker, before: int | None) -> bool:
    """Whether a restarted worker serves its pages and is not ready, because it reads its state."""
    return await _is_started(worker, before) and await asyncio.to_thread(worker.answers) and not await is_ready(worker)


async def _is_unready(worker: DrillWorker) -> bool:
    return worker.is_running and not await is_ready(worker)


KIND: Final = Kind(script)
