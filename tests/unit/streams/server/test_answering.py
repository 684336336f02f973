"""A server reads announcements once commands know of it; nothing connects to a broker."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from streams.server import answering
from streams.server.answering import Membership
from streams.settings.load import Settings


def test_announcements_are_read_once_the_server_is_a_member() -> None:
    """The broker gives the id of a member before it lets the member in."""

    async def run() -> None:
        membership, begun = Membership(Settings()), asyncio.Event()

        async def job() -> None:
            begun.set()

        waiting = asyncio.ensure_future(membership.before(job))
        membership._note(SimpleNamespace(generation=-1, member_id="m"))  # noqa: SLF001
        await asyncio.sleep(0)
        assert not begun.is_set() and membership.member_id == ""
        membership._note(SimpleNamespace(generation=1, member_id="m"))  # noqa: SLF001
        await waiting
        assert begun.is_set() and membership.member_id == "m"

    asyncio.run(run())


def test_a_server_that_is_not_let_in_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so: commands do not wait for it."""
    monkeypatch.setattr(answering, "JOINED_WITHIN_S", 0.01)
    monkeypatch.setattr(answering, "JOINED_WITHIN_SESSIONS", 0)

    async def run() -> None:
        begun = asyncio.Event()

        async def job() -> None:
            begun.set()

        await asyncio.wait_for(Membership(Settings()).before(job), 5)
        assert begun.is_set()

    asyncio.run(run())
