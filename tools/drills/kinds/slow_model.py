"""``headrace drill slow-model``: slows, hangs and crashes the model; lists must go on."""

from __future__ import annotations

import asyncio
import time
from typing import Final, Literal

from streams.printable import counted
from tools.drills.faulty_model import Fault, write_fault
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.resource_watch import watching
from tools.drills.session import Drill

#: Duration of each fault in seconds: longer than ``model_timeout_ms``, shorter than
#: ``model_restart_s``.
LASTS_S: Final = 15.0
SLOW_FACTOR: Final = 100.0
Mode = Literal["slow", "hang", "crash"]
MODES: Final[tuple[Mode, ...]] = ("slow", "hang", "crash")
#: Limit of a recommender's growth in MB while its model is away.
MAX_GROWTH_MB: Final = 300.0
MAX_PENDING_WINDOWS: Final = 2_000
#: Windows of one record batch, by which a recommender may exceed the bound.
BATCH_WINDOWS: Final = 500
PENDING_EVERY_S: Final = 1.0


async def script(drill: Drill) -> None:
    """Disturb the model in each way; lists must go on meanwhile, and full lists must follow."""
    async with watching(drill) as watch:
        await asyncio.sleep(1.0)
        started = time.monotonic()
        for mode in MODES:
            await _disturb(drill, mode)
    drill.extra |= watch.report(0.0)
    grown = watch.growth_mb(started)
    drill.extra["growth_mb"] = grown
    drill.found += [
        f"{label}: memory grew by {mb} MB, limit {MAX_GROWTH_MB:g}" for label, mb in grown.items() if mb > MAX_GROWTH_MB
    ]


async def _disturb(drill: Drill, mode: Mode) -> None:
    ledger = drill.observer.ledger
    async with drill.fault(f"model {mode}"):
        n_lists, n_degraded = ledger.n_lists, ledger.n_degraded
        write_fault(drill.fault_file, Fault(mode, factor=SLOW_FACTOR))
        most_pending = await _most_pending(drill, time.monotonic() + LASTS_S)
        n_lists, n_degraded = ledger.n_lists - n_lists, ledger.n_degraded - n_degraded
        write_fault(drill.fault_file, Fault())
    recovery_s = await drill.come_near_the_end()
    drill.extra[mode] = {
        "lists": n_lists,
        "degraded": n_degraded,
        "pending": most_pending,
        "recovery_s": round(recovery_s, 1),
    }
    if mode != "slow" and not n_degraded:
        drill.found.append(f"model {mode}: no degraded list within {LASTS_S:g} s")
    if not n_lists:
        drill.found.append(f"model {mode}: no list within {LASTS_S:g} s")
    limit = MAX_PENDING_WINDOWS + BATCH_WINDOWS * (1 if mode == "hang" else drill.settings.kafka.partitions)
    if most_pending > limit:
        drill.found.append(f"model {mode}: {counted(most_pending, 'window')} waiting, limit {limit}")


async def _most_pending(drill: Drill, until: float) -> int:
    """Return the most windows that wait at one recommender until a time of the monotonic clock."""
    most = 0
    while (left_s := until - time.monotonic()) > 0:
        await asyncio.sleep(min(PENDING_EVERY_S, left_s))
        most = max([most, *_pending(await drill.cluster.counts())])
    return most


def _pending(pages: dict[str, dict[str, dict[str, int]]]) -> list[int]:
    return [page["values"]["pending_windows"] for page in pages.values() if "pending_windows" in page["values"]]


#: With this bound recommenders pause consumption while the model hangs.
VARIABLES: Final = {"HEADRACE_MAX_PENDING_WINDOWS": str(MAX_PENDING_WINDOWS)}
KIND: Final = Kind(script, Needs(model_faults=True, variables=VARIABLES))
