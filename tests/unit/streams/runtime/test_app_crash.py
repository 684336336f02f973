"""After its first failure a worker takes no batch, commits nothing, and says the cause once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streams.errors import BrokerError
from streams.recommender.agent import RecommenderAgent, build_recommender
from streams.recommender.collector import Collector
from streams.runtime.app import StreamApp
from streams.sequencer.agent import build_sequencer
from streams.settings.load import Settings


class Batches:
    """A stream of batches; ``taken`` holds the batches that the agent came for.

    The agent asks for the second batch after a failure.
    """

    def __init__(self, app: StreamApp) -> None:
        self.app = app
        self.taken: list[int] = []

    def noack(self) -> Batches:
        return self

    async def events(self) -> AsyncIterator[Any]:
        for offset in range(3):
            self.taken.append(offset)
            yield SimpleNamespace(message=SimpleNamespace(generation_id=0), value=[])


@pytest.mark.parametrize("build", [build_sequencer, build_recommender])
def test_an_agent_that_is_started_again_takes_no_batch(
    build: Callable[[Settings], StreamApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust restarts a failed agent while the app stops.

    The agent's next batch lies behind the failed one.
    """
    app = build(Settings())
    accepted: list[Any] = []
    monkeypatch.setattr(app, "_consumer", SimpleNamespace(accept=accepted.append))
    if isinstance(app.serving, RecommenderAgent):
        pressure = SimpleNamespace(wait_for_room=lambda: asyncio.sleep(0))
        parts: Any = dict.fromkeys(("vectors", "metrics", "queue", "recount", "refresh", "users", "forgetting"))
        app.serving.collector = Collector(app=app, maker=cast(Any, SimpleNamespace(pressure=pressure)), **parts)
    agent = next(iter(app.agents.values()))
    app._fail(BrokerError("a batch was not delivered"))

    async def run() -> None:
        await agent.fun(Batches(app))

    asyncio.run(run())
    assert accepted == []


def test_the_first_cause_is_said_once_and_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever part crashes, and however often."""
    app = build_sequencer(Settings())
    ended: list[int] = []
    app.health.end_soon = lambda: ended.append(1)  # type: ignore[method-assign]

    async def run() -> None:
        # so Faust marks the app when a service of it has crashed
        app._crash(BrokerError("not\ndelivered"))
        await app.crash(RuntimeError("later"))

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    told = [record.getMessage() for record in caplog.records if "the worker ends" in record.getMessage()]
    assert told == ["the worker ends: BrokerError: not delivered"]
    assert (ended, repr(app.failure)) == ([1], "BrokerError('not\\ndelivered')")
