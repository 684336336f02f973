"""Proposes whether items may come back: how often the users of a log return to what they had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from models.rules.repeats import MANY_REPEATS
from tools.init.log_details import LogDetails
from tools.init.profile import as_id, as_text
from tools.init.propose import Part

#: Fewer events after the users' first ones show nothing.
MIN_LATER: Final = 20
#: The policy that is proposed where users often return.
POLICY: Final = "always"


@dataclass(frozen=True)
class Returns:
    """How often users return to items, in the rows that were looked at.

    Parameters
    ----------
    n_later : events after the first one of each user
    n_returns : those of them whose item the user had before
    is_whole : whether the rows are all that the log has
    """

    n_later: int
    n_returns: int
    is_whole: bool

    @property
    def share(self) -> float:
        """The share of later events that are returns."""
        return self.n_returns / self.n_later if self.n_later else 0.0

    @property
    def policy(self) -> str:
        """The policy to propose; empty where the default fits."""
        return POLICY if self.n_later >= MIN_LATER and self.share >= MANY_REPEATS else ""

    def lines(self) -> list[str]:
        """Return the proposal in words; nothing where the default fits."""
        if not self.policy:
            return []
        rows = "" if self.is_whole else " of the rows seen"
        return [
            f"repeats: {self.share:.0%} of the {self.n_later:,} events{rows} after a user's first one are of an item "
            f"that the user had before ({MANY_REPEATS:.0%} or more are many), and lists leave such items out unless "
            f"they were trained otherwise: train with --repeats {self.policy}, or without it to leave them out"
        ]

    def as_object(self) -> dict[str, Any]:
        """Return what was measured and what is proposed, for ``--json``."""
        return {
            "share": self.share,
            "events": self.n_later,
            "is_whole": self.is_whole,
            "proposed": self.policy or "never",
        }


def find_returns(part: Part, details: LogDetails) -> Returns:
    """Return how often the users of a log return to items.

    Only events that are a wish for their item count: no impressions, and nothing that speaks
    against an item. A log without times has no repeats, because its rows may be sums.
    """
    users, items, kinds = (part.column_of(name) for name in ("user_id", "item_id", "type"))
    if users is None or items is None or details.form is None:
        return Returns(0, 0, part.table.is_whole)
    counted = _counted(details)
    types = kinds.values if kinds is not None else [None] * len(users.values)
    pairs = [
        (as_id(as_text(user)), as_id(as_text(item)))
        for user, item, kind in zip(users.values, items.values, types, strict=True)
        if user is not None and item is not None and (kind is None or counted.get(as_text(kind), False))
    ]
    n_later = len(pairs) - len({user for user, _ in pairs})
    return Returns(n_later, len(pairs) - len(set(pairs)), part.table.is_whole)


def _counted(details: LogDetails) -> Mapping[str, bool]:
    """Return whether events of each word of the log are a wish for their item."""
    against = {name for name, one in details.table.items() if one.get("hides") or not one.get("window", True)}
    against |= {name for name, one in details.table.items() if not one.get("positive", True)}
    return {one.word: one.type is not None and one.type not in against for one in details.types}
