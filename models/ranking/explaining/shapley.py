"""Shapley values by enumeration: how much each of a few players adds to what all reach together.

Shapley, A Value for n-Person Games, 1953: a player's value is the mean of what it adds, over all
orders in which the players may come. With few players every coalition can be evaluated, so the
values are exact, and they sum to the worth of all players less the worth of none.
"""

from __future__ import annotations

from math import factorial
from typing import Final

import numpy as np

from models.base.types import Bool, Float64, Int64

#: The number of coalitions doubles with each player: 65,536 here.
MAX_PLAYERS: Final = 16


def coalitions(n: int) -> Bool:
    """Return who is in each coalition of ``n`` players, (2 ** n, n) bool; row ``s`` is its bits.

    Raises
    ------
    ValueError
        When there are more than :data:`MAX_PLAYERS`.
    """
    if not 0 <= n <= MAX_PLAYERS:
        raise ValueError(f"{n} players, limit {MAX_PLAYERS}; join some of them")
    members: Bool = (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1
    return members


def shapley_values(worth: Float64) -> Float64:
    """Return the value of each player, (n,) float64.

    Parameters
    ----------
    worth : (2 ** n,) float64, of each coalition, in the order of :func:`coalitions`
    """
    n = len(worth).bit_length() - 1
    members = coalitions(n)
    if len(worth) != len(members):
        raise ValueError(f"{len(worth)} worths, must be a power of 2: one of each coalition")
    sizes: Int64 = members.sum(axis=1)
    share = np.array([factorial(k) * factorial(n - k - 1) / factorial(n) for k in range(n)])
    values = np.zeros(n)
    for player in range(n):
        without = np.flatnonzero(~members[:, player])
        values[player] = share[sizes[without]] @ (worth[without | 1 << player] - worth[without])
    return values
