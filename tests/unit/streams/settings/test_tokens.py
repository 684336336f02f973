"""A provider keeps a token until shortly before its end, for every thread and event loop."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from streams.settings import tokens
from streams.settings.tokens import Token, TokenError, TokenProvider


def test_a_token_is_renewed_before_its_end_and_serves_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is away for a while costs nothing while the present token is good."""
    now = [0.0]
    monkeypatch.setattr("streams.settings.tokens.time.monotonic", lambda: now[0])
    given: list[Token | TokenError] = [Token("a", 1000.0), TokenError("away"), Token("b", 100.0), TokenError("away")]

    def fetch() -> Token:
        found = given.pop(0)
        if isinstance(found, TokenError):
            raise found
        return found

    provider = TokenProvider("s", fetch)
    seen = []
    for moment in (0.0, 939.0, 941.0, 950.0, 1029.0):
        now[0] = moment
        seen.append(provider.current())
    assert seen == ["a", "a", "a", "b", "b"]
    now[0] = 1051.0
    with pytest.raises(TokenError, match="away"):
        provider.current()


def test_threads_with_loops_of_their_own_share_one_fetch() -> None:
    """Faust's consumer runs beside the main loop; neither loop stands still meanwhile."""
    calls: list[int] = []
    ticks: list[int] = []

    def fetch() -> Token:
        calls.append(1)
        time.sleep(0.3)
        return Token("t", 900.0)

    provider = TokenProvider("s", fetch)

    async def ask() -> str:
        asked = asyncio.create_task(provider.token())
        while not asked.done():
            ticks.append(1)
            await asyncio.sleep(0.01)
        return await asked

    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(ask()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert (found, len(calls)) == (["t"] * 4, 1)
    assert len(ticks) > 20


def test_a_source_that_hangs_costs_a_bounded_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets an error that it treats like an absent broker."""
    monkeypatch.setattr(tokens, "FETCH_TIMEOUT_S", 0.1)
    free = threading.Event()

    def fetch() -> Token:
        free.wait(10.0)
        return Token("t", 900.0)

    async def ask() -> None:
        try:
            await TokenProvider("s", fetch).token()
        finally:
            free.set()

    with pytest.raises(TokenError, match="s: no token within 0.1 s"):
        asyncio.run(ask())
