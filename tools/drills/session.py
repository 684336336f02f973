"""What the script of a drill works with: plan, load, workers, observer, and faults."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.rules.row_rules import Rules
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Item
from streams.errors import RunError
from streams.kafka.group_watch import group_lag
from streams.settings.load import Settings
from tools.broker.local_broker import BrokerInfo
from tools.drills.artifact import catalogue_of
from tools.drills.cluster import Cluster, DrillWorker, is_ready, unbalanced
from tools.drills.events import EventSource
from tools.drills.judging.observer import Observer
from tools.drills.load import Load
from tools.drills.plan import Plan
from tools.workers.apps import APPS, AppName

#: Longest time in seconds that a drill waits until both groups have caught up, and until lists flow
#: again after a fault.
CATCH_UP_S: Final = 300.0
HEALTHY_S: Final = 120.0
POLL_S: Final = 0.2
#: The recommender whose model a drill can disturb, and the variable that names its fault file. Its
#: module is not imported here, because it imports PyTorch.
FAULTY_APP: Final = "tools.drills.faulty_model"
FAULT_VARIABLE: Final = "HEADRACE_DRILL_FAULTS"
#: Workers commit once a second, so that under load some seconds of events are always uncommitted.
NEAR_S: Final = 4.0
SESSION_TIMEOUT_MS: Final = 6_000


@dataclass
class Fault:
    """One disturbance.

    Parameters
    ----------
    downtime_s : longest pause of any partition of ``sequences`` or ``recommendations`` around it
    healthy_s : from its beginning until all was well again
    """

    name: str
    downtime_s: float = 0.0
    healthy_s: float = 0.0


class Drill:
    """What the script of a kind works with.

    Attributes
    ----------
    items : the catalogue at the end of the drill; a script that changes the catalogue changes this
        too
    artifacts : folders of the artifacts that lists may be made with, that of the settings first
    extra : figures that the kind reports beside the verdict
    found : problems that the kind found, one line each
    prefill_s : seconds from the first event of the prefill to its last list
    rules : by version, the rules documents that were in force at some time
    n_hidden : offsets of ``events`` that a reader of committed records never sees: of aborted
        records, transaction markers and events that were deleted unread
    events_before : records of ``events`` that were sequenced and then deleted
    pages : the last pages ``/counts`` of the workers
    """

    def __init__(
        self, settings: Settings, plan: Plan, broker: BrokerInfo, folder: Path, say: Callable[[str], None]
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.broker = broker
        self.folder = folder
        self.say = say
        self.rng = random.Random(plan.seed)  # noqa: S311 - a reproducible order of faults, nothing secret
        self.items: list[Item] = catalogue_of(Path(settings.recommender.artifact))
        self.cluster = Cluster(settings, folder, variables_of(settings, plan) | roots_of(settings, folder))
        source = EventSource(
            plan.n_users,
            [item.item_id for item in self.items],
            plan.seed,
            plan.shares,
            lateness_ms=settings.sequencer.allowed_lateness_ms,
        )
        self.load = Load(settings.kafka, source, plan.rate_per_s)
        self.observer = Observer(settings.kafka)
        self.faults: list[Fault] = []
        self.artifacts = [Path(settings.recommender.artifact)]
        self.extra: dict[str, Any] = {}
        self.found: list[str] = []
        self.prefill_s = 0.0
        self.rules: dict[str, Rules] = {}
        self.n_hidden = 0
        self.events_before: list[ConsumedRecord] = []
        self.pages: dict[str, dict[str, Any]] = {}

    def start_worker(self, name: AppName) -> DrillWorker:
        """Start one more worker of an app, with the faulty model where the kind needs it."""
        if name == "recommender" and self.plan.needs.model_faults:
            return self.cluster.start_worker(name, module=FAULTY_APP, env={FAULT_VARIABLE: str(self.fault_file)})
        return self.cluster.start_worker(name)

    @property
    def fault_file(self) -> Path:
        """Return the file that names the fault of the model, see ``tools.drills.faulty_model``."""
        return self.folder / "faults.json"

    @contextlib.asynccontextmanager
    async def fault(self, name: str, healthy_within_s: float = HEALTHY_S) -> AsyncIterator[Fault]:
        """Measure the disturbance that the block causes; return when all is well again."""
        fault = Fault(name)
        self.say(f"fault: {name}")
        started = time.monotonic()
        self.observer.gaps.mark(started)
        yield fault
        await self.healthy(healthy_within_s)
        now = time.monotonic()
        fault.downtime_s, fault.healthy_s = round(self.observer.gaps.longest_s(now), 2), round(now - started, 2)
        self.faults.append(fault)
        self.say(f"  longest pause {fault.downtime_s:.1f} s, all well after {fault.healthy_s:.1f} s")
        await self.look_at_pages()

    async def healthy(self, timeout_s: float = HEALTHY_S) -> None:
        """Return when all workers are ready and records arrive on every partition of both topics.

        Raises
        ------
        RunError
            When that takes longer than ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        is_well = False
        while not is_well:
            await self.cluster.wait_ready(max(1.0, deadline - time.monotonic()))
            # an arrival before all workers are ready proves nothing
            self.observer.gaps.restart_arrivals()
            while not self.observer.gaps.all_flow():
                if time.monotonic() > deadline:
                    raise RunError(f"no windows or lists on some partition for {timeout_s:g} s; logs: {self.folder}")
                await asyncio.sleep(POLL_S)
            is_well = await self._all_ready()

    async def _all_ready(self) -> bool:
        return all([await is_ready(worker) for worker in self.cluster.workers])

    async def lag(self) -> dict[str, int]:
        """Return how many records each app's group has not committed."""
        kafka = self.settings.kafka
        return {app.name: await group_lag(kafka, kafka.group(app.name), app.input) for app in APPS}

    async def catch_up(self, timeout_s: float = CATCH_UP_S) -> float:
        """Wait until both groups and the observer have caught up; return the seconds.

        Raises
        ------
        RunError
            When that takes longer than ``timeout_s``.
        """
        started = time.monotonic()
        await self._wait_for_lag(0, timeout_s)
        await self.observer.catch_up(timeout_s)
        return time.monotonic() - started

    async def prefill(self) -> None:
        """Publish one event of each user and wait for the lists."""
        started = time.monotonic()
        await self.load.prefill()
        await self.catch_up()
        self.prefill_s = time.monotonic() - started
        self.say(f"prefill: {self.plan.n_users:,} users have their lists after {self.prefill_s:.1f} s")

    async def come_near_the_end(self, timeout_s: float = CATCH_UP_S) -> float:
        """Wait until only the events of a few seconds are uncommitted; return the seconds.

        Raises
        ------
        RunError
            When that takes longer than ``timeout_s``.
        """
        started = time.monotonic()
        await self._wait_for_lag(NEAR_S * self.plan.rate_per_s, timeout_s)
        return time.monotonic() - started

    async def _wait_for_lag(self, most: float, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while max((lag := await self.lag()).values()) > most:
            if time.monotonic() > deadline:
                raise RunError(f"still behind after {timeout_s:g} s, lag {lag}; logs: {self.folder}")
            await asyncio.sleep(POLL_S)

    async def look_at_pages(self) -> None:
        """Check that the five counts add up on every page that answers."""
        self.pages = await self.cluster.counts()
        self.found += [f"{label}: counts do not add up" for label in unbalanced(self.pages)]


def roots_of(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the setting by which workers also take artifacts in the drill's own folder."""
    return {"HEADRACE_ARTIFACT_ROOTS": ",".join(map(str, [*settings.recommender.roots(), folder]))}


def variables_of(settings: Settings, plan: Plan) -> dict[str, str]:
    """Return the environment variables of every worker, beside broker, prefix and artifact.

    Live popularity is off, so that a list follows from window, catalogue and artifact alone. The
    oracle needs that.
    """
    variables = {
        "HEADRACE_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
        "HEADRACE_SEQUENCE_STORE": plan.store,
        "HEADRACE_LIVE_POPULARITY": "off",
        "HEADRACE_DEVICE": "cpu",
    }
    return variables | dict(plan.needs.variables)
