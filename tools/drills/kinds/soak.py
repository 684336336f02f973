"""``headrace drill soak``: waves, bursts and pauses of load for a long time, a kill now and then; neither memory nor files may creep.

What still grows after the warm-up is a leak, therefore the warm-up holds the worst that follows: in a burst one worker of each app is
killed, and whoever takes its partitions over grows by them and by the backlog. Three times: what comes and goes leaves holes that
the next time only partly fills, and the heap reaches its high water by steps. Windows are short here, so that they are full early.
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
#: A worker is killed about this often, in seconds.
KILL_EVERY_S: Final = 180.0
#: A process is judged once it has lived this long after warming up: a burst moves memory by 10 MB, which must not pass for a trend.
WARM_UP_S: Final = 180.0
WARM_UP_KILLS: Final = 3
JUDGED_S: Final = 600.0
MAX_SLOPE_MB_PER_MIN: Final = 1.0
MAX_GROWN_FILES: Final = 20
#: A process samples this much later than the drill starts and this much before it ends, in seconds: shorter soaks judge nobody.
MARGIN_S: Final = 30.0


#: Bounds of the windows.
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
    """Warm up, then run cycles of load with a kill now and then until ``end``, a time of the monotonic clock."""
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
    """Return what is wrong with memory and open files of processes that lived long enough to be judged."""
    found = []
    for life in filter(_is_long, lives):
        if float(life["slope_mb_per_min"]) > MAX_SLOPE_MB_PER_MIN:
            slope = life["slope_mb_per_min"]
            found.append(f"{life['worker']}: memory grows by {slope} MB/min, limit {MAX_SLOPE_MB_PER_MIN:g}")
        if float(life["grown_files"]) > MAX_GROWN_FILES:
            found.append(f"{life['worker']}: {life['grown_files']} more open files, limit {MAX_GROWN_FILES}")
    return found


def not_judged(lives: Lives) -> list[str]:
    """Return a line for each app of which no process lived long enough to be judged."""
    judged = {str(life["worker"]).rpartition("-")[0] for life in filter(_is_long, lives)}
    seconds = WARM_UP_S + JUDGED_S
    return [
        f"no {app} lived {seconds:g} s: memory not judged; raise --minutes" for app in APP_NAMES if app not in judged
    ]


def _is_long(life: dict[str, float | str]) -> bool:
    return float(life["seconds"]) >= WARM_UP_S + JUDGED_S


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


async def _kill(drill: Drill, apps: Sequence[AppName]) -> None:
    """Kill any worker of the apps but their first, whose life is long enough to be judged; with one of each, nobody is killed."""
    victims = [worker for app in apps for worker in drill.cluster.of_app(app)[1:]]
    if not victims:
        return
    victim = drill.rng.choice(victims)
    async with drill.fault(f"kill {victim.label}"):
        drill.cluster.kill(victim)


KIND: Final = Kind(script, Needs(variables=BOUNDS))
