"""``headrace drill model-swap``: publishes a second artifact under load, and takes it back.

Every list must equal that which the artifact that it names makes of the user's window at that time,
and from the workers' receipts on each list must name the artifact in force.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.artifact.artifact import load_artifact
from streams.contract.records import Recommendation, RecordDecoder
from streams.kafka.topic_reader import read_records
from tools.announcing.models import Swap, publish_artifact, roll_back
from tools.drills.acts.second_artifact import write_second_artifact
from tools.drills.judging.every_list import compare_every_list
from tools.drills.kind import Kind
from tools.drills.plan import Needs
from tools.drills.session import Drill

#: No partition of windows or lists may be silent for longer, in seconds.
MAX_GAP_S: Final = 2.0
#: A rollback must be in force within this time, in seconds.
MAX_ROLLBACK_S: Final = 10.0
TIMEOUT_S: Final = 120.0
#: Load between two swaps, in seconds.
BETWEEN_S: Final = 5.0
#: Swaps there and back.
ROUNDS: Final = 2
DAYS: Final = 30.0


@dataclass(frozen=True)
class Period:
    """From ``from_ms`` to ``to_ms``, in ms since 1970, every list must name ``artifact``."""

    artifact: str
    from_ms: int
    to_ms: int


async def script(drill: Drill) -> None:
    """Swap and roll back under load, then judge every list that was made meanwhile."""
    first = Path(drill.settings.recommender.artifact)
    own = load_artifact(first).version
    second = drill.folder / "second-artifact"
    await asyncio.to_thread(write_second_artifact, first, second)
    drill.artifacts.append(second)
    periods: list[Period] = []
    seconds: list[float] = []
    for number in range(ROUNDS):
        for name in ("publish", "rollback"):
            async with drill.fault(f"{name} {number + 1}") as fault:
                began_s, before_ms = time.monotonic(), _now_ms()
                swap = await _swap(drill, name, second)
                took_s = time.monotonic() - began_s
                if periods:
                    periods[-1] = Period(periods[-1].artifact, periods[-1].from_ms, before_ms)
                periods.append(Period(swap.artifact or own, _in_force_ms(swap), 1 << 62))
                await asyncio.sleep(BETWEEN_S)
            if fault.downtime_s > MAX_GAP_S:
                drill.found.append(f"{fault.name}: no record for {fault.downtime_s:.1f} s, limit {MAX_GAP_S:g} s")
            if name == "rollback":
                seconds.append(round(took_s, 2))
                if took_s > MAX_ROLLBACK_S:
                    drill.found.append(f"{fault.name}: in force after {took_s:.1f} s, limit {MAX_ROLLBACK_S:g} s")
    drill.extra["rollback_s"] = seconds
    async with drill.load.at_rest():
        await drill.catch_up()
        await _judge(drill, periods)
        await _compare(drill)


async def _swap(drill: Drill, name: str, second: Path) -> Swap:
    kafka = drill.settings.kafka
    if name == "publish":
        swap = await publish_artifact(kafka, second, "live", refresh_days=DAYS, timeout_s=TIMEOUT_S)
    else:
        swap = await roll_back(kafka, "live", refresh_days=None, timeout_s=TIMEOUT_S)
    assert swap.answers is not None
    swap.answers.check(swap.what)
    return swap


def _in_force_ms(swap: Swap) -> int:
    """Return when the last worker had the artifact in force."""
    return max((receipt.done_ts for receipt in swap.answers.given), default=0) if swap.answers else 0


async def _judge(drill: Drill, periods: list[Period]) -> None:
    """Compare the artifact that each list names with what was in force when it was made."""
    decoder = RecordDecoder(Recommendation)
    n_wrong = 0
    async for record in read_records(drill.settings.kafka, drill.settings.kafka.topic("recommendations")):
        if record.value is None:
            continue
        made = decoder.decode(record.value)
        in_force = [p.artifact for p in periods if p.from_ms <= made.produced_ts <= p.to_ms]
        n_wrong += bool(in_force) and made.artifact not in in_force
    drill.extra["lists_of_another_artifact"] = n_wrong
    if n_wrong:
        drill.found.append(f"{n_wrong} lists name another artifact than the one in force")


async def _compare(drill: Drill) -> None:
    """Compare each list with that of the artifact that it names."""
    found = await compare_every_list(drill.settings, drill.items, drill.artifacts)
    drill.extra |= {
        "lists_judged": found.n_lists,
        "lists_compared": found.n_compared,
        "lists_without_model": found.n_without_model,
        "lists_unlike_their_artifact": found.n_wrong,
        "lists_of_no_artifact": found.n_strange,
        "lists_of_no_window": found.n_no_window,
    }
    if found.n_wrong or found.n_strange or found.n_no_window:
        drill.found.append(
            f"of {found.n_lists} lists {found.n_wrong} are unlike that of their artifact, "
            f"{found.n_strange} name no artifact of the drill, {found.n_no_window} no window"
        )
    drill.found += found.examples


def _now_ms() -> int:
    return int(time.time() * 1_000)


KIND: Final = Kind(script, Needs(n_users=10_000))
