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
#: Of each user at most this share of the events is kept from the fit for more questions.
MORE_SHARE: Final = 0.25


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


def cut(log: Interactions, how: Cut, seed: int, least: int = 0) -> Slices:
    """Cut a log.

    ``time`` is the situation of serving: fitted to the past, judged on later events. ``last`` keeps
    back the last event of each user with at least three, as leave-one-out protocols do; some fitted
    events are then later than those judged. Only positive events are judged and teach fusion.

    Parameters
    ----------
    least : with ``last``, a log of few users keeps back more of their last events, until there are
        so many questions or :data:`MORE_SHARE` of each user's events are kept back
    """
    n, wishes = len(log), np.flatnonzero(log.is_positive)
    if how == "time":
        n_fit, n_fusion = int(FIT_SHARE * n), int((FIT_SHARE + FUSION_SHARE) * n)
        bounds = np.searchsorted(wishes, [n_fit, n_fusion])
        return Slices(np.arange(n) < n_fit, *np.split(wishes, bounds)[1:])
    n_of = np.bincount(log.users[wishes], minlength=len(log.user_ids))
    askers = np.flatnonzero(n_of >= MIN_EVENTS_LAST)
    n_back = np.zeros_like(n_of)
    most = max(-(-least // max(len(askers), 1)), 1)
    n_back[askers] = np.clip((MORE_SHARE * n_of[askers]).astype(np.int64), 1, most)
    order = wishes[np.argsort(log.users[wishes], kind="stable")]  # by user, then by time
    users = log.users[order]
    from_end = np.searchsorted(users, users, side="right") - np.arange(len(users))
    positions = np.sort(order[from_end <= n_back[users]])
    is_fusion = np.zeros(len(n_of), dtype=np.bool_)
    is_fusion[askers] = np.random.default_rng(seed).random(len(askers)) < FUSION_USERS
    fit = np.ones(n, dtype=np.bool_)
    fit[positions] = False
    of_fusion = is_fusion[log.users[positions]]
    return Slices(fit, positions[of_fusion], positions[~of_fusion])
