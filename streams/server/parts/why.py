"""Why an item is in a user's list: the question and the answer.

This module loads no model library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from models.ranking.explaining.answer import Fusion, Needed, Pull, SourcePlace, Step
from models.ranking.explaining.sentences import Language
from streams.contract.records import Recommendation

#: Who reads the answer: an engineer gets every number, a user of the shop a sentence.
Reader = Literal["engineer", "user"]


@dataclass(frozen=True)
class WhyQuestion:
    """Asks why an item is in a user's list, or is not.

    Parameters
    ----------
    n : items of the list
    language : of the sentence for a user of the shop
    """

    user_id: str
    item_id: str
    n: int
    reader: Reader = "engineer"
    language: Language = "en"


class MadeList(msgspec.Struct, omit_defaults=True):
    """The list that an answer explains: the server made it for the question, so no topic has it.

    ``revision`` and ``event_ts`` are those of the user's newest window. ``catalogue_items`` counts
    the items that it could have had, ``behaviours`` those of the window.
    """

    revision: int
    event_ts: int
    produced_ts: int
    artifact: str
    degraded: str
    n_items: int
    catalogue_items: int
    index_generation: int
    behaviours: int
    rules: str = ""


class PushedPlace(msgspec.Struct, omit_defaults=True):
    """The user's pushed list, and the item's place in it; without ``rank`` it is not there.

    It is the explained list where ``revision``, ``artifact`` and ``rules`` are the same, but for
    what became popular since and for followed users.
    """

    list_id: str
    revision: int
    produced_ts: int
    artifact: str
    n_items: int
    rules: str = ""
    rank: int | None = None
    score: float | None = None


class WhyAnswer(msgspec.Struct, omit_defaults=True, rename={"of_list": "list"}):
    """Why an item is in a user's list, or is not.

    ``step`` is ``listed``, or where the item fell out. ``score`` and ``rank`` are those in the
    list; of another candidate those by fusion. The rest is as ``headrace why --json`` gives it.
    An answer for a user of the shop has ``text``, and no numbers but those of ``list`` and
    ``pushed``.
    """

    user_id: str
    item_id: str
    listed: bool
    step: Step
    of_list: MadeList
    pushed: PushedPlace | None = None
    title: str = ""
    text: str = ""
    detail: str = ""
    rank: int | None = None
    score: float | None = None
    because: str | None = None
    because_title: str = ""
    sources: list[SourcePlace] = []
    fusion: Fusion | None = None
    rules: list[dict[str, Any]] = []
    pulled_by: list[Pull] = []
    needed: list[Needed] = []


def place_in(pushed: Recommendation, item_id: str, *, with_numbers: bool) -> PushedPlace:
    """Return a pushed list, and an item's place in it.

    Parameters
    ----------
    with_numbers : whether the answer may have the item's score
    """
    found = next(((rank, one.score) for rank, one in enumerate(pushed.items, 1) if one.item_id == item_id), None)
    return PushedPlace(
        pushed.list_id,
        pushed.revision,
        pushed.produced_ts,
        pushed.artifact,
        len(pushed.items),
        "" if pushed.rules is msgspec.UNSET else pushed.rules,
        None if found is None else found[0],
        None if found is None or not with_numbers else found[1],
    )
