"""How often one user may get a list."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class ListRate:
    """At most ``per_minute`` lists per user and minute, ``60 / per_minute`` seconds apart.

    A user who sends thousands of events must not take the model from the others. Only users whose
    last list is younger than the interval are remembered. For one event loop; times are seconds of
    a steady clock.

    Parameters
    ----------
    per_minute : most lists per user and minute, above 0
    """

    def __init__(self, per_minute: float) -> None:
        self._interval_s = 60.0 / per_minute
        self._last_s: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of users remembered."""
        return len(self._last_s)

    def ready_at_s(self, user: Hashable) -> float:
        """Return when the user may have the next list; minus infinity means at once."""
        last_s = self._last_s.get(user)
        return float("-inf") if last_s is None else last_s + self._interval_s

    def note(self, user: Hashable, now_s: float) -> None:
        """Remember that a list of the user is made now; forget users who may have one again."""
        self._last_s.pop(user, None)
        self._last_s[user] = now_s
        while self._last_s and now_s - next(iter(self._last_s.values())) >= self._interval_s:
            self._last_s.popitem(last=False)

    def take_back(self, user: Hashable) -> None:
        """Forget the user's last list: the model failed to make it."""
        self._last_s.pop(user, None)
