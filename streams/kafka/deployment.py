"""The settings of a deployment that may exist already: its partition count is that of its topics, unless the operator names one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from streams.kafka.topics import existing_partitions
from streams.settings.load import Settings, load_settings


def load_deployment(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, **overrides: object
) -> Settings:
    """Return what :func:`~streams.settings.load.load_settings` does, with ``partitions`` read from the topics where it is not set.

    Workers and commands call this once, before they build anything from the count.

    Raises
    ------
    SettingsError
        As :func:`~streams.settings.load.load_settings`.
    BrokerError
        When ``partitions`` is not set and the broker does not answer.
    """
    settings = load_settings(environ, file=file, **overrides)
    # A runner with a factory of its own leaves this thread without a current loop, as it was: Faust makes one later.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(with_existing_partitions(settings))


async def with_existing_partitions(settings: Settings) -> Settings:
    """Return the settings with the partition count of the topics that exist; as they are where it is set, or where there are none.

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    if "partitions" in settings.given:
        return settings
    found = await existing_partitions(settings.kafka)
    return settings if found is None else replace(settings, kafka=replace(settings.kafka, partitions=found))
