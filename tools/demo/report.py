"""What a demo shows: its figures, what they say is wrong, and the lists of a few users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from streams.contract.records import Recommendation
from streams.printable import counted
from tools.demo.score import score
from tools.demo.steps import Outcome, Split
from tools.files.logs.log_rows import LogRow
from tools.replay.identity import event_id
from tools.reports.metrics import metric_name
from tools.reports.quantile import quantile
from tools.workers.apps import ENDINGS

#: A demo shows this many users, each with at least so many events, and so many of its events and
#: items.
USERS_SHOWN: Final = 3
MIN_EVENTS: Final = 5
EVENTS_SHOWN: Final = 4
ITEMS_SHOWN: Final = 5
#: What a user does next, with own files.
NEXT_COMMANDS: Final = (
    "headrace init LOG CATALOGUE",
    "headrace train --out .headrace/artifact",
    "headrace up",
)
#: Figures shown as they are.
COUNTS: Final = (
    "events", "live_events", "read", *ENDINGS, "users", "users_with_list", "lists", "lists_scored",
)  # fmt: skip


def report_of(split: Split, outcome: Outcome) -> dict[str, Any]:
    """Return the figures: what became of the events, how good and how fresh the lists are, and how
    long each part took.
    """
    replayed = split.replayed
    live_ids = {event_id(row) for row in split.live}
    is_live = [published.event_id in live_ids for published in outcome.lists]
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
        "live_events": len(split.live),
        "freshness_ms": _quantiles([ms for ms, live in zip(outcome.freshness_ms, is_live, strict=True) if live]),
        "catch_up_ms": _quantiles([ms for ms, live in zip(outcome.freshness_ms, is_live, strict=True) if not live]),
        "train_seconds": outcome.trained["seconds"],
        "flow_seconds": outcome.flow_s,
        "artifact": outcome.trained["artifact"],
    }


def find_problem(report: dict[str, Any]) -> str | None:
    """Return what is wrong with a finished run, in one line, or None."""
    ended = sum(report[name] for name in ENDINGS)
    if ended != report["read"] or report["read"] != report["events"]:
        return f"the counts do not add up: {report['events']} sent, {report['read']} read, {ended} accounted for"
    if report["users_with_list"] != report["users"]:
        missing = counted(report["users"] - report["users_with_list"], "user")
        return f"{missing} with accepted events but without a list"
    return None


def as_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the figures for people, each with its name: how fresh live lists are comes first."""
    live, behind = report["freshness_ms"], report["catch_up_ms"]
    yield ("live: event to list", f"{_ms(live['p50'])} (99 of 100 within {_ms(live['p99'])})")
    for name in COUNTS:
        yield (name.replace("_", " "), f"{report[name]:,}")
    yield ("while catching up: event to list", f"{_ms(behind['p50'])} (99 of 100 within {_ms(behind['p99'])})")
    for metric in ("hr@10", "ndcg@10"):
        popular = report["recent_popularity"][metric]
        yield (metric_name(metric), f"{report[metric]:.4f}  (recent popularity {popular:.4f})")


def explanations(report: dict[str, Any]) -> Iterator[str]:
    """Yield what a reader may wonder about, and how to go on with data of one's own."""
    if report["lists"] < report["accepted"]:
        yield (
            f"{counted(report['lists'], 'list')} for {counted(report['accepted'], 'event')}: while the apps catch up, "
            "newer windows of a user supersede older ones, and only the newest gets a list; it has all events"
        )
    yield "with your own data:"
    yield from (f"  {command}" for command in NEXT_COMMANDS)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"


def _quantiles(values: list[float]) -> dict[str, float | None]:
    return {"p50": quantile(values, 50), "p99": quantile(values, 99)}


def user_lines(rows: Sequence[LogRow], lists: Sequence[Recommendation], titles: dict[str, str]) -> Iterator[str]:
    """Yield the last events and the newest list of a few users, as lines.

    Parameters
    ----------
    rows : the replayed events, in time order
    lists : the published lists, in any order
    titles : of the items, by id
    """
    newest: dict[str, Recommendation] = {}
    for published in lists:
        if published.user_id not in newest or published.revision > newest[published.user_id].revision:
            newest[published.user_id] = published
    histories: dict[str, list[str]] = {}
    for row in rows:
        histories.setdefault(row.user_id, []).append(row.item_id)
    shown = [user for user, items in histories.items() if user in newest and len(items) >= MIN_EVENTS][:USERS_SHOWN]
    for user in shown:
        yield ""
        yield f"user {user} last saw: " + "; ".join(titles.get(item, item) for item in histories[user][-EVENTS_SHOWN:])
        for rank, item in enumerate(newest[user].items[:ITEMS_SHOWN], 1):
            because = f", because of {titles.get(item.because, item.because)}" if item.because else ""
            sources = ", ".join(f"{name} {source.rank}" for name, source in sorted(item.sources.items()))
            yield f"  {rank}. {titles.get(item.item_id, item.item_id)}  p={item.score:.2f} ({sources}{because})"
