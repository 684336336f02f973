"""What a long computation tells while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Observer:
    """Callbacks of a training or an evaluation.

    Parameters
    ----------
    on_progress : called with the current step's name, the work done, and its total; the work done
        has a fraction where a unit, such as an epoch, takes long
    on_scalar : called with a curve's name, its value and the step
    """

    on_progress: Callable[[str, float, int], None] = lambda _what, _done, _total: None
    on_scalar: Callable[[str, float, int], None] = lambda _name, _value, _step: None
