"""The report of a drill: the verdict, the lists that came, and the downtime of each fault.

The report does not judge downtimes, lag and the sizes of stores: the reader decides how long is too
long.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from streams.printable import counted
from tools.drills.events import Sort
from tools.drills.judging.verdict import Verdict

if TYPE_CHECKING:
    from tools.drills.session import Drill, Fault


#: Sorts of events that the sequencer may accept. It accepts an event beyond the allowed lateness
#: when that is the first event of its user.
ACCEPTABLE: Final[tuple[Sort, ...]] = ("new", "late-inserted", "late-dropped")


def report_of(drill: Drill, verdict: Verdict) -> dict[str, Any]:
    """Return the report of a finished drill."""
    ledger, plan = drill.observer.ledger, drill.plan
    problems = [*verdict.problems(), *n_sent_problems(verdict, drill.load.n_sent), *drill.found]
    if plan.log is None:
        problems += sort_problems(verdict, drill.load.source.sent)
    if ledger.n_duplicate:
        problems.append(f"duplicate_lists {ledger.n_duplicate}")
    if ledger.n_malformed:
        problems.append(f"malformed lists {ledger.n_malformed}")
    if not plan.needs.workers_may_end:
        problems += [f"ended by itself: {line}" for line in drill.cluster.unexpected]
    return {
        "kind": plan.kind,
        "seed": plan.seed,
        "workers": plan.n_workers,
        "store": plan.store,
        "rate": plan.rate_per_s,
        **verdict.as_dict(),
        "sent": drill.load.n_sent,
        "lists": ledger.n_lists,
        "repeated_lists": ledger.n_repeated,
        "duplicate_lists": ledger.n_duplicate,
        "degraded_lists": ledger.n_degraded,
        "downtime_s": downtime(drill.faults),
        "faults": [vars(fault) for fault in drill.faults],
        "restarts": drill.cluster.n_restarts,
        "ended_by_themselves": drill.cluster.ended,
        **drill.extra,
        "problems": problems,
    }


def n_sent_problems(verdict: Verdict, n_sent: int) -> list[str]:
    """Return a line when the topic holds fewer events than the broker acknowledged."""
    if verdict.events >= n_sent:
        return []
    return [f"lost before the sequencer: {counted(n_sent, 'event')} acknowledged, {verdict.events} on the topic"]


def sort_problems(verdict: Verdict, sent: Mapping[Sort, int]) -> list[str]:
    """Return where the oracle's counts contradict the sorts of the events that were sent.

    The oracle shares its functions with the workers, and so could share an error of theirs.
    """
    most = sum(sent.get(sort, 0) for sort in ACCEPTABLE)
    found = []
    if verdict.accepted > most:
        found.append(f"accepted {verdict.accepted}, but only {most} events sent could be")
    least = sent.get("malformed", 0)
    if verdict.rejected + verdict.forgotten < least:
        found.append(f"rejected {verdict.rejected}, but {least} malformed events sent")
    return found


def downtime(faults: list[Fault]) -> dict[str, Any]:
    """Return maximum, median and each fault's longest pause, in seconds."""
    each = [fault.downtime_s for fault in faults]
    return {
        "max": max(each, default=None),
        "median": round(statistics.median(each), 2) if each else None,
        "each": each,
    }
