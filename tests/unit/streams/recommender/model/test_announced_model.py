"""An announcement is answered, whatever loading its artifact does, and a newer one goes before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from streams.announcements.follow import Announced
from streams.announcements.receipts import Receipts
from streams.contract.announcements import ModelAnnouncement
from streams.errors import HeadraceError
from streams.health.counters import Metrics
from streams.recommender.model.announced_model import AnnouncedModel, Announcement


class Given:
    """Keeps the receipts that are given."""

    def __init__(self) -> None:
        self.receipts: list[tuple[str, str, str]] = []
        self.in_force: tuple[str | None, str | None] = None, None

    def give(
        self, _kind: str, announcement: str, *, stage: str, detail: str = "",
        artifact: str | None = None, golden: str | None = None,
    ) -> None:  # fmt: skip
        self.in_force = artifact, golden
        self.receipts.append((announcement, stage, detail))

    def answers(self) -> list[tuple[str, str, str]]:
        return [receipt for receipt in self.receipts if receipt[1] != "begun"]


def announced(offset: int, artifact: str = "a") -> Announcement:
    return Announced("live", ModelAnnouncement(1, artifact, f"/{artifact}", "0" * 64, 5, {}), 0, offset)


def model_of(load: Any) -> tuple[AnnouncedModel, Given, Metrics]:
    given, metrics = Given(), Metrics()
    return (
        AnnouncedModel("live", cast(Receipts, given), metrics, load, lambda: "3 of 9 items", lambda: "equal"),
        given,
        metrics,
    )


def test_an_artifact_in_force_is_answered_and_named() -> None:
    async def load(_: Announcement) -> str:
        await asyncio.sleep(0)
        return "a1"

    async def run() -> None:
        model, given, metrics = model_of(load)
        await model.put_in_force(announced(4))
        assert given.receipts == [("live@0.4", "begun", "3 of 9 items"), ("live@0.4", "done", "a1")]
        assert metrics.artifact == "a1" and model.problem == ""

    asyncio.run(run())


@pytest.mark.parametrize(
    "failure", [HeadraceError("no room"), OSError(28, "No space left"), MemoryError(), SystemExit(1)]
)
def test_whatever_loading_raises_leaves_the_present_artifact_and_says_why(failure: BaseException) -> None:
    async def load(_: Announcement) -> str:
        raise failure

    async def run() -> None:
        model, given, metrics = model_of(load)
        model.note_start(None, "a0", "")
        await model.put_in_force(announced(4, "bad"))
        assert [(each[0], each[1]) for each in given.answers()] == [("live@none", "done"), ("live@0.4", "failed")]
        assert str(failure) in given.answers()[1][2]
        assert given.in_force == ("a0", "equal"), "the answer names what lists are made with"
        assert metrics.artifact == "a0" and "artifact bad is not in force" in model.problem
        assert metrics.values["model_swaps_failed"] == 1

    asyncio.run(run())


def test_a_newer_announcement_ends_the_loading_of_an_older_one() -> None:
    """A rollback must not wait until a large catalogue is embedded."""

    async def load(wanted: Announcement) -> str:
        if wanted.offset == 1:
            await asyncio.Event().wait()
        return wanted.record.artifact if wanted.record else "the settings'"

    async def changes() -> AsyncIterator[dict[str, Announcement]]:
        yield {"other": announced(0)}
        yield {"live": announced(1)}
        await asyncio.sleep(0.01)
        yield {"live": Announced("live", None, 0, 2)}
        await asyncio.sleep(0.01)

    async def run() -> None:
        model, given, metrics = model_of(load)
        async with asyncio.timeout(5):
            await model.follow(changes())
        assert given.answers() == [("live@0.2", "done", "the settings'")]
        assert metrics.artifact == "the settings'"

    asyncio.run(run())
