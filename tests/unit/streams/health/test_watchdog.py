"""When a worker is stuck, over a broker and a clock of our own."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from streams.contract.committed_note import UNHEALTHY_MS, Acknowledged, Gap, encode
from streams.errors import BrokerError, StalledError, TopicError
from streams.health.watchdog import Health, lost_consumer
from streams.kafka.group_watch import Group, Member, PartitionOffsets, Place
from streams.runtime.app import StreamApp
from streams.settings.load import Settings

PLACES: set[Place] = {("events", 0), ("events", 1)}


def group(*members: tuple[str, set[Place]], state: str = "Stable") -> Group:
    return Group(state, tuple(Member(name, "faust", "/127.0.0.1", frozenset(places)) for name, places in members))


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (group(("me", PLACES)), None),
        (group(("me", set()), ("other", PLACES)), None),  # more workers than partitions
        # something is free, but not for want of work here
        (group(("me", {("events", 0)}), ("other", set())), None),
        (group(("other", PLACES)), "as a member"),
        (group(), "as a member"),
        (group(("me", set()), ("other", {("events", 0)})), "although some are free"),
        (group(("me", {("sequences", 0)})), "although some are free"),
        (group(("me", set()), state="PreparingRebalance"), None),
    ],
)
def test_lost_consumer(found: Group, lost: str | None) -> None:
    why = lost_consumer(found, "me", PLACES)
    assert (why is None) if lost is None else (why is not None and lost in why)


class FakeWatch:
    """What the broker says; ``silent`` makes it say nothing."""

    group = "headrace-sequencer"

    def __init__(self) -> None:
        self.silent = False
        self.committed, self.end, self.readable = 10, 20, True
        self.n_partitions: int | None = 4
        self.acknowledged: dict[int, str] = {}

    async def offsets(self, topic: str, partitions: list[int]) -> dict[Place, PartitionOffsets]:
        if self.silent:
            raise BrokerError("broker does not answer")
        return {(topic, partition): PartitionOffsets(self.committed, self.end) for partition in partitions}

    async def notes(self, topic: str, group: str) -> dict[int, str]:
        assert (topic, group) == ("events", "headrace-sequencer.acknowledged")
        if self.silent:
            raise BrokerError("broker does not answer")
        return self.acknowledged

    async def partition_count(self, topic: str) -> int | None:
        return self.n_partitions

    async def describe(self) -> Group:
        return group(("me", PLACES))

    async def has_records(self, place: Place, offset: int) -> bool:
        return self.readable


class FakeTable:
    """A table in memory, recovered up to ``reached["offset"]``."""

    def __init__(self, reached: dict[str, int]) -> None:
        self.reached = reached

    def is_open(self, partition: int) -> bool:
        return True

    def persisted_offset(self, tp: TP) -> int:
        return self.reached["offset"]


class Watched:
    """A worker's health over fakes, looked at once every ``step_s`` of a clock of our own."""

    def __init__(self) -> None:
        self.recovery = SimpleNamespace(completed=asyncio.Event(), in_recovery=False, actives_for_table={})
        self.recovery.completed.set()
        self.app: Any = SimpleNamespace(
            settings=Settings(),
            conf=SimpleNamespace(id="headrace-sequencer"),
            agents={"sequence": SimpleNamespace(channel=SimpleNamespace(topics=["events"]))},
            consumer=SimpleNamespace(
                assignment=lambda: {TP("events", 0), TP("sequences", 0)},
                unacked=set(),
            ),
            is_consuming=True,
            member_id="me",
            tables=SimpleNamespace(recovery=self.recovery),
            log=logging.getLogger("test"),
            should_stop=False,
            rebalancing=False,
            rebalancing_count=1,
            consumer_generation_id=1,
        )
        self.health = Health(cast(StreamApp, self.app))
        self.health.watch = self.watch = FakeWatch()  # type: ignore[assignment]
        self.now_s = 0.0

    def look(self, seconds: float, step_s: float = 5.0) -> None:
        for _ in range(int(seconds / step_s)):
            self.now_s += step_s
            asyncio.run(self.health.look(self.now_s))


