"""Until when a broker keeps what was written to a topic.

A record of a topic that deletes by time leaves with its segment. A segment takes records for up to
``segment.ms``, and leaves ``retention.ms`` after its last one. In a compacted topic a record goes
when a later one of its key stands, at the latest after ``max.compaction.lag.ms`` and the time that
the segment stays open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings

DAY_MS: Final = 86_400_000
#: The broker looks for what it may delete or compact a few times an hour.
LOOKS_MS: Final = 3_600_000
#: A time at or above this is no bound: the default of ``max.compaction.lag.ms``.
NO_BOUND_MS: Final = 100 * 365 * DAY_MS


def longest_ms(configs: Mapping[str, str]) -> int | None:
    """Return how long a record stays at most after a later one of its key, in milliseconds.

    Parameters
    ----------
    configs : the topic's configuration; empty where the broker does not tell it

    Returns
    -------
    None where there is no bound, or the broker does not tell
    """
    policies = configs.get("cleanup.policy", "").split(",")
    bounds = []
    if "delete" in policies:
        bounds.append(_sum(configs, "retention.ms", "segment.ms"))
    if "compact" in policies:
        bounds.append(_sum(configs, "max.compaction.lag.ms", "max.compaction.lag.ms"))
    return min((bound for bound in bounds if bound is not None), default=None)


def _sum(configs: Mapping[str, str], *names: str) -> int | None:
    """Return the sum of some times and of the time until the broker looks; None without a bound."""
    try:
        times = [int(configs[name]) for name in names]
    except (KeyError, ValueError):
        return None
    return None if any(not 0 <= ms < NO_BOUND_MS for ms in times) else sum(times) + LOOKS_MS


async def longest_of(settings: KafkaSettings, names: Iterable[str]) -> dict[str, int | None]:
    """Return :func:`longest_ms` of topics, by their names in the contract.

    It is None where a topic does not exist, or where the client may not ask (``DescribeConfigs``).

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    found: dict[str, int | None] = dict.fromkeys(names)
    admin = await open_admin(settings)
    try:
        wanted = [ConfigResource(ConfigResourceType.TOPIC, settings.topic(name)) for name in found]
        for response in await admin.describe_configs(wanted):
            for error, _message, _kind, topic, entries, *_ in response.resources:
                for name in found:
                    if error == 0 and settings.topic(name) == topic:
                        found[name] = longest_ms({entry[0]: entry[1] for entry in entries})
    except KafkaError as exc:
        if exc.retriable:
            raise BrokerError(f"broker {settings.broker} does not answer about its topics: {exc}") from exc
    finally:
        await admin.close()
    return found
