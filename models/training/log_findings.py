"""What is odd about a log: signs that a column was taken for another, in words with a remedy.

Such a log can be trained on, and the model is worth nothing. :data:`CHECKS` holds the checks; each
looks at one thing and answers in one line.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np

from models.base.types import Int64
from models.interactions import Interactions
from models.rules.repeats import MANY_REPEATS

#: One user with a greater share of the events teaches the model one taste.
GIANT_SHARE: Final = 0.05
#: In a log of few users each of them has a large share: a giant also has so many times the median.
GIANT_TIMES: Final = 4
#: "Each" and "nearly all" of users, items or events: this share, because logs have strays.
NEARLY_ALL: Final = 0.95
DAY_MS: Final = 86_400_000
#: Fewer events show nothing.
MIN_EVENTS: Final = 20
SHOWN_LENGTH: Final = 40


class Facts(NamedTuple):
    """What the checks look at.

    Parameters
    ----------
    per_user, per_item : (n_users,), (n_items,) int64, events of each; 0 for one whose events were
        left out
    has_times : whether the times are those of the events, not made up
    n_mapped : how many types of the log the user mapped to the contract's; 0 without a mapping
    is_repeating : whether the user said which items may come back
    """

    log: Interactions
    per_user: Int64
    per_item: Int64
    has_times: bool
    n_mapped: int
    is_repeating: bool


class Finding(NamedTuple):
    """One odd thing: its name for programs, and a line for people."""

    name: str
    text: str


def _giant_user(facts: Facts) -> str:
    row = int(facts.per_user.argmax())
    most, n = int(facts.per_user[row]), len(facts.log)
    usual = float(np.median(facts.per_user[facts.per_user > 0]))
    if most <= GIANT_SHARE * n or most <= GIANT_TIMES * usual:
        return ""
    return (
        f"user {_shown(facts.log.user_ids[row])} has {most:,} of the {n:,} events ({most / n:.0%}), the median user "
        f"{usual:g}: a bot, or one id for all who are not signed in? leave the events of that user out"
    )


def _users_once(facts: Facts) -> str:
    once, n = _once(facts.per_user)
    if once < NEARLY_ALL * n:
        return ""
    return (
        f"{once:,} of the {n:,} users have one event: there are no sequences to learn from; does user_id hold ids of "
        "events, orders or visits? name the column of the user with --columns user_id=NAME"
    )


def _items_once(facts: Facts) -> str:
    once, n = _once(facts.per_item)
    if once < NEARLY_ALL * n:
        return ""
    return (
        f"{once:,} of the {n:,} items have one event: nothing is learnt of an item from that; does item_id hold ids of "
        "events, orders or offers? name the column of the item with --columns item_id=NAME"
    )


def _one_time(facts: Facts) -> str:
    first, last = int(facts.log.ts_ms.min()), int(facts.log.ts_ms.max())
    if not facts.has_times or first != last:
        return ""
    return (
        f"all {len(facts.log):,} events have the time {_time(first)}: the order of the file is taken for that of the "
        "events; is it the time of the export? name the column of the event's time with --columns ts=NAME"
    )


def _days_only(facts: Facts) -> str:
    ts = facts.log.ts_ms
    if not facts.has_times or ts.min() == ts.max():
        return ""
    times, counts = np.unique(ts % DAY_MS, return_counts=True)
    most = int(counts.max())
    if most < NEARLY_ALL * len(ts) or len(np.unique(ts // DAY_MS)) < 2:
        return ""
    time_of_day = _time(int(times[counts.argmax()]))[11:]
    return (
        f"{most:,} of the {len(ts):,} events are at {time_of_day} of their day: the times are days, and within a day "
        "the order of the file is taken for that of the events; name a column with the full time with --columns ts=NAME"
    )


def _one_type(facts: Facts) -> str:
    kinds = np.unique(facts.log.types)
    if facts.n_mapped < 2 or len(kinds) != 1:
        return ""
    return (
        f"all {len(facts.log):,} events are of the type {facts.log.behaviour(0).type}, and --types maps "
        f"{facts.n_mapped} types: are those of the file written otherwise? compare --types with the column"
    )


def _many_repeats(facts: Facts) -> str:
    share = share_of_repeats(facts.log)
    if facts.is_repeating or not facts.has_times or share < MANY_REPEATS:
        return ""
    return (
        f"{share:.0%} of the events after a user's first one are of an item that the user had before, and lists leave such "
        "items out: train with --repeats always to let them come back, or with --repeats never to be told no more"
    )


def share_of_repeats(log: Interactions) -> float:
    """Return the share of positive events of an item that their user had before.

    A user's first event does not count. 0 where every user has one event.
    """
    wishes = log.wishes()
    n_users = len(np.unique(wishes.users))
    n_pairs = len(np.unique(wishes.users * len(log.item_ids) + wishes.items))
    n_later = len(wishes) - n_users
    return (len(wishes) - n_pairs) / n_later if n_later else 0.0


#: By name, what is looked for; a check returns "" where all is well.
CHECKS: Final[dict[str, Callable[[Facts], str]]] = {
    "giant-user": _giant_user,
    "users-once": _users_once,
    "items-once": _items_once,
    "one-time": _one_time,
    "days-only": _days_only,
    "one-type": _one_type,
    "many-repeats": _many_repeats,
}


def find(log: Interactions, *, has_times: bool = True, n_mapped: int = 0, is_repeating: bool = False) -> list[Finding]:
    """Return what is odd about a log, in the order of :data:`CHECKS`; nothing for a very small log.

    Parameters
    ----------
    has_times : false where the log has no times of its own
    n_mapped : how many types of the log the user mapped to the contract's
    is_repeating : whether the user said which items may come back
    """
    if len(log) < MIN_EVENTS:
        return []
    per_user = np.bincount(log.users, minlength=len(log.user_ids))
    per_item = np.bincount(log.items, minlength=len(log.item_ids))
    facts = Facts(log, per_user, per_item, has_times, n_mapped, is_repeating)
    return [Finding(name, text) for name, check in CHECKS.items() if (text := check(facts))]


def find_no_hits(hit_rate: float | None, n_cases: float) -> list[Finding]:
    """Return what is odd about a model: not one hit in its lists.

    Parameters
    ----------
    hit_rate : HR@10, None where nothing was measured
    """
    if hit_rate is None or hit_rate > 0 or not n_cases:
        return []
    text = (
        f"HR@10 is 0: none of {n_cases:,.0f} next items was in a list of 10; either the log has no order to learn (are "
        "user_id, item_id and ts the right columns?), or users return to items they had, which lists leave out unless "
        "--repeats says otherwise"
    )
    return [Finding("no-hits", text)]


def _once(counts: Int64) -> tuple[int, int]:
    """Return how many occur once, and how many occur."""
    return int((counts == 1).sum()), int((counts > 0).sum())


def _shown(name: str) -> str:
    return repr(name if len(name) <= SHOWN_LENGTH else f"{name[:SHOWN_LENGTH]}...")


def _time(ts_ms: int) -> str:
    """Return a time of UTC as ``2026-11-30 04:00:00``."""
    return datetime.fromtimestamp(ts_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
