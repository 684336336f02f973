"""Runs the two workers of a rebuild run, and waits until they are done."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from streams.errors import RunError
from streams.kafka.group_watch import GroupWatch
from streams.printable import counted
from streams.settings.load import KafkaSettings, Settings
from tools.workers.apps import APP_NAMES, APPS
from tools.workers.launch import Launch, deployment_variables, make_worker
from tools.workers.process import Worker
from tools.workers.supervisor import Supervisor, running

STUCK_AFTER_S: Final = 300.0
#: A killed worker stays in its group until its session times out.
EMPTY_WITHIN_S: Final = 60.0
POLL_S: Final = 0.5


def run_variables(settings: Settings) -> dict[str, str]:
    """Return the environment variables that lead a process to the topics of a run."""
    return deployment_variables(settings) | {"HEADRACE_PARTITIONS": str(settings.kafka.partitions)}


@contextlib.contextmanager
def running_workers(settings: Settings, folder: Path) -> Iterator[list[Worker]]:
    """Give a sequencer and a recommender of a run, ready; stop them when the block ends."""
    launches = [
        Launch(app, folder / app, folder / "logs" / f"{app}.log", variables=run_variables(settings))
        for app in APP_NAMES
    ]
    workers = [make_worker(Worker, settings, launch) for launch in launches]
    with running(workers):
        yield workers


async def backlog(kafka: KafkaSettings, watches: list[GroupWatch]) -> list[int]:
    """Return how many records the sequencer and the recommender have not committed.

    The number of the sequencer comes first. While it is above 0, more records come for the
    recommender.
    """
    found = []
    for watch, app in zip(watches, APPS, strict=True):
        offsets = await watch.offsets(kafka.topic(app.input), range(kafka.partitions))
        found.append(sum(place.end - place.committed for place in offsets.values()))
    return found


async def catch_up(settings: Settings, workers: list[Worker], on_backlog: Callable[[int, int], None]) -> None:
    """Wait until both groups have committed all records; restart workers that end on their own.

    Raises
    ------
    RunError
        When nothing moves for :data:`STUCK_AFTER_S`.
    WorkerError
        When a worker ends again and again.
    """
    supervisor = Supervisor(workers)
    watches = [GroupWatch(settings.kafka, settings.kafka.group(app)) for app in APP_NAMES]
    before, moved_at = [-1, -1], time.monotonic()
    try:
        while any(left := await backlog(settings.kafka, watches)):
            supervisor.check(time.monotonic())
            on_backlog(*left)
            if left != before:
                before, moved_at = left, time.monotonic()
            if time.monotonic() - moved_at > STUCK_AFTER_S:
                raise RunError(
                    f"nothing moved for {STUCK_AFTER_S:g} s: {counted(left[0], 'event')} and {counted(left[1], 'window')} left; "
                    f"{what_to_see(settings.kafka, workers)}"
                )
            await asyncio.sleep(POLL_S)
    finally:
        for watch in watches:
            await watch.stop()


def what_to_see(into: KafkaSettings, workers: list[Worker]) -> str:
    """Return a remedy for when nothing moves: the logs of the workers, or how to start workers."""
    if workers:
        return "; ".join(worker.log_tail() for worker in workers)
    return (
        "start the workers of the run, with "
        f"HEADRACE_TOPIC_PREFIX={into.topic_prefix} and HEADRACE_PARTITIONS={into.partitions}"
    )


async def busy_groups(kafka: KafkaSettings) -> list[str]:
    """Return the groups of both apps that have members, each with their number."""
    busy = []
    for app in APP_NAMES:
        watch = GroupWatch(kafka, kafka.group(app))
        try:
            group = await watch.describe()
        finally:
            await watch.stop()
        if group is not None and (group.members or group.state not in ("Empty", "Dead")):
            busy.append(f"{watch.group} ({counted(len(group.members), 'member')}, {group.state})")
    return busy


async def wait_until_idle(kafka: KafkaSettings, timeout_s: float = EMPTY_WITHIN_S) -> None:
    """Wait until no worker of these topics is left.

    Raises
    ------
    RunError
        When some are left after ``timeout_s`` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while busy := await busy_groups(kafka):
        if time.monotonic() > deadline:
            raise RunError(
                f"workers still run after {timeout_s:g} s: {', '.join(busy)}; stop them (headrace up: Ctrl-C)"
            )
        await asyncio.sleep(POLL_S)
