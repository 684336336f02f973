"""Lists as Gorse has them: the pushed list of a user, or the newest items where there is none."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Final

from streams.server.gate.problems import Problem, bad_value
from streams.server.gorse.bodies import Score
from streams.server.lists.answers import Question
from streams.server.lists.shown_items import ShownItems
from streams.server.parts.server import Server

#: Gorse's own default of ``n``.
DEFAULT_N: Final = 10
MAX_N: Final = 10_000
#: Items that are checked against the rules at once.
PIECE: Final = 256
#: The order of the newest items is made anew after so many times of what making it took.
REST: Final = 20.0
_DURATION: Final = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6}(?:\.[0-9]{1,3})?)s)?")


class Latest:
    """The items of a catalogue, the newest first. For one event loop.

    A change of the catalogue is seen at once where it is small. The order of a large catalogue
    takes long to make, and is at most :data:`REST` times as old as that.
    """

    def __init__(self, shown: ShownItems) -> None:
        self._shown = shown
        self._version = -1
        self._again_at_s = 0.0
        self._ids: list[str] = []
        self._making = asyncio.Lock()

    async def items(self, categories: Sequence[str], n: int, offset: int) -> list[Score]:
        """Return shown items of all these categories; the score is the time in seconds."""
        ids = await self._order()
        found: list[Score] = []
        for at in range(0, len(ids), PIECE):
            piece = ids[at : at + PIECE]
            hidden = self._shown.hidden(piece)
            for item_id in piece:
                known = self._shown.get(item_id)
                if known is None or item_id in hidden or not self._is_in_all(item_id, categories):
                    continue
                found.append(Score(item_id, known.published_ms / 1000))
            if len(found) >= offset + n:
                break
            await asyncio.sleep(0)
        return found[offset : offset + n]

    def _is_in_all(self, item_id: str, categories: Sequence[str]) -> bool:
        return all(self._shown.is_in(item_id, category) for category in categories)

    async def _order(self) -> list[str]:
        async with self._making:
            if self._version != self._shown.version and time.monotonic() >= self._again_at_s:
                began_s = time.monotonic()
                self._version = self._shown.version
                self._ids = await asyncio.to_thread(_newest_first, self._shown, list(self._shown))
                self._again_at_s = time.monotonic() + REST * (time.monotonic() - began_s)
        return self._ids


def _newest_first(shown: ShownItems, ids: list[str]) -> list[str]:
    known = {item_id: found for item_id in ids if (found := shown.get(item_id)) is not None}
    return sorted(known, key=lambda item_id: (-known[item_id].published_ms, item_id))


async def recommended(
    server: Server, latest: Latest, user_id: str, *, categories: Sequence[str], n: int, offset: int
) -> list[Score]:
    """Return the items of a user's list in all these categories; the newest ones without a list."""
    server.ready.check()
    try:
        found = await server.lists.answer(Question(user_id))
    except Problem as problem:
        if problem.kind != "no-list":
            raise
        return await latest.items(categories, n, offset)
    scores = [
        Score(item.item_id, item.score)
        for item in found.items
        if all(server.shown.is_in(item.item_id, category) for category in categories)
    ]
    return scores[offset : offset + n]


def check_range(n: int, offset: int) -> None:
    """Raise :class:`Problem` for a number of items out of its range."""
    if not 0 <= n <= MAX_N:
        raise bad_value("n", f"{n}, must be from 0 to {MAX_N}", "ask for fewer items")
    if not 0 <= offset <= MAX_N:
        raise bad_value("offset", f"{offset}, must be from 0 to {MAX_N}", "a list has no more items")


def duration_ms(text: str) -> int:
    """Return a duration as Gorse documents it, ``0h0m0s``.

    Raises
    ------
    Problem
        400 for another text.
    """
    found = _DURATION.fullmatch(text)
    if found is None or (text and not any(found.groups())):
        raise bad_value("write-back-delay", f"{text[:40]!r} is no duration", "write it as 0h10m0s")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return int(1000 * (3600 * hours + 60 * minutes + seconds))
