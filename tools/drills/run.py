"""Runs a drill from its topics to its report, and deletes its topics.

::

    topics ─ artifact ─ items ─ workers ─ prefill ─ caught up ─┬─ load ────────────┬─ caught up
                                                               └─ faults of a kind ┘  └─ verdict
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from streams.contract.records import Item, encode
from streams.kafka.publisher import Publisher
from streams.kafka.topic_specs import TOPICS
from streams.kafka.topics import create_topics, open_admin
from streams.settings.load import KafkaSettings
from tools.drills.judging.verdict import judge
from tools.drills.kind import Kind, Script
from tools.drills.report import report_of
from tools.drills.session import Drill
from tools.workers.apps import APP_NAMES

#: The load goes on for this many seconds after the last fault.
AFTER_LAST_FAULT_S: Final = 3.0


async def run_drill(kind: Kind, drill: Drill) -> dict[str, Any]:
    """Run a drill from its topics to its report. Its workers and its load end in any case.

    Returns
    -------
    the report; its ``problems`` are empty when the drill has passed
    """
    started = time.monotonic()
    kafka = drill.settings.kafka
    kind.prepare(drill)
    await create_topics(kafka)
    await publish_items(kafka, drill.items)
    jobs: list[asyncio.Task[Any]] = []
    try:
        for name in APP_NAMES:
            for _ in range(drill.plan.n_workers):
                drill.start_worker(name)
        jobs.append(asyncio.create_task(drill.cluster.supervise()))
        async with drill.observer:
            await drill.cluster.wait_ready()
            await drill.prefill()
            await _script_under_load(drill, kind.script, jobs)
            settle_s = await drill.catch_up()
            await drill.look_at_pages()
        await drill.cluster.stop()
        drill.say("comparing with what the events must lead to")
        lists = drill.observer.ledger.newest()
        verdict = await judge(
            drill.settings,
            drill.items,
            lists,
            n_hidden=drill.n_hidden,
            before=drill.events_before,
            rules=drill.rules,
            artifacts=drill.artifacts,
        )
        verdict.stale_windows = drill.observer.windows.n_stale
        await kind.epilogue(drill)
    finally:
        await _end(drill, jobs)
    return report_of(drill, verdict) | {
        "settle_s": round(settle_s, 1),
        "seconds": round(time.monotonic() - started, 1),
    }


async def _script_under_load(drill: Drill, script: Script, jobs: list[asyncio.Task[Any]]) -> None:
    load = asyncio.create_task(drill.load.run())
    faults = asyncio.create_task(_faults(drill, script))
    jobs += [load, faults]
    await asyncio.wait([*jobs], return_when=asyncio.FIRST_COMPLETED)
    if not faults.done():  # load or supervision ended, and so has failed
        for job in jobs:
            if job.done():
                await job
    await faults
    await load


async def _faults(drill: Drill, script: Script) -> None:
    try:
        await drill.healthy()
        await script(drill)
        await asyncio.sleep(AFTER_LAST_FAULT_S)
    finally:
        drill.load.stop()


async def _end(drill: Drill, jobs: list[asyncio.Task[Any]]) -> None:
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    await drill.load.close()
    await drill.cluster.stop()


async def publish_items(kafka: KafkaSettings, items: list[Item]) -> None:
    """Publish a catalogue."""
    async with Publisher(kafka) as publisher:
        for item in items:
            await publisher.publish(kafka.topic("items"), item.item_id.encode(), encode(item))


async def delete_topics(kafka: KafkaSettings) -> None:
    """Delete the topics of the drill's prefix."""
    admin = await open_admin(kafka)
    try:
        names = {kafka.topic(spec.name) for spec in TOPICS} & set(await admin.list_topics())
        if names:
            await admin.delete_topics(sorted(names))
    finally:
        await admin.close()
