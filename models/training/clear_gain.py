"""The choice among settings by a gain for users, where chance must not choose."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Final, TypeVar

import numpy as np

from models.base.types import Bool, Float32

#: A gain is clear where it lies above 0 by more than this many standard errors.
STANDARD_ERRORS: Final = 1.0

Setting = TypeVar("Setting", bound=Hashable)


def clearly_best(gains: Mapping[Setting, Float32], without: Setting) -> Setting:
    """Return the setting with the greatest mean gain; of equals the first.

    ``without`` where the gain is not clear. What half of the users choose is judged by the other
    half: the best of many is better by chance alone for those who chose it.

    Parameters
    ----------
    gains : by setting, (n,) float32, of each user over ``without``
    without : the setting that has no effect
    """
    n = len(gains[without])
    if n < 2:
        return without
    is_first = np.arange(n) % 2 == 0
    gain = np.concatenate([gains[_best(gains, half)][~half] for half in (is_first, ~is_first)])
    return _best(gains, np.ones(n, dtype=np.bool_)) if is_clear(gain) else without


def is_clear(gain: Float32) -> bool:
    """Return whether a mean gain lies above 0 by more than its standard error.

    Parameters
    ----------
    gain : (n,) float32, of each user; not empty
    """
    error = float(gain.std()) / len(gain) ** 0.5
    return bool(gain.mean() > STANDARD_ERRORS * error)


def _best(gains: Mapping[Setting, Float32], users: Bool) -> Setting:
    """Return the setting with the greatest mean gain for some users; of equals the first."""
    return max(gains, key=lambda one: float(gains[one][users].mean()))
