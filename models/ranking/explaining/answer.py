"""The parts of an answer to why an item is in a list, or is not: plain data.

This module loads no model library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec

#: Where an item is, or fell out: what is true of it first on its way into a list.
Step = Literal[
    "listed",
    "unknown",  # items has no record of it, and the artifact does not know it
    "not-yet",  # its first record on items came after the list
    "removed",  # its record was removed before the list
    "withdrawn",  # available is false
    "unpublished",  # published_ts was yet to come
    "expired",  # expires_ts had passed
    "left-out",  # the recommender could not make a vector of its record
    "had",  # in the window, or had before
    "refused",  # the user asked not to see it
    "no-candidate",  # no source brought it
    "outranked",  # a candidate below the last listed one
    "rule",  # a business rule keeps it out
    "recomputed-only",  # the recomputed list has it and the published one has not
    "no-window",  # the topics hold no window of the user any more
]


@dataclass(frozen=True)
class SourcePlace:
    """How a source of candidates places one item.

    Parameters
    ----------
    brought : whether the source brought the item to fusion
    rank : place among the candidates, from 1, as lists show it; None for another item
    score : the source's own score; None where it has none for the item
    place : place among all items that the source could bring, from 1; None where it could not
    n_brought : how many items the source brings
    needed : the score of the last item that it brings; an item with an equal score needs a lower
        row too. None where it brings every item that has a score
    """

    source: str
    brought: bool
    rank: int | None
    score: float | None
    place: int | None
    n_brought: int
    needed: float | None


class Group(msgspec.Struct):
    """What a group of fusion's inputs adds, and what it adds for the last listed item."""

    group: str
    adds: float
    last_listed_adds: float | None
    inputs: dict[str, tuple[float, float]]


class Fusion(msgspec.Struct):
    """How the probability comes about.

    ``logit - baseline`` is the sum of the groups. ``ranked_by`` is ``retrieval`` for an item
    without any event since training: its logit is then ``used_logit``, not the network's. The
    probability is the sigmoid of ``slope * (used_logit - log_total) + offset``.
    """

    ranked_by: Literal["network", "retrieval"]
    logit: float
    baseline: float
    groups: list[Group]
    used_logit: float
    log_total: float
    slope: float
    offset: float
    probability: float
    rank: int
    n_candidates: int


class Pull(msgspec.Struct):
    """A past item, and the score that the item would have had without it; None for no candidate."""

    item_id: str
    title: str | None
    ts: int
    type: str
    score_without: float | None
    change: float


class Needed(msgspec.Struct):
    """What the item would have needed at the step at which it fell out."""

    what: str
    score: float | None = None
    needed: float | None = None
    rank: int | None = None
    source: str | None = None


class Fallen(NamedTuple):
    """A step, what is known of it in an engineer's words, and what would have been needed."""

    step: Step
    detail: str
    needed: list[Needed] = []
