"""The agent has a whole collector or none, and closes all that it opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from models.ranking.catalogue import Catalogue, build_catalogue
from streams.errors import HeadraceError
from streams.recommender.agent import RecommenderAgent, build_recommender
from streams.recommender.list_records import SeenIndex
from streams.recommender.served import Model
from streams.settings.load import load_settings
from tests.support import tiny


@pytest.fixture(autouse=True)
def untamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave PyTorch's settings, which the whole test process shares, as they are."""
    monkeypatch.setattr("streams.recommender.served.tame_pytorch", lambda: None)


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
        assert not [thread for thread in threading.enumerate() if thread.name in ("model", "fallback")]

    asyncio.run(run())


class FakeReader:
    """A reader of ``items`` without Kafka: it gives the next catalogue when a test asks for it."""

    def __init__(self, _settings: Any, model: Model, thread: Any, *_more: Any, **_named: Any) -> None:
        self.model = model
        self.more = asyncio.Event()
        self.seen = SeenIndex(())
        self.is_closed = False
        READERS.append(self)

    async def catalogues(self) -> AsyncGenerator[Catalogue, None]:
        try:
            for generation in (1, 2):
                yield build_catalogue(self.model.artifact, {}, generation)
                await self.more.wait()
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


READERS: list[FakeReader] = []


@pytest.mark.model
def test_a_new_catalogue_is_served_and_the_end_closes_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first catalogue is there when the worker begins; each later one takes its place whole."""
    monkeypatch.setattr("streams.recommender.agent.CatalogueReader", FakeReader)

    async def run() -> None:
        app = build_recommender(load_settings({"HEADRACE_ARTIFACT": str(tiny.artifact())}))
        agent = app.serving
        assert isinstance(agent, RecommenderAgent)
        await agent.start()
        assert agent.collector is not None
        maker, first = agent.collector.maker, agent.collector.maker.served
        assert first.versions.index_generation == 1
        READERS[-1].more.set()
        async with asyncio.timeout(5):
            while maker.served is first:
                await asyncio.sleep(0)
        assert maker.served.versions.index_generation == 2 and maker.served.model is first.model
        await agent.stop()
        assert READERS[-1].is_closed and app.failure is None
        assert not [thread for thread in threading.enumerate() if thread.name in ("model", "fallback")]

    asyncio.run(run())
