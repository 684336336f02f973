"""``headrace drill soak``: waves, bursts and pauses of load for a long time, a kill now and then; memory must not creep."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from typing import Final

from tools.drill_run import Drill
from tools.drill_watch import Watch

WAVE_S: Final = 60.0
BURST_S: Final = 5.0
BURST_FACTOR: Final = 5.0
PAUSE_S: Final = 10.0
TICK_S: Final = 1.0
#: Phases of a cycle, in order.
CYCLE: Final = ("wave", "burst", "wave", "pause")
#: A worker is killed about this often, in seconds.
KILL_EVERY_S: Final = 180.0
#: A process is judged once it has lived this long after warming up.
WARM_UP_S: Final = 120.0
JUDGED_S: Final = 300.0
MAX_SLOPE_MB_PER_MIN: Final = 1.0


async def script(drill: Drill) -> None:
    """Run cycles of load until ``--minutes`` are over; report memory, files, lag and stores."""
    watch = Watch(drill)
    watching = asyncio.create_task(watch.run())
    end = time.monotonic() + 60 * drill.plan.minutes
    next_kill = time.monotonic() + kill_pause_s(drill.rng)
    try:
        while time.monotonic() < end:
            for phase in CYCLE:
                await _phase(drill, phase, end)
            drill.load.rate_per_s = drill.plan.rate_per_s
            if time.monotonic() >= next_kill and time.monotonic() < end:
                await _kill(drill)
                next_kill = time.monotonic() + kill_pause_s(drill.rng)
    finally:
        drill.load.rate_per_s = drill.plan.rate_per_s
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    report = watch.report(WARM_UP_S)
    drill.extra |= report
    drill.found += creeping(report["lives"])


def kill_pause_s(rng: random.Random) -> float:
    """Return the seconds until the next kill."""
    return rng.uniform(0.5, 1.5) * KILL_EVERY_S


def creeping(lives: list[dict[str, float | str]]) -> list[str]:
    """Return what is wrong with the memory of processes that lived long enough to be judged."""
    return [
        f"{life['worker']}: memory grows by {life['slope_mb_per_min']} MB/min, limit {MAX_SLOPE_MB_PER_MIN:g}"
        for life in lives
        if float(life["seconds"]) >= WARM_UP_S + JUDGED_S and float(life["slope_mb_per_min"]) > MAX_SLOPE_MB_PER_MIN
    ]


def rate_of(phase: str, rate_per_s: float, at_s: float) -> float:
    """Return the events a second of a phase, ``at_s`` seconds after its beginning; a wave goes from half to one and a half."""
    if phase == "burst":
        return BURST_FACTOR * rate_per_s
    if phase == "pause":
        return 0.0
    return rate_per_s * (1 + 0.5 * math.sin(2 * math.pi * at_s / WAVE_S))


async def _phase(drill: Drill, phase: str, end: float) -> None:
    lasts_s = {"wave": WAVE_S, "burst": BURST_S, "pause": PAUSE_S}[phase]
    started = time.monotonic()
    while (now := time.monotonic()) < min(end, started + lasts_s):
        drill.load.rate_per_s = rate_of(phase, drill.plan.rate_per_s, now - started)
        await asyncio.sleep(TICK_S)


async def _kill(drill: Drill) -> None:
    victim = drill.rng.choice(drill.cluster.workers)
    async with drill.fault(f"kill {victim.label}"):
        drill.cluster.kill(victim)
