"""The server's model changes between two answers, whatever happens meanwhile; without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.ranking.catalogue import Catalogue
from streams.announcements.follow import Announced
from streams.contract.announcements import ModelAnnouncement
from streams.errors import HeadraceError
from streams.recommender.model.announced_model import Announcement
from streams.server.lists.records import KeptRecords
from streams.server.lists.shown_items import ShownItems
from streams.server.ranking import served_model
from streams.server.ranking.known_users import KnownUsers
from streams.server.ranking.served_model import ServedModel
from streams.settings.load import Settings
from tests.support import tiny_models

pytestmark = pytest.mark.model


class FakeReader:
    """Has one catalogue, and ends slowly."""

    made: list[FakeReader]

    def __init__(self, *_: Any, **__: Any) -> None:
        self.seen = None
        self.ended = asyncio.Event()
        FakeReader.made.append(self)

    async def catalogues(self) -> AsyncGenerator[Catalogue, None]:
        try:
            yield tiny_models.catalogue()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            self.ended.set()


class Given:
    """Keeps the receipts that are given."""

    def __init__(self) -> None:
        self.receipts: list[tuple[str, str, str]] = []

    def give(self, _kind: str, announcement: str, *, stage: str, detail: str = "", **_: Any) -> None:
        if stage != "begun":
            self.receipts.append((announcement, stage, detail))


def announced(offset: int, artifact: str = "good") -> Announcement:
    return Announced("live", ModelAnnouncement(1, artifact, f"/{artifact}", "0" * 64, 5, {}), 0, offset)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[ServedModel, Given]:
    """Return a model that loads whatever is announced but ``bad``."""

    async def load_model(_: Any, __: Any, ___: Any, record: ModelAnnouncement | None, order: int) -> Any:
        if record is not None and record.artifact == "bad":
            raise HeadraceError("no such file")
        return SimpleNamespace(artifact=tiny_models.artifact(), golden="equal", order=order)

    FakeReader.made = []
    monkeypatch.setattr(served_model, "load_model", load_model)
    monkeypatch.setattr(served_model, "CatalogueReader", FakeReader)
    for name in ("open_registry", "SharedRows", "catalogue_folder"):
        monkeypatch.setattr(served_model, name, lambda *_: None)
    given: Any = Given()
    known = KnownUsers(KeptRecords(tmp_path), lambda name, n: None, is_on=True)
    return ServedModel(Settings(), ShownItems(), known, given), given


def order_of(model: ServedModel) -> int:
    served = model.current()
    return -1 if served is None else served.model.order


def test_what_is_announced_at_the_start_is_answered_and_the_settings_artifact_stands_in_for_a_bad_one(
    made: tuple[ServedModel, Given],
) -> None:
    """A later bad one leaves the model in force, and says why."""
    model, given = made
    version = tiny_models.artifact().version

    async def run() -> None:
        await model._start(announced(3, "bad"))  # noqa: SLF001
        assert order_of(model) == 0 and given.receipts == [("live@0.3", "failed", "no such file")]
        await model._announced.put_in_force(announced(4))  # noqa: SLF001
        assert order_of(model) == 5 and given.receipts[-1] == ("live@0.4", "done", version) and not model.problem
        await model._announced.put_in_force(announced(5, "bad"))  # noqa: SLF001
        assert order_of(model) == 5 and given.receipts[-1] == ("live@0.5", "failed", "no such file")
        assert "no such file" in model.problem
        await model.stop()
        assert all(reader.ended.is_set() for reader in FakeReader.made)

    asyncio.run(run())


def test_a_swap_that_is_cut_off_by_a_newer_announcement_has_a_catalogue_that_goes_on(
    made: tuple[ServedModel, Given],
) -> None:
    """The reader of the model before ends all the same."""
    model, _ = made

    async def run() -> None:
        await model._start(None)  # noqa: SLF001
        swapping = asyncio.ensure_future(model._take(announced(0)))  # noqa: SLF001
        while order_of(model) != 1:
            await asyncio.sleep(0)
        swapping.cancel()
        await asyncio.gather(swapping, return_exceptions=True)
        assert swapping.cancelled(), "it waited for the reader of before"
        before, after = FakeReader.made
        await asyncio.wait_for(before.ended.wait(), 5)
        assert not after.ended.is_set() and order_of(model) == 1
        await model.stop()
        assert after.ended.is_set()

    asyncio.run(run())
