"""Both apps and a broker for a benchmark: started, filled, caught up, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.errors import RunError
from streams.kafka.group_watch import group_lag
from streams.kafka.topics import create_topics
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import Settings, load_settings
from tools.broker.local_broker import BrokerInfo, running_broker
from tools.drills.artifact import catalogue_of
from tools.drills.events import EventSource, Shares
from tools.drills.load import Load
from tools.drills.run import delete_topics, publish_items
from tools.workers.apps import APP_NAMES, APPS, AppName
from tools.workers.launch import Launch, make_worker
from tools.workers.process import Worker

CATCH_UP_S: Final = 180.0
POLL_S: Final = 0.2


@contextlib.contextmanager
def deployment(
    broker_address: str | None,
    artifact: Path,
    folder: Path,
    variables: Mapping[str, str] | None = None,
    n_recommenders: int = 1,
) -> Iterator[tuple[Settings, BrokerInfo, list[Worker]]]:
    """Give settings, broker and workers that are not started; at the end delete the topics.

    Parameters
    ----------
    broker_address : a broker; None for one that is started, and stopped at the end
    folder : of the broker's and the workers' files
    variables : of the workers, beside those of the deployment
    n_recommenders : recommenders on this machine; each has a folder and a log of its own name
    """
    with running_broker(broker_address, port=0, data_dir=folder / "broker") as broker:
        settings = load_settings(
            broker=broker.bootstrap,
            topic_prefix=f"bench{time.time_ns() // 1_000_000}.",
            artifact=str(artifact),
            event_types=DEFAULT_TABLE,
        )
        asyncio.run(_create(settings, artifact))
        ours = {"HEADRACE_ENCODER_CACHE_DIR": str(folder / "encoder-cache"), "OMP_NUM_THREADS": "1"} | dict(
            variables or {}
        )
        more: dict[str, AppName] = {f"recommender-{number}": "recommender" for number in range(2, n_recommenders + 1)}
        launches = [
            Launch(app, folder / name, folder / f"{name}.log", variables=ours)
            for name, app in (dict(zip(APP_NAMES, APP_NAMES, strict=True)) | more).items()
        ]
        try:
            yield settings, broker, [make_worker(Worker, settings, launch) for launch in launches]
        finally:
            if broker_address:
                asyncio.run(delete_topics(settings.kafka))


async def _create(settings: Settings, artifact: Path) -> None:
    await create_topics(settings.kafka)
    await publish_items(settings.kafka, catalogue_of(artifact))


async def prefill(settings: Settings, item_ids: Sequence[str], n_users: int, n_each: int) -> None:
    """Publish ``n_each`` events of each user."""
    source = EventSource(n_users, item_ids, 0, Shares(0.0, 0.0, 0.0), prefix="s0000-")
    load = Load(settings.kafka, source, 0.0)
    for _ in range(n_each):
        await load.prefill()
    await load.close()


async def catch_up(settings: Settings, apps: Sequence[str] = APP_NAMES) -> None:
    """Wait until these apps have read all of their input.

    Raises
    ------
    RunError
        When they are still behind after :data:`CATCH_UP_S`.
    """
    kafka, deadline = settings.kafka, time.monotonic() + CATCH_UP_S
    running = [app for app in APPS if app.name in apps]
    while any([await group_lag(kafka, kafka.group(app.name), app.input) for app in running]):
        if time.monotonic() > deadline:
            raise RunError(f"the workers are still behind after {CATCH_UP_S:g} s; name a smaller load")
        await asyncio.sleep(POLL_S)
