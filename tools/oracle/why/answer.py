"""What ``headrace why`` answers: plain data, the same for JSON and for both kinds of readers."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from models.ranking.explaining.tracing import SourcePlace

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


class ListRef(msgspec.Struct):
    """The list that the answer is about."""

    list_id: str
    partition: int
    offset: int
    revision: int
    event_id: str
    event_offset: int
    event_ts: int
    produced_ts: int
    degraded: str
    provisional: bool
    n_items: int


class Versions(msgspec.Struct):
    """What made the list, and where its artifact was found."""

    artifact: str
    artifact_folder: str
    index_generation: int
    rules: str
    encoder: str
    catalogue_items: int
    items_replaced_since: list[str]


class Past(msgspec.Struct):
    """A behaviour of the window, oldest first."""

    item_id: str
    title: str | None
    type: str
    ts: int
    in_catalogue: bool


class Window(msgspec.Struct):
    """The window behind the list.

    ``origin`` says where it comes from; ``is_of_then`` is false where only a later one is left.
    """

    origin: str
    is_of_then: bool
    revision: int | None
    n_seen: int
    n_hidden: int
    behaviours: list[Past]


class Known(msgspec.Struct):
    """What the list knew of its user beside the window.

    ``users_offset`` is the record on ``users``; ``is_of_then`` is false where that is gone.
    """

    users_offset: int | None
    is_of_then: bool
    features: dict[str, float | str | None]
    n_follows: int


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


class Recomputed(msgspec.Struct):
    """The list made again beside the published one.

    ``greatest_difference`` is that of the scores of items in both; ``equal`` is whether it is at
    most ``tolerance`` and no item is in one of them alone.
    """

    equal: bool
    greatest_difference: float
    tolerance: float
    score: float | None
    rank: int | None
    published_alone: list[str]
    recomputed_alone: list[str]
    popularity: Literal["artifact", "recounted"]
    popularity_difference: float | None
    reasons: list[str]


class Needed(msgspec.Struct):
    """What the item would have needed at the step at which it fell out."""

    what: str
    score: float | None = None
    needed: float | None = None
    rank: int | None = None
    source: str | None = None


class Published(msgspec.Struct):
    """The item as the published list has it."""

    rank: int
    score: float
    sources: dict[str, tuple[int, float]]
    because: str | None
    because_title: str | None


class Answer(msgspec.Struct, rename={"of_list": "list"}):
    """Why an item is in a list, or is not."""

    user_id: str
    item_id: str
    title: str | None
    listed: bool
    step: Step
    detail: str
    of_list: ListRef
    versions: Versions
    window: Window
    known: Known
    published: Published | None
    sources: list[SourcePlace]
    fusion: Fusion | None
    rules: list[dict[str, Any]]
    pulled_by: list[Pull]
    needed: list[Needed]
    recomputed: Recomputed | None
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain objects, for JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found
