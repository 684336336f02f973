"""The report of a drill: its verdict, the lists that were seen, the faults and how long each stopped the flow."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.drill_verdict import Verdict

if TYPE_CHECKING:
    from tools.drill_run import Drill


@dataclass
class Fault:
    """One disturbance; ``downtime_s`` is the longest pause of any partition of ``sequences`` or ``recommendations`` around it."""

    name: str
    downtime_s: float = 0.0
    healthy_s: float = 0.0


def report_of(drill: Drill, verdict: Verdict) -> dict[str, Any]:
    """Return the report of a finished drill."""
    ledger, plan = drill.observer.ledger, drill.plan
    problems = [*verdict.problems(), *drill.found]
    if ledger.n_duplicate:
        problems.append(f"duplicate_lists {ledger.n_duplicate}")
    if ledger.n_malformed:
        problems.append(f"malformed lists {ledger.n_malformed}")
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


def downtime(faults: list[Fault]) -> dict[str, Any]:
    """Return maximum, median and each fault's longest pause, in seconds."""
    each = [fault.downtime_s for fault in faults]
    return {
        "max": max(each, default=None),
        "median": round(statistics.median(each), 2) if each else None,
        "each": each,
    }
