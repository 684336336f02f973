"""The promotion in ``headrace drill replay``, by the steps of ``docs/data/replaying.md``.

::

    load     at rest ─ goes on ───────────────────────────────────────────────────────────
    live               stopped                                       started ─ lists again
    rebuild                   └ --into ─ --promote (told) ─ --promote --yes ┘

The load goes on while no worker runs. So ``--into`` copies events that the live sequencer has not
read, and there are windows to promote. Events that come after the copy are read by the live
sequencer. The verdict of the drill then compares all windows and lists with the oracle.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Protocol

from streams.printable import counted
from tools.workers.apps import APP_NAMES

if TYPE_CHECKING:
    from tools.drills.session import Drill

#: Exit code of a promotion that only says what it would write.
NEEDS_YES: Final = 2


class Replay(Protocol):
    """Runs ``headrace replay``."""

    def __call__(self, *argv: str, may_end_with: int = 0) -> Awaitable[dict[str, Any]]:
        """Return its JSON; raise :class:`RunError` for an exit code but 0 and ``may_end_with``."""
        ...


async def promote(drill: Drill, run: str, replay: Replay) -> None:
    """Promote a run under load; report what it wrote, and for how long no windows or lists came.

    Parameters
    ----------
    run : a run that equals the live topics
    """
    async with drill.fault("promotion") as fault:
        await drill.cluster.stop()
        await replay("--into", run, "--from-topic")
        await replay("--promote", run, may_end_with=NEEDS_YES)
        done = await replay("--promote", run, "--yes")
        for name in APP_NAMES:
            drill.start_worker(name)
    drill.extra |= {
        "promotion_s": fault.downtime_s,
        "promoted_windows": done["windows"],
        "promoted_vectors": done["vectors"],
        "promoted_beyond": done["beyond"],
    }
    if done["losing"]:
        drill.found.append(f"promotion: the live windows of {counted(done['losing'], 'user')} lose events")
