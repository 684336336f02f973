"""The deployments on a broker that may hold a user: the live one, and its rebuild runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streams.errors import TopicError
from streams.kafka.topic_reader import partition_count
from streams.kafka.topics import open_admin
from streams.settings.load import KafkaSettings


async def runs_of(kafka: KafkaSettings) -> dict[str, KafkaSettings]:
    """Return the rebuild runs of a deployment that have topics, by name.

    A run is known by its topic ``privacy``, whose prefix is that of the deployment and the run's
    name with a dot. A run of a version that copied no ``privacy`` is known by ``sequences``.
    """
    admin = await open_admin(kafka)
    try:
        existing = set(await admin.list_topics())
    finally:
        await admin.close()
    found = {}
    for name in sorted(existing):
        for topic in (".privacy", ".sequences"):
            if name.startswith(kafka.topic_prefix) and name.endswith(topic):
                run = name[len(kafka.topic_prefix) : -len(topic)]
                if run and run not in found:
                    found[run] = await _settings_of(kafka, run)
    return {run: settings for run, settings in found.items() if settings is not None}


async def _settings_of(kafka: KafkaSettings, run: str) -> KafkaSettings | None:
    no_names: dict[str, Any] = dict.fromkeys(kafka.named_topics(), "")
    settings = replace(kafka, **no_names, topic_prefix=f"{kafka.topic_prefix}{run}.")
    try:
        return replace(settings, partitions=await partition_count(settings, settings.topic("sequences")))
    except TopicError:
        return None
