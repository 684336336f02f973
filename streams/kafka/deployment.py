"""The settings of a deployment that may exist: if nobody set a partition count, its topics do."""

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
    """Return the settings of :func:`~streams.settings.load.load_settings`.

    Where ``partitions`` is not set, the existing topics give it. Workers and commands call this
    once, before they use the count.

    Raises
    ------
    SettingsError
        As :func:`~streams.settings.load.load_settings`.
    BrokerError
        When ``partitions`` is not set and the broker does not answer.
    """
    settings = load_settings(environ, file=file, **overrides)
    # With a factory of its own the runner sets no current loop for this thread: Faust makes one
    # later.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(with_existing_partitions(settings))


async def with_existing_partitions(settings: Settings) -> Settings:
    """Return the settings with the partition count of the existing topics.

    The settings stay as they are when ``partitions`` is set, or when there are no topics.

    Raises
    ------
    BrokerError
        When the broker does not answer.
    """
    if "partitions" in settings.given:
        return settings
    found = await existing_partitions(settings.kafka)
    return settings if found is None else replace(settings, kafka=replace(settings.kafka, partitions=found))
