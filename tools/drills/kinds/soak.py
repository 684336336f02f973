"""``headrace drill soak``: changing load and kills for a long time; memory must not creep.

A process that still grows after the warm-up leaks. So the warm-up contains the worst that follows:
it kills a worker of each app during a burst, and the worker that takes over its partitions grows by
them and by the backlog. The warm-up does so three times, because freed memory leaves holes that
later allocations fill only in part, so that the heap reaches its largest size in steps. Windows are
short in this drill, so that they are full early.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from typing import Final

from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.resource_watch import watching
from tools.drills.session import Drill
from tools.workers.apps import APP_NAMES, AppName

WAVE_S: Final = 60.0
BURST_S: Final = 5.0
BURST_FACTOR: Final = 5.0
PAUSE_S: Final = 10.0
TICK_S: Final = 1.0
#: Phases of a cycle, in order.
CYCLE: Final = ("wave", "burst", "wave", "pause")
#: Mean time between two kills, in seconds.
KILL_EVERY_S: Final = 180.0
#: The drill judges a process that has lived this many seconds after its warm-up. A burst moves
#: memory by 10 MB, which a shorter time would show as a trend.
WARM_UP_S: Final = 180.0
WARM_UP_KILLS: Final = 3
JUDGED_S: Final = 600.0
MAX_SLOPE_MB_PER_MIN: Final = 1.0
MAX_GROWN_FILES: Final = 20
#: Seconds at the beginning and the end of a drill without samples. A shorter soak judges no
#: process.
MARGIN_S: Final = 30.0


#: Short windows.
BOUNDS: Final = {
    "HEADRACE_WINDOW_MAX_EVENTS": "5",
    "HEADRACE_WINDOW_MAX_RECENT": "5",
    "HEADRACE_WINDOW_MAX_SEEN": "5",
}


async def script(drill: Drill) -> None:
    """Run cycles of load until ``--minutes`` are over; report memory, files, lag and stores."""
    end = time.monotonic() + 60 * drill.plan.minutes
    try:
        async with watching(drill) as watch:
            await _cycles(drill, end)
    finally:
        drill.load.rate_per_s = drill.plan.rate_per_s
    report = watch.report(WARM_UP_S)
    drill.extra |= report
    drill.found += creeping(report["lives"])
    unjudged = not_judged(report["lives"])
    if 60 * drill.plan.minutes >= WARM_UP_S + JUDGED_S + MARGIN_S:
        drill.found += unjudged
    elif unjudged:
        drill.extra["soak_note"] = "; ".join(unjudged)


async def _cycles(drill: Drill, end: float) -> None:
    """Warm up, then run cycles of load with kills until ``end``, a time of the monotonic clock."""
    next_kill = time.monotonic() + kill_pause_s(drill.rng)
    for _ in range(WARM_UP_KILLS):
        drill.load.rate_per_s = rate_of("burst", drill.plan.rate_per_s, 0.0)
        for app in APP_NAMES:
            await _kill(drill, [app])
        drill.load.rate_per_s = drill.plan.rate_per_s
        await asyncio.sleep(PAUSE_S)
    while time.monotonic() < end:
        for phase in CYCLE:
            await _phase(drill, phase, end)
        drill.load.rate_per_s = drill.plan.rate_per_s
        if time.monotonic() >= next_kill and time.monotonic() < end:
            await _kill(drill, APP_NAMES)
            next_kill = time.monotonic() + kill_pause_s(drill.rng)


def kill_pause_s(rng: random.Random) -> float:
    """Return the seconds until the next kill."""
    return rng.uniform(0.5, 1.5) * KILL_EVERY_S


Lives = list[dict[str, float | str]]


def creeping(lives: Lives) -> list[str]:
    """Return what is wrong with memory and open files of the processes that can be judged."""
    found = []
    for life in filter(_is_long, lives):
        if float(life["slope_mb_per_min"]) > MAX_SLOPE_MB_PER_MIN:
            slope = life["slope_mb_per_min"]
            found.append(f"{life['worker']}: memory grows by {slope} MB/min, limit {MAX_SLOPE_MB_PER_MIN:g}")
        if float(life["grown_files"]) > MAX_GROWN_FILES:
            found.append(f"{life['worker']}: {life['grown_files']} more open files, limit {MAX_GROWN_FILES}")
    return found


def not_judged(lives: Lives) -> list[str]:
    """Return a line for each app without a process that lived long enough to be judged."""
    judged = {str(life["worker"]).rpartition("-")[0] for life in filter(_is_long, lives)}
    seconds = WARM_UP_S + JUDGED_S
    return [
        f"no {app} lived {seconds:g} s: memory not judged; raise --minutes" for app in APP_NAMES if app not in judged
    ]


def _is_long(life: dict[str, float | str]) -> bool:
    return float(life["seconds"]) >= WARM_UP_S + JUDGED_S


def rate_of(phase: str, rate_per_s: float, at_s: float) -> float:
    """Return the events a second of a phase, ``at_s`` seconds after its beginning.

    A wave goes from half the rate to one and a half times the rate.
    """
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


async def _kill(drill: Drill, apps: Sequence[AppName]) -> None:
    """Kill a worker of the apps, but never the first of an app: its long life is judged."""
    victims = [worker for app in apps for worker in drill.cluster.of_app(app)[1:]]
    if not victims:
        return
    victim = drill.rng.choice(victims)
    async with drill.fault(f"kill {victim.label}"):
        drill.cluster.kill(victim)


KIND: Final = Kind(script, Needs(variables=BOUNDS))
