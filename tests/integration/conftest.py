"""Settings for the broker of the run, and a second broker with TLS, SASL and ACLs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.contract.roles import ALL_TOPICS, ROLES, acls
from streams.kafka.topics import create_topics
from streams.settings.load import KafkaSettings, Settings, load_settings
from tests.integration.lists.recommender_runs import put_items
from tests.integration.security.security_runs import PREFIX, Become, kafka_of
from tests.support import tiny
from tests.support.security.secured_broker import SecuredBroker, secured_broker
from tools.broker.local_broker import BrokerInfo


@pytest.fixture
def settings(broker: BrokerInfo, prefix: str) -> Settings:
    """Give settings for topics of this test alone."""
    return load_settings({}, broker=broker.bootstrap, topic_prefix=prefix)


@pytest.fixture
def several_workers(broker: BrokerInfo) -> None:
    """Skip the test on a broker without consumer groups of several workers or without fencing."""
    if broker.engine == "noida":
        pytest.skip("noida has no transaction coordinator, and carries one worker only")


@pytest.fixture
def catalogue(settings: Settings, tmp_path: Path) -> None:
    """Create the topics of this test, with the tiny log's catalogue in them."""
    asyncio.run(create_topics(settings.kafka))
    put_items(settings, tiny.write_items(tmp_path / "items.csv"))


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """Give a broker with the topics, and with a user for each role.

    The user has that role's entries and no others.

    A test that changes rights puts them back.
    """
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        broker.add_users(*ROLES, "nobody")
        for role in ROLES:
            broker.grant(role, *acls(role, KafkaSettings(topic_prefix=PREFIX)))
        assert len(asyncio.run(create_topics(kafka_of(broker.variables("operator"))))) == len(ALL_TOPICS)
        yield broker


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch, secured: SecuredBroker) -> Become:
    """Give a function that makes the commands of this test run with a user's variables."""
    return Become(monkeypatch, secured)
