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
from streams.kafka.topic_specs import MIN_INSYNC, TOPICS, TopicDifference, TopicSpec
from streams.settings.load import KafkaSettings

log = logging.getLogger(__name__)

#: The topics that say how many partitions a deployment has. Topics only grow, so where they differ the lowest count is the deployment's.
COUNTED_FROM: Final = ("events", "sequences")
#: A topic that was just created is in the metadata within this time, on a busy machine too.
VISIBLE_WITHIN_S: Final = 10.0


async def open_admin(settings: KafkaSettings, timeout_ms: int = 10_000) -> AIOKafkaAdminClient:
    """Return a started admin client; raise :class:`BrokerError`, with the reason, when the broker does not answer."""
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
    """Give an admin client; one that the broker leaves without an answer raises :class:`BrokerError`."""
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
    """Return how many partitions the topics keyed by user have, by ``events`` and the state made of it; None where neither exists.

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

    The right to create, to see and to read the configuration of a topic is asked for only where it is missing and needed: a client with
    the least rights finds its topics there, and their configurations unjudged.

    Parameters
    ----------
    names : the topics, as the contract names them, without which the caller cannot work; None for all

    Raises
    ------
    TopicError
        When the broker refuses one of them, or one exists with settings unlike the contract.
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

    A topic that it does not use may be missing, or hidden from it. Too few replicas in sync are what ``topics check`` tells: topics of
    a deployment that runs may be so, and a worker that refused to start would help nobody.
    """
    found = [d for d in await compare(settings) if d.setting != MIN_INSYNC]
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
    """Return how the existing topics differ from the contract; an empty list means that all is as it must be."""
    return [difference for difference in await compare_all(settings) if not difference.is_safe]


async def compare_all(settings: KafkaSettings) -> list[TopicDifference]:
    """Return what :func:`compare` does, and what the topics safely have more than the contract asks for."""
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
    """Return each topic's configuration; empty where the broker does not tell: a small development one, or for want of a right."""
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
        # Every recommender reads all of a catalogue; a topic keyed by user must have the count of the others.
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
