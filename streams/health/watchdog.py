"""Whether this worker is alive and ready; it ends itself when it is stuck.

::

    every few seconds    broker ──► GroupWatch ──► StallJudge, ProgressJudge ──► StalledError
                         the process then ends with an exit code above 0
    twice a second       ProcessGuard (a thread): loop blocked, stop takes too long, parent gone

A silent broker is not a stall: the worker waits for it, and all clocks restart when it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Hashable
from typing import Any, Final, Protocol

from faust.types import TP

from streams.contract.committed_note import ACKNOWLEDGED, Acknowledged, Gap, decode_acknowledged, unseen
from streams.errors import BrokerError, StalledError
from streams.health.counters import Metrics
from streams.health.process_guard import ProcessGuard, parent_pid
from streams.health.reject_watch import RejectAlarm
from streams.health.stalls import ProgressJudge, Stall, StallJudge
from streams.health.unknown_items import UnknownItems
from streams.kafka.group_watch import Group, GroupWatch, PartitionOffsets, Place
from streams.kafka.topic_specs import check_partition_count
from streams.settings.load import Settings

#: Time between two questions to the broker; a fifth of the stall timeout if that is shorter.
CHECK_INTERVAL_S: Final = 5.0
BEAT_S: Final = 1.0
RESTART: Final = "the supervisor restarts the worker, which reads on from what is committed"


class WatchedApp(Protocol):
    """The worker's app as the watchdog uses it; all but the settings is Faust's or StreamApp's."""

    settings: Settings
    conf: Any
    log: Any
    tables: Any
    agents: Any
    consumer: Any
    should_stop: bool
    rebalancing: bool
    rebalancing_count: int
    consumer_generation_id: int

    @property
    def is_consuming(self) -> bool: ...  # noqa: D102 - as in StreamApp

    @property
    def member_id(self) -> str: ...  # noqa: D102 - as in StreamApp

    async def crash(self, reason: BaseException) -> None: ...  # noqa: D102 - as in mode


class Waiting(Protocol):
    """Something that records wait for, and why; empty while they do not wait."""

    problem: str


