"""Creates the topics of the contract, and compares existing topics with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence, Set
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from streams.errors import BrokerError, TopicError
from streams.kafka.connection_diagnosis import quiet, why_not
from streams.kafka.topic_specs import TOPICS, TopicDifference, TopicSpec
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

#: A deployment has as many partitions as these topics. Topics only grow, so the lowest count
#: counts.
COUNTED_FROM: Final = ("events", "sequences")
#: A new topic appears in the metadata within this time, also on a busy machine.
VISIBLE_WITHIN_S: Final = 10.0


async def open_admin(settings: KafkaSettings, timeout_ms: int = 10_000) -> AIOKafkaAdminClient:
    """Return a started admin client.

    Raises
    ------
    BrokerError
        When the broker does not answer; the message has the reason.
    """
    arguments = settings.client_arguments()
    admin = AIOKafkaAdminClient(request_timeout_ms=timeout_ms, **arguments)
    try:
        with quiet("aiokafka"):
            await admin.start()
    except (KafkaError, OSError, TimeoutError) as exc:
        await admin.close()
        reason = await why_not(settings.addresses(), arguments, exc)
        raise BrokerError(
            f"broker {settings.broker} ({settings.security_protocol}) does not answer: {reason}"
        ) from None
    return admin


@contextlib.asynccontextmanager
async def _asking(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Give an admin client; raise :class:`BrokerError` when the broker does not answer it."""
    admin = await open_admin(settings)
    try:
        yield admin
    except KafkaError as exc:
        raise BrokerError(
            f"broker {settings.broker} does not answer about its topics: {exc}; it may be starting: try again, or see: headrace doctor"
        ) from exc
    finally:
        await admin.close()


async def existing_partitions(settings: KafkaSettings) -> int | None:
    """Return how many partitions ``events`` and ``sequences`` have; None when neither exists.

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    async with _asking(settings) as admin:
        existing = set(await admin.list_topics())
        names = [name for name in map(settings.topic, COUNTED_FROM) if name in existing]
        found = [len(topic["partitions"]) for topic in await admin.describe_topics(names)] if names else []
    return min((n for n in found if n), default=None)


async def create_topics(settings: KafkaSettings, names: Sequence[str] | None = None) -> list[str]:
    """Create the topics that do not exist; return the full names of those created. Repeat-safe.

    A client with the smallest rights may neither create topics nor read their configurations. It
    finds its topics there, and their configurations are not judged.

    Parameters
    ----------
    names : topics, by their names in the contract, that the caller needs; None for all

    Raises
    ------
    TopicError
        When the broker refuses to create a needed topic, or a topic differs from the contract.
    BrokerError
        When the broker does not answer.
    """
    needed = {settings.topic(spec.name) for spec in TOPICS if names is None or spec.name in names}
    async with _asking(settings) as admin:
        created = await _create_missing(admin, settings, needed)
    differences = await _needed_differences(settings, needed)
    deadline = time.monotonic() + VISIBLE_WITHIN_S
    while any(d.topic in created for d in differences) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)  # a broker answers before all of its threads know the topic
        differences = await _needed_differences(settings, needed)
    if differences:
        raise TopicError("; ".join(map(str, differences)))
    return created


async def _needed_differences(settings: KafkaSettings, needed: Set[str]) -> list[TopicDifference]:
    """Return the differences that matter to the caller.

    A topic that the caller does not use may be missing, or hidden from it.
    """
    found = [d for d in await compare(settings) if not d.may_stand]
    return [d for d in found if d.topic in needed or d.setting != "exists"]


async def _create_missing(admin: AIOKafkaAdminClient, settings: KafkaSettings, needed: Set[str]) -> list[str]:
    existing = set(await admin.list_topics())
    created: list[str] = []
    for spec in TOPICS:
        name = settings.topic(spec.name)
        if name in existing:
            continue
        topic = NewTopic(
            name, spec.n_partitions(settings), settings.replication, topic_configs=spec.configs(settings.replication)
        )
        response = await admin.create_topics([topic])
        for _, code, *message in response.topic_errors:
            error = for_code(code)
            if error is TopicAuthorizationFailedError:
                if name in needed:
                    raise TopicError(
                        f"{name}: does not exist, or is hidden from {settings.principal}, who may not create it; an operator runs "
                        "headrace topics create, or grants Describe on it, see docs/security.md"
                    )
            elif code == 0:
                created.append(name)
            elif error is not TopicAlreadyExistsError:
                raise TopicError(f"{name}: the broker refused to create it: {error.__name__} {message[:1]}")
    return created


async def compare(settings: KafkaSettings) -> list[TopicDifference]:
    """Return the differences between the existing topics and the contract."""
    return [difference for difference in await compare_all(settings) if not difference.is_safe]


async def compare_all(settings: KafkaSettings) -> list[TopicDifference]:
    """Return the differences as :func:`compare` does, and also the harmless ones."""
    async with _asking(settings) as admin:
        existing = set(await admin.list_topics())
        specs = {settings.topic(spec.name): spec for spec in TOPICS}
        present = [name for name in specs if name in existing]
        missing = [TopicDifference(name, "exists", "yes", "no") for name in specs if name not in existing]
        if not present:
            return missing
        described = {topic["topic"]: topic for topic in await admin.describe_topics(present)}
        configs = await _read_configs(admin, present)
        found = [
            difference
            for name in present
            for difference in _differences(name, specs[name], described[name], configs[name], settings)
        ]
        return missing + found


async def _read_configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Return each topic's configuration; empty when the broker does not tell it.

    Small development brokers do not tell, and others only with the right DescribeConfigs.
    """
    configs: dict[str, dict[str, str]] = {name: {} for name in names}
    try:
        responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    except KafkaError:
        responses = []
    for response in responses:
        for _code, _message, _kind, name, entries, *_ in response.resources:
            configs[name] = {entry[0]: entry[1] for entry in entries}
    untold = sum(not entries for entries in configs.values())
    if untold:
        log.info(
            "configurations of %d topics are not judged: the broker does not tell, or DescribeConfigs is denied", untold
        )
    return configs


def _differences(
    name: str,
    spec: TopicSpec,
    described: dict[str, list[dict[str, list[int]]]],
    configs: dict[str, str],
    settings: KafkaSettings,
) -> list[TopicDifference]:
    """Compare one existing topic with its specification."""
    partitions = described["partitions"]
    found = []
    if len(partitions) != spec.n_partitions(settings):
        expected, n_found = str(spec.n_partitions(settings)), str(len(partitions))
        # A recommender reads all partitions of a catalogue, however many there are.
        found.append(TopicDifference(name, "partitions", expected, n_found, may_be_more=not spec.is_keyed_by_user))
    n_replicas = {len(partition["replicas"]) for partition in partitions}
    if n_replicas and n_replicas != {settings.replication}:
        found.append(
            TopicDifference(name, "replication", str(settings.replication), "/".join(map(str, sorted(n_replicas))))
        )
    for setting, expected in spec.configs(settings.replication).items():
        if setting in configs and configs[setting] != expected:
            found.append(TopicDifference(name, setting, expected, configs[setting]))
    return found
