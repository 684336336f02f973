"""The consumer's rule: which lists on ``recommendations`` are news.

Delivery is at least once, and a provisional list may come before the full one of the same window. A
consumer that takes only news sees the effect of exactly-once delivery: see
``docs/contract/consuming.md``.
"""

from __future__ import annotations

from typing import Final

from streams.contract.records import Recommendation

#: How new a list is: its revision, its ``users_offset`` or -1, whether it is full, and its
#: ``model_order`` or 0.
Rank = tuple[int, int, bool, int]
#: Before all lists.
NO_LIST: Final[Rank] = (-1, -1, False, 0)


def rank_of(recommendation: Recommendation) -> Rank:
    """Return how new a list is among those of its user."""
    offset = recommendation.users_offset
    return (
        recommendation.revision,
        offset if isinstance(offset, int) else -1,
        not recommendation.provisional,
        recommendation.model_order or 0,
    )


class LatestLists:
    """Remembers how new each user's last accepted list was. For one thread.

    It takes some hundred bytes per user.
    """

    def __init__(self) -> None:
        self._accepted: dict[str, Rank] = {}

    def accept(self, recommendation: Recommendation) -> bool:
        """Return whether a list is news, and remember it if so.

        A list is news when its :func:`rank_of` is greater than that of the user's last accepted
        list. So a later window is always news, then a later record of the user, then the full list
        after the provisional one, and then the list of a model that was announced later. Repeats
        are no news, in whatever order they come.
        """
        rank = rank_of(recommendation)
        if rank <= self._accepted.get(recommendation.user_id, NO_LIST):
            return False
        self._accepted[recommendation.user_id] = rank
        return True

    def forget(self, user_id: str) -> None:
        """Forget a user, as a record without value asks: whatever list comes next is news."""
        self._accepted.pop(user_id, None)
