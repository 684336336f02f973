"""The partition count of a deployment.

The operator's setting comes first, then the count of its topics, then the default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerError
from streams.kafka import topics
from streams.kafka.deployment import load_deployment
from streams.settings.load import KafkaSettings

NOWHERE = Path("/nonexistent")
DEFAULT = KafkaSettings().partitions


class FakeAdmin:
    """Knows topics by name, each with its partition count."""

    def __init__(self, counts: dict[str, int]) -> None:
        self._counts = counts

    async def list_topics(self) -> list[str]:
        return list(self._counts)

    async def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        return [{"topic": name, "partitions": [{}] * self._counts[name]} for name in names]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param({}, DEFAULT, id="nothing exists"),
        pytest.param({"p.items": 3, "events": 9}, DEFAULT, id="nothing of this deployment that counts"),
        pytest.param({"shop-events": 12}, 12, id="events exist"),
        pytest.param({"shop-events": 12, "p.sequences": 12}, 12, id="a deployment"),
        pytest.param({"shop-events": 12, "p.sequences": 4}, 4, id="events were given partitions"),
        pytest.param({"shop-events": 4, "p.sequences": 6}, 4, id="state was given partitions"),
        pytest.param({"shop-events": 0, "p.sequences": 6}, 6, id="a topic that is being made"),
    ],
)
def test_the_count_is_that_of_the_topics(
    counts: dict[str, int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Topics only grow: where they differ, the lowest is the one that users were put by."""

    async def open_fake(_settings: KafkaSettings) -> FakeAdmin:
        return FakeAdmin(counts)

    monkeypatch.setattr(topics, "open_admin", open_fake)
    environ = {"HEADRACE_TOPIC_PREFIX": "p.", "HEADRACE_TOPIC_EVENTS": "shop-events"}
    settings = load_deployment(environ, file=NOWHERE)
    assert settings.kafka.partitions == expected
    assert settings.kafka.topic("events") == "shop-events"


def test_a_count_that_is_set_needs_no_broker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By variable, by file or by option; where it differs from the topics, their check says so."""

    async def refuse(_settings: KafkaSettings) -> FakeAdmin:
        raise BrokerError("asked")

    monkeypatch.setattr(topics, "open_admin", refuse)
    file = tmp_path / "headrace.toml"
    file.write_text("partitions = 6\n")
    assert load_deployment({"HEADRACE_PARTITIONS": "4"}, file=NOWHERE).kafka.partitions == 4
    assert load_deployment({}, file=file).kafka.partitions == 6
    assert load_deployment({}, file=NOWHERE, partitions=7).kafka.partitions == 7
    with pytest.raises(BrokerError, match="asked"):
        load_deployment({}, file=NOWHERE, partitions=None)
