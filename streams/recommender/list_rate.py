"""How often one user may get a list: a user who sends events by the thousand must not take the model from the others."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class ListRate:
    """At most ``per_minute`` lists per user and minute: between two of them lies at least ``60 / per_minute`` seconds.

    Remembers only users whose last list is younger than that. For one event loop; times are seconds of any steady clock.

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
        """Return when the user may have the next list; at once is minus infinity."""
        last_s = self._last_s.get(user)
        return float("-inf") if last_s is None else last_s + self._interval_s

    def note(self, user: Hashable, now_s: float) -> None:
        """Remember that a list of the user is made now, and forget users who may have one again."""
        self._last_s.pop(user, None)
        self._last_s[user] = now_s
        while self._last_s and now_s - next(iter(self._last_s.values())) >= self._interval_s:
            self._last_s.popitem(last=False)

    def take_back(self, user: Hashable) -> None:
        """Forget the user's last list: it was not made after all."""
        self._last_s.pop(user, None)
