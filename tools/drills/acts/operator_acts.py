"""Acts of an operator in a drill: deleting unread events, adding partitions.

::

    sequencers   at rest ─ stopped              started: count what is gone
    events               └ doomed ─ deleted ─┘                      ... verdict

    sequencers   one, alone                   ends
    events       └ 2 more partitions ─ more events
    rebuild                                   └ --into ─ --promote
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

from streams.contract.committed_note import decode_judged
from streams.contract.records import VERSION, Event, encode
from streams.kafka.group_watch import GroupWatch
from streams.kafka.publisher import Publisher
from streams.kafka.topic_reader import read_records
from streams.kafka.topics import open_admin
from tools.drills.acts.replay_command import command
from tools.drills.judging.verdict import judge
from tools.drills.run import delete_topics
from tools.drills.session import Drill
from tools.replay.rebuild.compare_runs import read_held
from tools.replay.rebuild.copy_topics import event_range
from tools.replay.rebuild.manifest import run_settings
from tools.workers.supervisor import READY_S

if TYPE_CHECKING:
    from streams.settings.load import KafkaSettings

#: Events that are deleted unread; their users spread them over the partitions.
N_DELETED: Final = 400
#: The sequencer counts and commits a loss within this time, in seconds.
COUNTED_WITHIN_S: Final = 30.0
RUN: Final = "grown"
N_ADDED: Final = 2
#: Events that are published after the partitions were added.
N_AFTER: Final = 400
#: A worker checks the partitions every 5 s; the rest of the time is for its stop on a busy machine.
ENDS_WITHIN_S: Final = 20.0
POLL_S: Final = 0.1


async def delete_unread(drill: Drill) -> None:
    """Delete events that no sequencer has read: the sequencer must count exactly those as lost.

    The broker deletes a topic from its beginning, so all older events go too. The drill keeps these
    for the oracle.
    """
    kafka = drill.settings.kafka
    async with drill.load.at_rest():
        await drill.catch_up()
        drill.events_before = [record async for record in read_records(kafka, kafka.topic("events"))]
        for worker in drill.cluster.of_app("sequencer"):
            await drill.cluster.retire(worker)
        await _publish_doomed(kafka)
        await _delete_all(kafka)
        drill.n_hidden += N_DELETED
        # One worker alone commits the loss: where a partition moves before, its next owner counts
        # the loss again.
        first = drill.start_worker("sequencer")
        await drill.cluster.wait_ready()
        committed = await _wait_counted(kafka)
        counted = (await asyncio.to_thread(first.counts))["values"].get("events_expired", 0)
        for _ in range(drill.plan.n_workers - 1):
            drill.start_worker("sequencer")
    drill.extra |= {"events_deleted": N_DELETED, "events_expired": counted, "expired_committed": committed}
    if not counted == committed == N_DELETED:
        drill.found.append(f"records deleted: {N_DELETED}, counted {counted}, committed {committed}")


async def _publish_doomed(kafka: KafkaSettings) -> None:
    """Publish good events that no source repeats, so that a window that holds one is wrong."""
    now_ms = int(time.time() * 1000)
    async with Publisher(kafka) as publisher:
        for i in range(N_DELETED):
            event = Event(VERSION, f"doomed-{i}", f"u{i}", "doomed", "view", now_ms)
            await publisher.publish(kafka.topic("events"), event.user_id.encode(), encode(event))


async def _delete_all(kafka: KafkaSettings) -> None:
    _, ends = await event_range(kafka, None, None)
    topic = kafka.topic("events")
    admin: Any = await open_admin(kafka)
    try:
        await admin.delete_records({TopicPartition(topic, p): RecordsToDelete(end) for p, end in ends.items()})
    finally:
        await admin.close()


async def _wait_counted(kafka: KafkaSettings) -> int:
    """Wait until the group has committed the deleted events as lost; return their number."""
    deadline = time.monotonic() + COUNTED_WITHIN_S
    watch = GroupWatch(kafka, kafka.group("sequencer"))
    try:
        while True:
            notes = await watch.notes(kafka.topic("events"))
            n_lost = sum(gap.n_lost for note in notes.values() for gap in decode_judged(note).gaps)
            if n_lost >= N_DELETED or time.monotonic() > deadline:
                return n_lost
            await asyncio.sleep(POLL_S)
    finally:
        await watch.stop()


async def add_partitions(drill: Drill) -> None:
    """Add partitions to ``events`` under a sequencer, which must name the remedy; then try it."""
    kafka = drill.settings.kafka
    n_partitions = kafka.partitions + N_ADDED
    into = run_settings(drill.settings, RUN, n_partitions)
    drill.say(f"partitions added: {kafka.partitions} to {n_partitions}")
    try:
        await _grow_under_a_worker(drill, n_partitions)
        now_ms = int(time.time() * 1000)
        async with Publisher(kafka) as publisher:
            for i in range(N_AFTER):
                record = drill.load.source.of_user(f"u{i % drill.plan.n_users}", now_ms)
                await publisher.publish(kafka.topic("events"), record.key or b"", record.value)
        n_events = len([record async for record in read_records(kafka, kafka.topic("events"))])
        rebuilt = await command(drill, "--into", RUN, "--from-topic", "--partitions", str(n_partitions))
        if rebuilt["events"] != n_events:
            drill.found.append(f"partitions added: {n_events} events, {rebuilt['events']} of them in the rebuild")
        verdict = await judge(into, drill.items, (await read_held(into.kafka)).lists)
        drill.found += [f"partitions added: {problem}" for problem in verdict.problems()]
        promoted = await command(drill, "--promote", RUN)
        drill.extra["grown"] |= {
            "events": verdict.events, "users": verdict.users, "lost": verdict.lost, "wrong_windows": verdict.wrong_windows,
            "wrong_lists": verdict.wrong_lists, "switch": promoted["switch"],
        }  # fmt: skip
    finally:
        await delete_topics(into.kafka)


async def _grow_under_a_worker(drill: Drill, n_partitions: int) -> None:
    kafka = drill.settings.kafka
    worker = drill.cluster.make_worker("sequencer")
    worker.start()
    try:
        await asyncio.to_thread(worker.wait_ready, READY_S)
        admin = await open_admin(kafka)
        try:
            await admin.create_partitions({kafka.topic("events"): NewPartitions(n_partitions)})
        finally:
            await admin.close()
        grown_at = time.monotonic()
        while worker.is_running and time.monotonic() < grown_at + ENDS_WITHIN_S:
            await asyncio.sleep(POLL_S)
        end_s = round(time.monotonic() - grown_at, 1)
        drill.extra["grown"] = {"partitions": n_partitions, "exit": worker.returncode, "end_s": end_s}
        log = await asyncio.to_thread(worker.log_path.read_text, "utf-8", "replace")
        told = [
            line for line in log.splitlines() if f"partitions is {n_partitions}, must be {kafka.partitions}" in line
        ]
        if worker.returncode != 1 or not told or f"--partitions {n_partitions}" not in told[-1]:
            drill.found.append(f"partitions added: exit code {worker.returncode}, must be 1; {worker.log_tail()}")
    finally:
        worker.kill()
