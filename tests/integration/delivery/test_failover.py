"""The supervisor removes a killed worker from its group, so the others take over at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from streams.kafka.group_watch import GroupWatch
from streams.kafka.topics import create_topics
from streams.settings.load import Settings
from tests.support.waiting import wait_until
from tools.workers.ports import free_port
from tools.workers.process import Worker
from tools.workers.supervisor import Supervisor

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("several_workers")]
WAIT_S = 60.0
SESSION_TIMEOUT_S = 30.0


def members(settings: Settings) -> set[str]:
    """Return the client ids of the group's members that have partitions."""

    async def run() -> set[str]:
        watch = GroupWatch(settings.kafka, settings.kafka.group("sequencer"))
        try:
            group = await watch.describe()
            return {m.client_id for m in group.members if m.partitions} if group and group.state == "Stable" else set()
        finally:
            await watch.stop()

    return asyncio.run(run())


def test_the_partitions_of_a_killed_worker_go_to_another_at_once(settings: Settings, tmp_path: Path) -> None:
    """Far within the session timeout; workers that live stay, and an unknown id removes nobody."""
    asyncio.run(create_topics(settings.kafka))
    env = {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_SESSION_TIMEOUT_MS": str(int(SESSION_TIMEOUT_S * 1000)),
    }
    one, other = (
        Worker("sequencer", {**env, "HEADRACE_DATA_DIR": str(tmp_path / name)}, free_port(), tmp_path / f"{name}.log")
        for name in ("one", "other")
    )
    try:
        one.start()
        other.start()
        both = {one.client_id, other.client_id}
        wait_until(lambda: members(settings) == both, WAIT_S, lambda: f"{members(settings)} of {both}")
        one.kill()
        Supervisor([one]).check(time.monotonic())
        within_s = SESSION_TIMEOUT_S / 5
        wait_until(lambda: members(settings) == {other.client_id}, within_s, lambda: str(members(settings)))
    finally:
        one.stop()
        other.stop()
