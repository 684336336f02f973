"""The consumer's rule: which lists on ``recommendations`` are news.

Delivery is at least once, and a provisional list may come before the full one of the same window. A
consumer that takes only news sees the effect of exactly-once delivery: see
``docs/contract/consuming.md``.
"""

from __future__ import annotations

from streams.contract.records import Recommendation


class LatestLists:
    """Remembers how new each user's last accepted list was. For one thread.

    It takes some hundred bytes per user.
    """

    def __init__(self) -> None:
        self._accepted: dict[str, tuple[int, bool]] = {}

    def accept(self, recommendation: Recommendation) -> bool:
        """Return whether a list is news, and remember it if so.

        A list is news when its ``(revision, not provisional)`` is greater than that of the user's
        last accepted list. So a later window is always news, and so is the full list after the
        provisional one of the same window. Repeats are no news, in whatever order they come.
        """
        rank = (recommendation.revision, not recommendation.provisional)
        if rank <= self._accepted.get(recommendation.user_id, (-1, False)):
            return False
        self._accepted[recommendation.user_id] = rank
        return True
