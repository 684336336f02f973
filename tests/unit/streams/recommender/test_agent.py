"""The agent has a whole collector or none, and closes all that it opened."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from streams.errors import HeadraceError
from streams.recommender.agent import RecommenderAgent, build_recommender
from streams.settings.load import load_settings


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