def test_a_partition_that_stands_still_is_named_with_what_to_do() -> None:
    watched = Watched()
    watched.look(60)
    with pytest.raises(StalledError) as caught:
        watched.look(20)
    for word in ("events-0", "committed 10", "up to 20", "stall_timeout_s=60", "supervisor"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_acknowledged_loss_is_no_alarm_any_more() -> None:
    """Within one look; one that came later is, and so is each while the broker cannot tell."""
    watched = Watched()
    now_ms = int(time.time() * 1000)
    watched.health.note_expired(TP("events", 0), Gap(5, 9, now_ms))
    watched.health.note_expired(TP("events", 1), Gap(50, 90, now_ms))
    watched.watch.acknowledged = {0: encode(Acknowledged(9, now_ms)), 1: encode(Acknowledged(60, now_ms))}
    watched.watch.silent = True
    watched.look(5)
    assert len(watched.health.alarms()) == 2
    watched.watch.silent = False
    watched.look(5)
    (line,) = watched.health.alarms()
    assert "events-1: offsets 50 to 89" in line and "at most 40 events" in line
    watched.watch.acknowledged[1] = encode(Acknowledged(90, now_ms))
    watched.look(5)
    assert watched.health.alarms() == []


def test_a_loss_is_an_alarm_for_a_day() -> None:
    watched = Watched()
    now_ms = int(time.time() * 1000)
    watched.health.note_expired(TP("events", 0), Gap(5, 9, now_ms - UNHEALTHY_MS + 60_000))
    assert len(watched.health.alarms()) == 1
    watched.health.note_expired(TP("events", 0), Gap(5, 9, now_ms - UNHEALTHY_MS - 1))
    assert watched.health.alarms() == []


def test_a_topic_that_was_given_partitions_ends_the_worker_within_one_look() -> None:
    """Users have moved, and half of the events lie unread.

    One line says so, and its remedy works.
    """
    watched = Watched()
    watched.look(5)
    watched.watch.n_partitions = 6
    with pytest.raises(TopicError) as caught:
        watched.look(5)
    for word in (
        "events: partitions is 6, must be 4",
        "HEADRACE_PARTITIONS=4 headrace replay --into RUN --from-topic --partitions 6",
        "headrace replay --promote RUN",
    ):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_partition_count_that_the_broker_does_not_tell_is_not_judged() -> None:
    watched = Watched()
    watched.watch.n_partitions = None
    watched.look(5)


def test_nothing_but_markers_behind_the_committed_offset_is_no_stall() -> None:
    watched = Watched()
    watched.watch.readable = False
    watched.look(600)
    watched.watch.readable, watched.watch.end = True, 21
    watched.look(60)
    with pytest.raises(StalledError):
        watched.look(20)


def test_a_silent_broker_starts_all_clocks_anew() -> None:
    watched = Watched()
    watched.look(50)
    watched.watch.silent = True
    watched.look(600)
    assert watched.health.broker_answers is False
    watched.watch.silent = False
    watched.look(50)
    assert watched.health.broker_answers is True
    with pytest.raises(StalledError):
        watched.look(30)


def test_a_recovery_is_stuck_only_when_its_tables_stand_still() -> None:
    watched = Watched()
    watched.recovery.in_recovery = True
    reached = {"offset": 0}
    watched.recovery.actives_for_table = {FakeTable(reached): {TP("sequences", 0)}}
    for _ in range(10):
        reached["offset"] += 1
        watched.look(100)
    with pytest.raises(StalledError, match=r"recovering without progress for 12\d s, above recovery_timeout_s=120"):
        watched.look(130)


def test_a_lost_consumer_is_ended_after_the_stall_timeout() -> None:
    watched = Watched()
    watched.watch.end = watched.watch.committed
    watched.app.member_id = "forgotten"
    watched.look(60)
    with pytest.raises(StalledError, match="does not have this worker as a member"):
        watched.look(10)
