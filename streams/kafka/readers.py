"""Consumers of committed records outside any subscription; they commit nothing by themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.kafka.fetching.bounded_fetch import bound_fetches
from streams.settings.load import KafkaSettings

#: For every consumer of headrace: records of an aborted transaction never happened.
ISOLATION_LEVEL: Final = "read_committed"


async def start_reader(
    settings: KafkaSettings, group: str | None = None, *, isolation_level: str = ISOLATION_LEVEL, **options: Any
) -> AIOKafkaConsumer:
    """Return a started consumer; the caller stops it. :func:`open_reader` does both.

    Parameters
    ----------
    group : a consumer group whose committed offsets are read; None for no group
    isolation_level : ``read_uncommitted`` to ask for high watermarks, without reading records
    options : further arguments of aiokafka's consumer. A position that the broker has deleted is an
        error unless ``auto_offset_reset`` says otherwise: a reader must not skip records in
        silence.
    """
    bound_fetches()
    arguments: dict[str, Any] = {"auto_offset_reset": "none"} | settings.client_arguments() | options
    consumer = AIOKafkaConsumer(group_id=group, enable_auto_commit=False, isolation_level=isolation_level, **arguments)
    try:
        await consumer.start()
    except BaseException:
        await consumer.stop()
        raise
    await asyncio.sleep(0)  # else stop() may raise CancelledError, see docs/upstream.md
    return consumer


@contextlib.asynccontextmanager
async def open_reader(settings: KafkaSettings, group: str | None = None, **options: Any) -> AsyncIterator[Any]:
    """Give a consumer as :func:`start_reader` does, and stop it at the end.

    An error of the client becomes :class:`BrokerError`.
    """
    consumer: AIOKafkaConsumer | None = None
    try:
        consumer = await start_reader(settings, group, **options)
        yield consumer
    except (KafkaError, OSError) as exc:
        raise BrokerError(f"broker {settings.broker}: {type(exc).__name__}: {exc}; see: headrace doctor") from exc
    finally:
        if consumer is not None:
            await consumer.stop()
