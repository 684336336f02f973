"""A worker that nobody disturbs logs nothing above INFO: an operator may alarm on any such line.

Faust's own checks began to complain from minute 5 on, so the long form,
``HEADRACE_TEST_QUIET_S=420``, is what proves it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from streams.contract.kafka_records import OutRecord
from streams.contract.records import encode
from streams.kafka.publisher import Publisher
from streams.settings.load import Settings
from tests.integration.delivery.test_sequencer import sequencer
from tests.integration.lists.recommender_runs import recommender
from tests.support import tiny
from tests.support.builders import make_event

QUIET_S: Final = float(os.environ.get("HEADRACE_TEST_QUIET_S", "15"))
TICK_S: Final = 0.1
ABOVE_INFO: Final = re.compile(r"\[(WARN|WARNING|ERROR|CRITICAL)\]|Traceback")
pytestmark = [pytest.mark.kafka, pytest.mark.timeout(QUIET_S + 240), pytest.mark.long]


def events() -> Iterator[OutRecord]:
    """Yield events of fifty users as they happen, about items of the catalogue."""
    n = 0
    while True:
        user = f"u{n % 50}"
        event = make_event(f"e{n:08d}", int(time.time() * 1000), user_id=user, item_id=f"i{n % tiny.N_ITEMS}")
        yield OutRecord(user.encode(), encode(event))
        n += 1


async def load(settings: Settings, rate_per_s: int) -> None:
    """Publish at a rate for as long as the logs must stay quiet."""
    source, topic = events(), settings.kafka.topic("events")
    async with Publisher(settings.kafka) as publisher:
        for _ in range(int(QUIET_S / TICK_S)):
            began = time.monotonic()
            for record in islice(source, int(rate_per_s * TICK_S)):
                await publisher.publish(topic, record.key or b"", record.value)
            await asyncio.sleep(max(0.0, TICK_S - (time.monotonic() - began)))


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("rate_per_s", [0, 200])
def test_an_undisturbed_worker_logs_nothing_above_info(settings: Settings, tmp_path: Path, rate_per_s: int) -> None:
    with sequencer(settings, tmp_path) as first, recommender(settings, tmp_path) as second:
        asyncio.run(load(settings, rate_per_s))
        assert first.counts()["total"]["rejected"] == 0
        assert bool(second.counts()["values"].get("lists")) is bool(rate_per_s), "lists come where events do"
    for name in ("sequencer", "recommender"):
        lines = (tmp_path / f"{name}.log").read_text().splitlines()
        assert [line for line in lines if ABOVE_INFO.search(line)] == []
        assert any("[INFO]" in line for line in lines), "the pattern fits how levels are written"
