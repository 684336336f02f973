"""The promotion in ``headrace drill replay``: a finished run becomes live, step by step as ``docs/replaying.md`` tells a user to do it.

::

    load     at rest ─ goes on ───────────────────────────────────────────────────────────
    live               stopped                                       started ─ lists again
    rebuild                   └ --into ─ --promote (told) ─ --promote --yes ┘

While nobody works, the load goes on: ``--into`` copies events that the live sequencer has not read, so there are windows to promote,
and more come after the copy, which the live sequencer must read. The usual verdict then holds all of it against the oracle.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any, Final, Protocol

from tools.cli import RunError
from tools.drill_cluster import APPS
from tools.drill_load import OUTAGE_LIMIT_S, TICK_S, Load

if TYPE_CHECKING:
    from tools.drill_run import Drill

#: No event made for so long means that the load has come to rest, in seconds.
REST_S: Final = 10 * TICK_S
#: Exit code of a promotion that only tells what it would write.
NEEDS_YES: Final = 2


class Replay(Protocol):
    """Runs ``headrace replay``."""

    def __call__(self, *argv: str, may_end_with: int = 0) -> Awaitable[dict[str, Any]]:
        """Return its JSON; raise :class:`RunError` for an exit code that is neither 0 nor ``may_end_with``."""
        ...


@contextlib.asynccontextmanager
async def load_at_rest(load: Load, rest_s: float = REST_S) -> AsyncIterator[None]:
    """Let nothing be published while the block runs: all that was made is acknowledged when it begins.

    Raises
    ------
    RunError
        When the broker does not acknowledge it in time.
    """
    rate_per_s, load.rate_per_s = load.rate_per_s, 0.0
    try:
        deadline = time.monotonic() + OUTAGE_LIMIT_S
        n_before = -1
        while not n_before == load.source.sent.total() == load.n_sent:
            if time.monotonic() > deadline:
                raise RunError(f"load: does not come to rest within {OUTAGE_LIMIT_S:g} s; is the broker overloaded?")
            n_before = load.source.sent.total()
            await asyncio.sleep(rest_s)
        yield
    finally:
        load.rate_per_s = rate_per_s


async def promote(drill: Drill, run: str, replay: Replay) -> None:
    """Promote a run under load; put what it wrote, and how long no windows or lists came, into the report.

    Parameters
    ----------
    run : one that equals the live topics
    """
    async with drill.fault("promotion") as fault:
        await drill.cluster.stop()
        await replay("--into", run, "--from-topic")
        await replay("--promote", run, may_end_with=NEEDS_YES)
        done = await replay("--promote", run, "--yes")
        for name in APPS:
            drill.start_worker(name)
    drill.extra |= {
        "promotion_s": fault.downtime_s,
        "promoted_windows": done["windows"],
        "promoted_vectors": done["vectors"],
        "promoted_beyond": done["beyond"],
    }
    if done["losing"]:
        drill.found.append(f"promotion: {done['losing']} users lose events that their live windows have")
