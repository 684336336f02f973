"""The order of a test run, its broker, and topic names that no other test uses."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings, load_settings
from tests.support import shared_run
from tools.broker.local_broker import BrokerInfo, start_broker, stop_broker

# Hypothesis's limits of 200 ms and the like measure how busy the machine is, not whether a law
# holds.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the run in its first process; the workers of pytest-xdist belong to the same run.

    A run in the background ignores Ctrl-C, and the programs that it starts would do so too: tests
    interrupt them.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        folder = shared_run.begin()
        config.add_cleanup(lambda: shared_run.end(folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run tests of a broker first: while they wait, other tests use the processor."""
    items.sort(key=lambda item: item.get_closest_marker("kafka") is None)
    for item in items:
        group = group_of(item)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def group_of(item: pytest.Item) -> str | None:
    """Return the group of tests that one process must run together, ``None`` for a test alone."""
    if "secured" in getattr(item, "fixturenames", ()):
        return "secured"
    if item.get_closest_marker("kafka") is None or makes_once(item.path):
        return item.nodeid.partition("::")[0]
    return None


@cache
def makes_once(path: Path) -> bool:
    """Return whether the tests of a file share fixtures, so that one process makes them once."""
    return 'scope="module"' in path.read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the caller's ``HEADRACE_*`` variables away: a test sees only settings that it makes."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") and name != shared_run.NAMED_BROKER:
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def broker() -> BrokerInfo:
    """Give the broker of the run. All tests share it; each has topics of its own."""
    return shared_run.broker()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a topic prefix, also usable as a group id, that no other test has.

    The topics with this prefix are deleted after the test.
    """
    name = f"t{uuid.uuid4().hex[:12]}-"
    yield name
    if "broker" in request.fixturenames:
        delete_topics(request.getfixturevalue("broker").bootstrap, name)


def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete the topics of a test.

    A broker that keeps the topics of all tests runs out of memory in a long session.
    """

    async def delete() -> None:
        admin = await open_admin(load_settings({}, broker=bootstrap).kafka)
        try:
            names = [name for name in await admin.list_topics() if name.startswith(prefix)]
            if names:
                await admin.delete_topics(names)
        finally:
            await admin.close()

    asyncio.run(delete())


@pytest.fixture
def kafka(broker: BrokerInfo, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KafkaSettings:
    """Give settings for this test's topics, and an empty working directory.

    The environment holds the settings too.
    """
    monkeypatch.setenv("HEADRACE_BROKER", broker.bootstrap)
    monkeypatch.setenv("HEADRACE_TOPIC_PREFIX", prefix)
    monkeypatch.chdir(tmp_path)
    return KafkaSettings(broker=broker.bootstrap, topic_prefix=prefix)


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[BrokerInfo]:
    """Give a broker of this test alone, which the test may stop and kill.

    Records survive only with a real Kafka.
    """
    info = start_broker(shared_run.best_engine(), 0, tmp_path / "broker")
    assert info.data is not None
    try:
        yield info
    finally:
        stop_broker(info.data)
