"""The figures of a demo, and whether they show that something is wrong."""

from __future__ import annotations

from typing import Any

from tools.demo.run import Outcome, Split
from tools.demo.score import score
from tools.replay.identity import event_id
from tools.reports.quantile import quantile


def report_of(split: Split, outcome: Outcome) -> dict[str, Any]:
    """Return the figures: what became of the events, how good and how fresh the lists are, how long it took."""
    replayed = split.replayed
    scores = score(split.history, replayed, [event_id(row) for row in replayed], outcome.lists)
    users = {row.user_id for row in replayed}
    return {
        "events": outcome.n_sent,
        **outcome.counts,
        "users": len(users),
        "users_with_list": len(users & {published.user_id for published in outcome.lists}),
        "lists": len(outcome.lists),
        "lists_scored": scores.lists.n,
        **scores.lists.as_dict(),
        "recent_popularity": scores.recent_popularity.as_dict(),
        "freshness_ms": {"p50": quantile(outcome.freshness_ms, 50), "p99": quantile(outcome.freshness_ms, 99)},
        "train_seconds": outcome.trained["seconds"],
        "flow_seconds": outcome.flow_s,
        "artifact": outcome.trained["artifact"],
    }


def find_problem(report: dict[str, Any]) -> str | None:
    """Return what is wrong with a finished run, in one line, or None."""
    ended = sum(report[name] for name in ("accepted", "duplicate", "late", "rejected"))
    if ended != report["read"] or report["read"] != report["events"]:
        return f"the counts do not add up: {report['events']} sent, {report['read']} read, {ended} accounted for"
    if report["users_with_list"] != report["users"]:
        return f"{report['users'] - report['users_with_list']} users with accepted events have no list"
    return None
