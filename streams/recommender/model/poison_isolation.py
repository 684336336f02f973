"""Runs windows through the model, and finds the windows that it cannot take.

A batch that raises, or gives numbers that are not finite, is split until the windows at fault stand
alone. A *probe* then tells whether these windows are at fault or the model as a whole: the probe is
a window without items, which a working model always answers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

WindowT = TypeVar("WindowT")
ListT = TypeVar("ListT")
log = logging.getLogger(__name__)


@dataclass
class Scored(Generic[WindowT, ListT]):
    """What became of a batch. Each of its windows is in one of the three lists.

    Parameters
    ----------
    made : windows with their lists
    poisoned : windows without a usable answer, although the model answers for others
    failed : windows without an answer, because the model answers nothing now
    """

    made: list[tuple[WindowT, ListT]] = field(default_factory=list)
    poisoned: list[WindowT] = field(default_factory=list)
    failed: list[WindowT] = field(default_factory=list)


async def score(
    windows: Sequence[WindowT],
    run: Callable[[list[WindowT]], Awaitable[list[ListT | None]]],
    is_alive: Callable[[], Awaitable[bool]],
) -> Scored[WindowT, ListT]:
    """Return what the model makes of a batch.

    Parameters
    ----------
    run : runs the model; returns one list per window, in order, None for an unusable one; may raise
    is_alive : runs the probe
    """
    scored: Scored[WindowT, ListT] = Scored()
    suspects: list[WindowT] = []
    parts = [list(windows)]
    while parts:
        part = parts.pop()
        bad = await _attempt(part, run, scored)
        if bad and not scored.made and not await is_alive():
            scored.failed = [*bad, *(window for other in parts for window in other), *suspects]
            return scored
        if len(part) == 1:
            suspects += bad
        else:
            parts += _halves(bad)
    for window in suspects:  # try each again, alone: a chance failure is not poison
        scored.poisoned += await _attempt([window], run, scored)
    if scored.poisoned and not await is_alive():
        scored.failed, scored.poisoned = scored.poisoned, []
    return scored


async def _attempt(
    part: list[WindowT],
    run: Callable[[list[WindowT]], Awaitable[list[ListT | None]]],
    scored: Scored[WindowT, ListT],
) -> list[WindowT]:
    """Run a part of a batch; keep the usable lists, return the windows without one."""
    try:
        lists = await run(part)
    except Exception as exc:  # a model may raise anything: smaller parts are tried next
        log.warning("model: %d windows: %s: %s", len(part), type(exc).__name__, str(exc).split("\n")[0][:200])
        return part
    scored.made += [(window, made) for window, made in zip(part, lists, strict=True) if made is not None]
    return [window for window, made in zip(part, lists, strict=True) if made is None]


def _halves(windows: list[WindowT]) -> list[list[WindowT]]:
    middle = len(windows) // 2
    return [part for part in (windows[:middle], windows[middle:]) if part]
