"""How training cuts a log: a slice for the parts, a later one for fusion, a third to validate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from models.base.types import Bool, Int64
from models.interactions import Interactions

Cut = Literal["time", "last"]

#: By time: shares of the events for the parts and for fusion; the rest validates.
FIT_SHARE: Final = 0.80
FUSION_SHARE: Final = 0.15
#: By last event: share of the users whose last event goes to fusion; the others validate.
FUSION_USERS: Final = 0.75
MIN_EVENTS_LAST: Final = 3


@dataclass(frozen=True)
class Slices:
    """A log cut in three; no event is in two slices.

    Parameters
    ----------
    fit : (n,) bool, the events that the parts are fitted to
    fusion, validation : positions in the log, rising; each is later than all events of its user in
        ``fit``
    """

    fit: Bool
    fusion: Int64
    validation: Int64


def cut(log: Interactions, how: Cut, seed: int) -> Slices:
    """Cut a log.

    ``time`` is the situation of serving: fitted to the past, judged on later events. ``last`` keeps
    back the last event of each user with at least three, as leave-one-out protocols do; some fitted
    events are then later than those judged. Only positive events are judged and teach fusion.
    """
    n, wishes = len(log), np.flatnonzero(log.is_positive)
    if how == "time":
        n_fit, n_fusion = int(FIT_SHARE * n), int((FIT_SHARE + FUSION_SHARE) * n)
        bounds = np.searchsorted(wishes, [n_fit, n_fusion])
        return Slices(np.arange(n) < n_fit, *np.split(wishes, bounds)[1:])
    last = np.full(len(log.user_ids), -1, dtype=np.int64)
    last[log.users[wishes]] = wishes  # the last write of a user stays
    positions = last[np.bincount(log.users[wishes], minlength=len(last)) >= MIN_EVENTS_LAST]
    is_fusion = np.random.default_rng(seed).random(len(positions)) < FUSION_USERS
    fit = np.ones(n, dtype=np.bool_)
    fit[positions] = False
    return Slices(fit, np.sort(positions[is_fusion]), np.sort(positions[~is_fusion]))
