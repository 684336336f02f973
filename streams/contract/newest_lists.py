"""The consumer's recipe: which of the lists on ``recommendations`` are news.

The topic is delivered at least once, and a provisional list may come before the full one of the same window. Taking only news makes
its effect that of delivery exactly once: see ``docs/contract/consuming.md``.
"""

from __future__ import annotations

from streams.contract.records import Recommendation


class LatestLists:
    """Remembers, per user, how new the last accepted list was; some hundred bytes a user. For one thread."""

    def __init__(self) -> None:
        self._accepted: dict[str, tuple[int, bool]] = {}

    def accept(self, recommendation: Recommendation) -> bool:
        """Tell whether a list is news, and if so remember it: True once per news, whatever is repeated and in whatever order.

        A list is news when ``(revision, not provisional)`` is greater than that of the user's last accepted list: a later window
        always, and for the same window the full list after one that stood in for it.
        """
        rank = (recommendation.revision, not recommendation.provisional)
        if rank <= self._accepted.get(recommendation.user_id, (-1, False)):
            return False
        self._accepted[recommendation.user_id] = rank
        return True
