"""Fixtures that several rooms of tests share: the broker of the session, and names that no other test uses."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.topics import open_admin
from streams.settings.load import load_settings
from tools.broker.local_broker import BrokerInfo, named_broker, running_broker, start_broker, stop_broker


@pytest.fixture(autouse=True)
def _no_outer_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the caller's ``HEADRACE_*`` variables away, so that a test sees the settings that it makes itself."""
    for name in list(os.environ):
        if name.startswith("HEADRACE_") and name != "HEADRACE_TEST_BROKER":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerInfo]:
    """Give a broker that answers: ``HEADRACE_TEST_BROKER`` if set, else one that lives as long as the session."""
    named = os.environ.get("HEADRACE_TEST_BROKER")
    if named:
        yield named_broker(named)
        return
    with running_broker(engine=best_engine(), port=0, data_dir=tmp_path_factory.mktemp("broker")) as info:
        yield info


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a topic prefix, also usable as a group id, that no other test has; its topics are deleted after the test."""
    name = f"t{uuid.uuid4().hex[:12]}-"
    yield name
    if "broker" in request.fixturenames:
        delete_topics(request.getfixturevalue("broker").bootstrap, name)


def delete_topics(bootstrap: str, prefix: str) -> None:
    """Delete the topics of a test: a broker that keeps them all runs out of memory in a long session."""

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
def own_broker(tmp_path: Path) -> Iterator[BrokerInfo]:
    """Give a broker of this test alone, which it may stop and kill; records survive only with a real Kafka."""
    info = start_broker(best_engine(), 0, tmp_path / "broker")
    assert info.data is not None
    try:
        yield info
    finally:
        stop_broker(info.data)


def best_engine() -> str:
    """Return the engine ``kafka`` where it works or can be fetched, else ``auto``; quick, as the jars are cached."""
    from streams.errors import BrokerError
    from tools.broker import engine_kafka, kafka_jars

    if engine_kafka.problem() is not None:
        return "auto"
    try:
        kafka_jars.classpath()
    except BrokerError:
        return "auto"
    return "kafka"