class Health:
    """Watches one worker. For its event loop."""

    def __init__(self, app: WatchedApp) -> None:
        self.app = app
        self.metrics: Metrics | None = None
        self.settings = app.settings.health
        self.watch = GroupWatch(app.settings.kafka, app.conf.id)
        self.cluster = ""  # its id
        self.broker_answers = True
        self.stalled = ""
        self.rejects: RejectAlarm | None = None  # the sequencer's
        self._expired: dict[TP, Gap] = {}  # the last gap found in each partition
        self.unknown: UnknownItems | None = None  # the recommender's
        self.registry: Waiting | None = None  # the schema registry of the worker's topic
        self.index_engine: Waiting | None = None  # the recommender's
        self.model: Waiting | None = None  # the recommender's announced artifact
        self._judge = StallJudge(self.settings.stall_timeout_s)
        self._recovery, self._membership = ProgressJudge(), ProgressJudge()
        # (committed, end) without a record in between
        self._empty: dict[Place, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._guard = ProcessGuard(
            block_timeout_s=self.settings.stall_timeout_s,
            stop_timeout_s=self.settings.stop_timeout_s,
            is_stopping=lambda: app.should_stop,
            parent=parent_pid(),
        )

    async def start(self) -> None:
        """Begin to watch; called before anything is consumed."""
        self.cluster = await self.watch.cluster_id()
        self._guard.beat()
        self._guard.start()
        self._tasks = [asyncio.ensure_future(self._beat()), asyncio.ensure_future(self._run())]

    async def stop(self) -> None:
        """Disconnect from the broker; the guard goes on until the process has ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.watch.stop()

    def not_ready(self) -> str:
        """Return why the worker cannot serve now, or ``""``.

        To serve, it needs its partitions and its state.
        """
        if self.app.should_stop:
            return "stopping"
        if not self.app.tables.recovery.completed.is_set() or self.app.tables.recovery.in_recovery:
            return "recovering"
        return "rebalancing" if self.app.rebalancing else ""

    def alarms(self) -> list[str]:
        """Return what an operator must look at; the worker goes on.

        A restart would not help.
        """
        rejects, now_s = self.rejects, time.monotonic()
        lines = [rejects.line] if rejects is not None and rejects.is_on(now_s) else []
        lines += [
            gap.describe(*tp)
            for tp, gap in sorted(self._expired.items())
            if unseen([gap], Acknowledged(), int(time.time() * 1000))
        ]
        unknown = "" if self.unknown is None else self.unknown.alarm()
        others = [one.problem for one in (self.registry, self.index_engine, self.model) if one is not None]
        return [*lines, *(line for line in (unknown, *others) if line)]

    def note_expired(self, tp: TP, gap: Gap) -> None:
        """Note that the broker deleted events before they were read."""
        self._expired[tp] = gap
        if self.metrics is not None:
            self.metrics.add("events_expired", gap.n_lost)

    async def _drop_acknowledged(self) -> None:
        """Drop the gaps that an operator has acknowledged; a silent broker leaves the alarm on."""
        if not self._expired:
            return
        kafka = self.app.settings.kafka
        with contextlib.suppress(BrokerError):
            notes = await self.watch.notes(kafka.topic("events"), kafka.group(ACKNOWLEDGED))
            seen = {number: decode_acknowledged(note) for number, note in notes.items()}
            self._expired = {
                tp: gap for tp, gap in self._expired.items() if not seen.get(tp.partition, Acknowledged()).covers(gap)
            }

    def as_dict(self) -> dict[str, object]:
        """Return the state for ``/live``."""
        standing = self._judge.standing_s(time.monotonic())
        return {
            "live": not self.stalled,
            "why": self.stalled,
            "broker_answers": self.broker_answers,
            "standing_s": {f"{topic}-{partition}": round(s, 1) for (topic, partition), s in sorted(standing.items())},
        }

    def end_soon(self) -> None:
        """Note the crash, so that the worker ends even if its stop hangs; from any thread."""
        self._guard.crashed()

    async def _beat(self) -> None:
        while True:
            self._guard.beat()
            await asyncio.sleep(BEAT_S)

    async def _run(self) -> None:
        interval_s = min(CHECK_INTERVAL_S, self.settings.stall_timeout_s / 5)
        while True:
            slept_s = time.monotonic()
            await asyncio.sleep(interval_s)
            now_s = time.monotonic()
            if now_s - slept_s > interval_s + self.settings.stall_timeout_s / 2:
                self._restart_clocks()  # the process was paused
            if self.app.should_stop or not self.app.is_consuming:
                # before it consumes, the model and the catalogue load, which may take minutes
                continue
            try:
                await self.look(now_s)
            except StalledError as exc:
                self.stalled = str(exc)
                await self.app.crash(exc)
            except Exception as exc:  # a worker without a watchdog must not count as healthy
                await self.app.crash(exc)

    async def look(self, now_s: float) -> None:
        """Look once, at ``now_s`` seconds of the monotonic clock.

        Raises
        ------
        StalledError
            When the worker is stuck.
        TopicError
            When a topic that it reads has another partition count than the settings: the worker
            would leave some partitions unread.
        """
        try:
            await self._check(now_s)
            self.broker_answers = True
        except BrokerError as exc:
            self.broker_answers = False
            self._restart_clocks()
            self.app.log.warning("health: %s; waiting for it", exc)

    def _restart_clocks(self) -> None:
        self._judge.restart()
        self._recovery, self._membership = ProgressJudge(), ProgressJudge()

    async def _check(self, now_s: float) -> None:
        """As :meth:`look`, but raise :class:`BrokerError` when the broker does not answer."""
        for topic in sorted(self._source_topics()):
            check_partition_count(topic, await self.watch.partition_count(topic), self.app.settings.kafka)
        await self._drop_acknowledged()
        assigned = {(tp.topic, tp.partition) for tp in self._source_partitions()}
        offsets = await self._offsets(assigned)
        await self._check_membership(now_s, assigned)
        state = self._recovery_state() if self.not_ready() else None
        seconds = self._recovery.observe(now_s, state)
        if state is not None:
            self._judge.restart()
            if seconds > self.settings.recovery_timeout_s:
                raise StalledError(
                    f"{self.not_ready()} without progress for {seconds:.0f} s, above recovery_timeout_s="
                    f"{self.settings.recovery_timeout_s:g}: at {state}; {RESTART}"
                )
            return
        stalls = [stall for stall in self._judge.observe(now_s, offsets) if not await self._is_empty(stall)]
        if stalls:
            raise StalledError("; ".join(self._describe(stall) for stall in stalls) + f"; {RESTART}")

    async def _offsets(self, assigned: set[Place]) -> dict[Place, PartitionOffsets]:
        is_held = any(not message.acked for message in list(self.app.consumer.unacked))
        offsets: dict[Place, PartitionOffsets] = {}
        for topic in sorted(self._source_topics()):
            found = await self.watch.offsets(topic, [partition for name, partition in assigned if name == topic])
            for place, at in found.items():
                if self._empty.get(place) == (at.committed, at.end):
                    at = PartitionOffsets(at.end, at.end)
                offsets[place] = PartitionOffsets(at.committed, at.end, is_held)
        if self.metrics is not None:
            self.metrics.lag = {place[1]: at.lag for place, at in offsets.items()}
        return offsets

    async def _is_empty(self, stall: Stall) -> bool:
        """Whether only markers and compacted offsets lie behind the committed offset.

        This is not a stall.
        """
        at = stall.offsets
        if await self.watch.has_records(stall.place, at.committed):
            return False
        self._empty[stall.place] = (at.committed, at.end)
        return True

    async def _check_membership(self, now_s: float, assigned: set[Place]) -> None:
        group = await self.watch.describe()
        lost = None if group is None else lost_consumer(group, self.app.member_id, self._all_places())
        seconds = self._membership.observe(now_s, lost)
        if lost is not None and seconds > self.settings.stall_timeout_s:
            raise StalledError(
                f"group {self.watch.group}: {lost} for {seconds:.0f} s, above stall_timeout_s="
                f"{self.settings.stall_timeout_s:g}, with {len(assigned)} partitions here; {RESTART}"
            )

    def _recovery_state(self) -> Hashable:
        """Return values that change while joining and recovery go on.

        The tables' offsets are among them.
        """
        reached = [
            (tp, table.persisted_offset(tp))
            for table, partitions in self.app.tables.recovery.actives_for_table.items()
            for tp in sorted(partitions)
            if table.is_open(tp.partition)
        ]
        return (self.app.rebalancing_count, self.app.consumer_generation_id, tuple(reached))

    def _source_topics(self) -> set[str]:
        return {topic for agent in self.app.agents.values() for topic in agent.channel.topics}

    def _source_partitions(self) -> set[TP]:
        topics = self._source_topics()
        return {tp for tp in self.app.consumer.assignment() if tp.topic in topics}

    def _all_places(self) -> set[Place]:
        return {(topic, p) for topic in self._source_topics() for p in range(self.app.settings.kafka.partitions)}

    def _describe(self, stall: Stall) -> str:
        topic, partition = stall.place
        at = stall.offsets
        return (
            f"{topic}-{partition}: committed {at.committed} stands still for {stall.seconds:.0f} s while records wait up to {at.end}, "
            f"above stall_timeout_s={self.settings.stall_timeout_s:g}"
        )


def lost_consumer(group: Group, member_id: str, places: set[Place]) -> str | None:
    """Return how a group has lost this worker's consumer, or None.

    Parameters
    ----------
    group : the group as the broker knows it
    member_id : the worker's own id; empty before it has one
    places : all partitions that the group consumes
    """
    own = next((member for member in group.members if member.member_id == member_id), None)
    if own is None:
        return "the broker does not have this worker as a member"
    free = places - {place for member in group.members for place in member.partitions}
    if group.state == "Stable" and free and not own.partitions & places:
        return "no partition is assigned to this worker although some are free"
    return None
