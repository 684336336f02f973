"""What ``headrace why`` answers: plain data, the same for JSON and for both kinds of readers."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from models.ranking.explaining.answer import Fusion, Needed, Pull, SourcePlace, Step

__all__ = ["Answer", "Known", "ListRef", "Past", "Published", "Recomputed", "Step", "Versions", "Window"]


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
