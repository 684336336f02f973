"""The agent has a whole collector or none, and closes all that it opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base.types import Float32
from models.ranking.catalogue import Catalogue, build_catalogue
from models.rules.row_rules import Rules
from streams.announcements.scenario_rules import RulesChange
from streams.catalogue.seen_index import SeenIndex
from streams.errors import HeadraceError
from streams.recommender.agent import RecommenderAgent, build_recommender
from streams.recommender.model.announced_model import Announcement
from streams.recommender.served import Model
from streams.settings.load import load_settings
from tests.support import tiny


@pytest.fixture(autouse=True)
def untamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave PyTorch's settings, which the whole test process shares, as they are."""
    monkeypatch.setattr("streams.recommender.served.tame_pytorch", lambda: None)
    monkeypatch.setattr("streams.recommender.agent.follow", announcements)


async def announcements(*_: Any, **_named: Any) -> AsyncGenerator[dict[str, Announcement], None]:
    """Give announcements without Kafka: nothing is announced."""
    yield {}
    await asyncio.Event().wait()


def test_an_artifact_that_cannot_be_loaded_leaves_nothing_open(tmp_path: Path) -> None:
    """The start fails with one line; a rebalance and the end of the worker may still follow."""

    async def run() -> None:
        app = build_recommender(load_settings({"HEADRACE_ARTIFACT": str(tmp_path / "absent")}))
        agent = app.serving
        assert isinstance(agent, RecommenderAgent)
        with pytest.raises(HeadraceError, match="absent"):
            await agent.start()
        assert agent.collector is None
        agent.let_go()
        await app.on_partitions_assigned.send(set())
        await app.on_partitions_revoked.send(set())
        await agent.stop()
        assert not [thread for thread in threading.enumerate() if thread.name in ("model", "fallback", "texts")]

    asyncio.run(run())


class FakeReader:
    """A reader of ``items`` without Kafka: it gives the next catalogue when a test asks for it."""

    def __init__(self, _settings: Any, model: Model, thread: Any, *_more: Any, **_named: Any) -> None:
        self.model, self.thread = model, thread
        self.more = asyncio.Event()
        self.seen = SeenIndex(())
        self.is_closed = False
        READERS.append(self)

    def items(self) -> dict[str, Float32]:
        """Return the catalogue's items with their texts' vectors."""
        return {}

    async def catalogues(self) -> AsyncGenerator[Catalogue, None]:
        try:
            for generation in (1, 2):
                yield build_catalogue(self.model.artifact, self.items(), generation)
                await self.more.wait()
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


class ShopReader(FakeReader):
    """Likewise, with the items that the artifact was trained on."""

    def items(self) -> dict[str, Float32]:
        width = self.model.artifact.whitening.matrix.shape[0]
        return {item_id: np.ones(width, dtype=np.float32) for item_id in self.model.artifact.manifest.item_ids}


READERS: list[FakeReader] = []


class FakeRules:
    """Rules without Kafka: each change that a test puts into the queue."""

    def __init__(self) -> None:
        self.changes: asyncio.Queue[RulesChange] = asyncio.Queue()

    async def follow(self, *_settings: Any) -> AsyncGenerator[RulesChange, None]:
        yield RulesChange()
        while True:
            yield await self.changes.get()


class NotedReceipts:
    """Notes what receipts of rules say."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str, str]] = []

    def give(self, kind: str, announcement: str, *, stage: str, detail: str = "", **_more: Any) -> None:
        if kind == "rules":
            self.given.append((announcement, stage, detail))


@pytest.mark.model
def test_a_new_catalogue_is_served_and_the_end_closes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first catalogue is there when the worker begins; each later one takes its place whole."""
    monkeypatch.setattr("streams.recommender.model_swaps.CatalogueReader", FakeReader)

    async def run() -> None:
        monkeypatch.setattr("streams.recommender.agent.scenario_rules", FakeRules().follow)
        app = build_recommender(load_settings({"HEADRACE_ARTIFACT": str(tiny.artifact())}))
        agent = app.serving
        assert isinstance(agent, RecommenderAgent)
        await agent.start()
        assert agent.collector is not None
        maker, first = agent.collector.maker, agent.collector.maker.served
        assert first.versions.index_generation == 1
        assert READERS[-1].thread is not maker.loop.thread  # texts never delay lists
        READERS[-1].more.set()
        async with asyncio.timeout(5):
            while maker.served is first:
                await asyncio.sleep(0)
        assert maker.served.versions.index_generation == 2 and maker.served.model is first.model
        await agent.stop()
        assert READERS[-1].is_closed and app.failure is None
        assert not [thread for thread in threading.enumerate() if thread.name in ("model", "fallback", "texts")]

    asyncio.run(run())


@pytest.mark.model
def test_rules_take_the_place_of_rules_and_bad_ones_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receipt says what is in force; a new catalogue and new popularity keep the rules."""
    monkeypatch.setattr("streams.recommender.model_swaps.CatalogueReader", ShopReader)
    rules = Rules.of("deny = ['i1', 'i2']")

    async def run() -> None:
        fake, noted = FakeRules(), NotedReceipts()
        monkeypatch.setattr("streams.recommender.agent.scenario_rules", fake.follow)
        app = build_recommender(load_settings({"HEADRACE_ARTIFACT": str(tiny.artifact())}))
        monkeypatch.setattr(app, "receipts", noted)
        agent = app.serving
        assert isinstance(agent, RecommenderAgent)
        await agent.start()
        assert agent.collector is not None
        maker = agent.collector.maker
        assert maker.served.versions.rules == ""
        n_items = maker.served.catalogue.n_items

        async def answers(n: int) -> None:
            async with asyncio.timeout(5):
                while len(noted.given) < n:
                    await asyncio.sleep(0.01)

        fake.changes.put_nowait(RulesChange("default@0.1", rules))
        await answers(1)
        assert maker.served.versions.rules == rules.version
        assert maker.served.catalogue.n_items == n_items - 2 and maker.served.whole.n_items == n_items
        fake.changes.put_nowait(RulesChange("default@0.2", error="line 1: deny: no"))
        await answers(2)
        assert maker.served.versions.rules == rules.version
        before = maker.served
        READERS[-1].more.set()
        async with asyncio.timeout(5):
            while maker.served is before:
                await asyncio.sleep(0)
        served = maker.counts.refreshed(maker.served)
        assert served.versions.index_generation == 2
        for one in (maker.served, served):
            assert one.versions.rules == rules.version and one.catalogue.n_items == n_items - 2
        fake.changes.put_nowait(RulesChange("default@0.3"))
        await answers(3)
        assert maker.served.versions.rules == "" and maker.served.catalogue.n_items == n_items
        assert noted.given == [
            ("default@0.1", "done", f"rules {rules.version}"),
            ("default@0.2", "failed", "line 1: deny: no"),
            ("default@0.3", "done", "no rules"),
        ]
        await agent.stop()

    asyncio.run(run())
