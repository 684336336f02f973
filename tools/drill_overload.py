"""``headrace drill overload``: ten times the load that the workers sustain, most of it from a hot user and a crawler.

One machine cannot publish ten times what it can work off; therefore the model is slowed, and the workers sustain less.

What others may wait then follows from superseding alone: each user waits once, in order of arrival, hence for one list of everybody else
at most. That is a *round*, all users over the lists that the workers sustain a second. Were a hot user's windows not superseded, or taken
before the others', the wait would grow as long as the overload lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from streams.batches import OutRecord
from streams.records import Recommendation
from tools.demo import quantile
from tools.drill_faults import Fault, write_fault
from tools.drill_run import Drill, Plan
from tools.drill_watch import Watch

HOT_USER: Final = "hot"
CRAWLER: Final = "crawler"
HOT_SHARE: Final = 0.5
CRAWLER_PER_MINUTE: Final = 5_000
FACTOR: Final = 10.0
#: The model takes so many times as long.
MODEL_SLOWDOWN: Final = 5.0
#: More than this the drill's own process cannot publish beside the workers.
MAX_RATE_PER_S: Final = 10_000.0
#: Of the wanted rate, so much must have been published.
MIN_ACHIEVED: Final = 0.9
MAX_GROWTH_MB: Final = 500.0
#: Lists of one user within a minute may be above the setting by this factor: arrivals jitter, and a restart forgets.
RATE_SLACK: Final = 1.1
#: Lists of other users come this fast after the overload, in milliseconds; during it within a round and a half, if that is longer.
OTHERS_P99_MS: Final = 5_000.0
ROUNDS: Final = 1.5
RECOVERY_S: Final = 20.0
#: Late events' own time is up to hours ago: their lists say nothing about freshness. Nobody waits as long as this.
LATE_MS: Final = 600_000


def adapt(plan: Plan) -> Plan:
    """Return the plan with a model that can be slowed."""
    return replace(plan, has_model_faults=True)


def prepare(drill: Drill) -> None:
    """Slow the model before the prefill, which measures what the workers sustain."""
    write_fault(drill.fault_file, Fault("slow", factor=MODEL_SLOWDOWN))


async def script(drill: Drill) -> None:
    """Overload for ``--minutes``, then go back to the normal rate and see whether all is well again."""
    sustained = drill.plan.n_users / drill.prefill_s
    rate = min(FACTOR * sustained, MAX_RATE_PER_S)
    drill.say(f"workers sustain about {sustained:,.0f} events/s; overload with {rate:,.0f}")
    watch = Watch(drill)
    watching = asyncio.create_task(watch.run())
    drill.observer.keeps_arrivals = True
    started = time.monotonic()
    try:
        await asyncio.sleep(1.0)
        drill.load.make, drill.load.rate_per_s = mixed(drill, rate), rate
        n_before, began = drill.load.n_sent, time.monotonic()
        await asyncio.sleep(60 * drill.plan.minutes)
        achieved = (drill.load.n_sent - n_before) / (time.monotonic() - began)
        drill.load.make, drill.load.rate_per_s = drill.load.source.next, drill.plan.rate_per_s
        write_fault(
            drill.fault_file, Fault()
        )  # slowed, and with full windows, the model does not sustain the normal rate
        ended = time.monotonic()
        recovery_s = await drill.come_near_the_end()
        await asyncio.sleep(RECOVERY_S)
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
    arrivals = drill.observer.arrivals
    during = [(at, made) for at, made in arrivals if started <= at < ended]
    after = [(at, made) for at, made in arrivals if at >= ended + recovery_s]
    drill.extra |= {
        "sustained_per_s": round(sustained),
        "round_s": round(drill.plan.n_users / sustained, 1),
        "overload_per_s": round(achieved),
        "recovery_s": round(recovery_s, 1),
        "others_freshness_ms": freshness_ms(during),
        "recovered_freshness_ms": freshness_ms(after),
        "crawler_lists_per_minute": busiest_minute(during, CRAWLER),
        "hot_lists_per_minute": busiest_minute(during, HOT_USER),
        "growth_mb": watch.growth_mb(started + 1.0),
    } | watch.report(0.0)
    drill.extra["overload_factor"] = round(achieved / sustained, 1)
    if rate < FACTOR * sustained:
        drill.extra["overload_note"] = (
            f"the generator's limit of {MAX_RATE_PER_S:g} events/s is below {FACTOR:g} times what the workers sustain"
        )
    elif achieved < MIN_ACHIEVED * rate:
        drill.found.append(f"overload: {achieved:.0f} events/s published, must be {MIN_ACHIEVED:g} of {rate:.0f}")
    drill.found += wrong(drill.extra, drill.settings.recommender.lists_per_minute)


def mixed(drill: Drill, rate_per_s: float) -> Callable[[int], OutRecord]:
    """Return what makes the events of the overload: of the hot user, the crawler, and all others as always."""
    crawler_share = CRAWLER_PER_MINUTE / 60 / rate_per_s
    source = drill.load.source

    def make(now_ms: int) -> OutRecord:
        draw = drill.rng.random()
        if draw < HOT_SHARE:
            return source.of_user(HOT_USER, now_ms)
        if draw < HOT_SHARE + crawler_share:
            return source.of_user(CRAWLER, now_ms)
        return source.next(now_ms)

    return make


Arrivals = Sequence[tuple[float, Recommendation]]


def freshness_ms(arrivals: Arrivals) -> dict[str, float | None]:
    """Return how long after their event the lists of other users were made: median and 99th percentile, in milliseconds.

    Lists of late events are left out, for those events are old when they come.
    """
    others = [made for _, made in arrivals if made.user_id not in (HOT_USER, CRAWLER)]
    ages = [float(made.produced_ts - made.event_ts) for made in others if made.produced_ts - made.event_ts < LATE_MS]
    return {"p50": quantile(ages, 50), "p99": quantile(ages, 99), "n": float(len(ages))}


def busiest_minute(arrivals: Arrivals, user_id: str) -> int:
    """Return the most lists of one user within any 60 seconds."""
    recent: deque[float] = deque()
    most = 0
    for at, made in arrivals:
        if made.user_id != user_id:
            continue
        recent.append(at)
        while recent[0] <= at - 60.0:
            recent.popleft()
        most = max(most, len(recent))
    return most


def wrong(report: dict[str, Any], lists_per_minute: int) -> list[str]:
    """Return which bounds the overload broke, one line each."""
    found = []
    for name in ("crawler", "hot"):
        n_lists = report[f"{name}_lists_per_minute"]
        if n_lists > RATE_SLACK * lists_per_minute:
            found.append(f"{name}: {n_lists} lists in a minute, limit {lists_per_minute} (lists_per_minute)")
    for label, grown in report["growth_mb"].items():
        if grown > MAX_GROWTH_MB:
            found.append(f"{label}: memory grew by {grown} MB, limit {MAX_GROWTH_MB:g}")
    within_ms = max(OTHERS_P99_MS, ROUNDS * 1000 * report["round_s"])
    limits = {"during": ("others_freshness_ms", within_ms), "after": ("recovered_freshness_ms", OTHERS_P99_MS)}
    for when, (name, limit_ms) in limits.items():
        p99 = report[name]["p99"]
        if p99 is None or p99 > limit_ms:
            found.append(f"freshness of others {when} the overload: p99 {p99} ms, limit {limit_ms:g}")
    return found
