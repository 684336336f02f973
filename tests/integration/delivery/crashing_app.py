"""A sequencer whose writer fails when a test wants it.

Start it with ``faust -A tests.integration.delivery.crashing_app worker``.

As soon as the file named by ``TEST_FAIL_AFTER`` exists, each batch of windows fails as if the
broker had refused it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from streams.contract.kafka_records import OutRecord
from streams.errors import BrokerError
from streams.runtime.app import StreamApp, start_app
from streams.sequencer.agent import build_sequencer
from streams.settings.load import Settings

VARIABLE: Final = "TEST_FAIL_AFTER"
MESSAGE: Final = "the test has made this delivery fail"


def build_crashing_sequencer(settings: Settings) -> StreamApp:
    """Return the sequencer's app with a writer that the file governs; connects to nothing."""
    marker = Path(os.environ[VARIABLE])
    app = build_sequencer(settings)
    writer: Any = app.writer
    send = writer.send

    async def send_or_fail(
        topic: str, partition: int, records: Iterable[OutRecord], **options: Any
    ) -> list[asyncio.Future[Any]]:
        if topic == settings.kafka.topic("sequences") and marker.exists():
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(BrokerError(MESSAGE))
            return [failed]
        futures: list[asyncio.Future[Any]] = await send(topic, partition, records, **options)
        return futures

    writer.send = send_or_fail
    return app


def __getattr__(name: str) -> Any:
    """Build the app when the Faust command asks for it."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = start_app(build_crashing_sequencer)
    return app
