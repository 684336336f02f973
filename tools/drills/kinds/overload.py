"""``headrace drill overload``: ten times the load that workers sustain, most of it of two users.

One machine cannot publish ten times the events that it can process. So the drill slows the model
after the prefill. The workers then sustain the number of full lists that they make a second while
all are busy.

Newer windows replace the waiting ones of a user. How long other users may wait then follows from
this alone (:func:`~tools.drills.judging.freshness.superseding_wait_s`). They wait longer where the
recommender keeps all windows of the hot user, serves the hot user first, or makes lists for which
nobody waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.contract.kafka_records import OutRecord
from streams.printable import counted
from tools.drills.events import shares_of_users
from tools.drills.faulty_model import Fault, write_fault
from tools.drills.judging.freshness import Arrival, busiest_minute, freshness_ms, superseding_wait_s
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.resource_watch import watching
from tools.drills.session import NEAR_S, Drill

HOT_USER: Final = "hot"
CRAWLER: Final = "crawler"
HOT_SHARE: Final = 0.5
CRAWLER_PER_MINUTE: Final = 5_000
FACTOR: Final = 10.0
#: With a higher rate the processors would be the bottleneck, and not the model.
MAX_RATE_PER_S: Final = 4_000.0
#: Share of the wanted rate that the drill must publish.
MIN_ACHIEVED: Final = 0.9
MAX_GROWTH_MB: Final = 500.0
#: A user may get so many times the lists of the setting in a minute: arrivals jitter, and a
#: restarted worker forgets.
RATE_SLACK: Final = 1.1
#: Limit of the age of other users' lists after the overload, in milliseconds.
OTHERS_P99_MS: Final = 5_000.0
#: During the overload the limit is this many times the computed wait, because the model's speed
#: varies, or the limit above where that is longer.
WAIT_SLACK: Final = 1.25
RECOVERY_S: Final = 20.0


async def script(drill: Drill) -> None:
    """Overload for ``--minutes``, then return to the normal rate until all is well again."""
    prefilled = drill.plan.n_users / drill.prefill_s
    rate = min(FACTOR * prefilled, MAX_RATE_PER_S)
    slowdown = FACTOR * prefilled / rate
    drill.say(f"workers made {prefilled:,.0f} lists/s; model {slowdown:.1f} times slower, {rate:,.0f} events/s")
    drill.observer.keeps_arrivals = True
    async with watching(drill) as watch:
        await asyncio.sleep(1.0)
        write_fault(drill.fault_file, Fault("slow", factor=slowdown))
        drill.load.make, drill.load.rate_per_s = mixed(drill, rate), rate
        n_before, began = drill.load.n_sent, time.monotonic()
        await asyncio.sleep(60 * drill.plan.minutes)
        ended = time.monotonic()
        achieved = (drill.load.n_sent - n_before) / (ended - began)
        drill.load.make, drill.load.rate_per_s = drill.load.source.next, drill.plan.rate_per_s
        write_fault(drill.fault_file, Fault())
        recovery_s = await drill.come_near_the_end()
        await asyncio.sleep(NEAR_S + RECOVERY_S)
    arrivals = drill.observer.arrivals
    during = [a for a in arrivals if began <= a.at_s < ended]
    well_s = ended + recovery_s + NEAR_S  # before, a list may be as old as an uncommitted event
    after = [a for a in arrivals if a.at_s >= well_s]
    report = overload_report(during, after, achieved, ended - began, drill.plan.n_users)
    drill.extra |= (
        report | {"recovery_s": round(recovery_s, 1), "growth_mb": watch.growth_mb(began)} | watch.report(0.0)
    )
    if achieved < MIN_ACHIEVED * rate:
        drill.found.append(f"overload: {achieved:.0f} events/s published, must be {MIN_ACHIEVED:g} of {rate:.0f}")
    if report["overload_factor"] < FACTOR:
        drill.extra["overload_note"] = (
            f"less than {FACTOR:g} times what the workers sustain: raise --users or --minutes"
        )
    drill.found += wrong(drill.extra, drill.settings.recommender.lists_per_minute)


def overload_report(
    during: Sequence[Arrival], after: Sequence[Arrival], events_per_s: float, seconds: float, n_users: int
) -> dict[str, Any]:
    """Return the figures of an overload of ``events_per_s`` that lasted for ``seconds``."""
    both = (HOT_USER, CRAWLER)
    full = [a for a in during if not a.is_provisional]
    sustained = len(full) / seconds
    others_per_s = sum(a.user_id not in both for a in full) / seconds
    others_events_per_s = events_per_s * (1 - HOT_SHARE) - CRAWLER_PER_MINUTE / 60
    wait_s = superseding_wait_s(max(0.0, others_events_per_s), shares_of_users(n_users), max(others_per_s, 1 / seconds))
    return {
        "sustained_per_s": round(sustained),
        "overload_per_s": round(events_per_s),
        "overload_factor": round(events_per_s / max(sustained, 1 / seconds), 1),
        "superseding_wait_s": round(wait_s, 1),
        "others_freshness_ms": freshness_ms(full, both),
        "others_first_list_ms": freshness_ms(during, both),
        "recovered_freshness_ms": freshness_ms(after, both),
        "crawler_lists_per_minute": busiest_minute(during, CRAWLER),
        "hot_lists_per_minute": busiest_minute(during, HOT_USER),
    }


def mixed(drill: Drill, rate_per_s: float) -> Callable[[int], OutRecord]:
    """Return the function that makes the events of the overload, given the time in milliseconds."""
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


def wrong(report: dict[str, Any], lists_per_minute: int) -> list[str]:
    """Return the limits that the overload broke, one line each."""
    found = []
    for name in ("crawler", "hot"):
        n_lists = report[f"{name}_lists_per_minute"]
        if n_lists > RATE_SLACK * lists_per_minute:
            found.append(f"{name}: {counted(n_lists, 'list')} in a minute, limit {lists_per_minute} (lists_per_minute)")
    for label, grown in report["growth_mb"].items():
        if grown > MAX_GROWTH_MB:
            found.append(f"{label}: memory grew by {grown} MB, limit {MAX_GROWTH_MB:g}")
    within_ms = max(OTHERS_P99_MS, WAIT_SLACK * 1000 * report["superseding_wait_s"])
    limits = {"during": ("others_freshness_ms", within_ms), "after": ("recovered_freshness_ms", OTHERS_P99_MS)}
    for when, (name, limit_ms) in limits.items():
        p99 = report[name]["p99"]
        if p99 is None or p99 > limit_ms:
            found.append(f"freshness of others {when} the overload: p99 {p99} ms, limit {limit_ms:g}")
    return found


KIND: Final = Kind(script, Needs(model_faults=True))
