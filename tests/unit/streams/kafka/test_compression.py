"""What headrace writes with: every producer that it opens takes the codec from the setting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streams.errors import SettingsError
from streams.kafka import batch_builder
from streams.kafka.batch_writer import BatchWriter
from streams.kafka.publisher import Publisher
from streams.settings.load import KafkaSettings, load_settings
from tools.replay.rebuild.copy_topics import EventCopier


class Opened(Exception):  # noqa: N818 - no error
    """A producer was opened."""


async def write(settings: KafkaSettings) -> None:
    await BatchWriter(settings).start()


async def publish(settings: KafkaSettings) -> None:
    await Publisher(settings).__aenter__()


async def copy(settings: KafkaSettings) -> None:
    await EventCopier(settings, settings, {}, lambda: None).copy({})


@pytest.mark.parametrize("opening", [write, publish, copy], ids=["writer", "publisher", "copy"])
@pytest.mark.parametrize(
    ("name", "codec"), [(None, "zstd"), ("none", None), *((name, name) for name in ("gzip", "snappy", "lz4", "zstd"))]
)
def test_every_producer_takes_the_codec_of_the_setting(
    monkeypatch: pytest.MonkeyPatch,
    opening: Callable[[KafkaSettings], Awaitable[None]],
    name: str | None,
    codec: str | None,
) -> None:
    given: dict[str, Any] = {}

    def producer(**arguments: Any) -> None:
        given.update(arguments)
        raise Opened

    monkeypatch.setattr(batch_builder, "AIOKafkaProducer", producer)
    settings = load_settings({} if name is None else {"HEADRACE_COMPRESSION_TYPE": name}).kafka

    async def run() -> None:
        await opening(settings)

    with pytest.raises(Opened):
        asyncio.run(run())
    assert given["compression_type"] == codec


def test_another_codec_is_refused() -> None:
    with pytest.raises(SettingsError, match="compression_type"):
        load_settings({"HEADRACE_COMPRESSION_TYPE": "brotli"})
