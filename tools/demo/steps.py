"""The steps of a demo: it runs commands that a person could give, and then reads the lists."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from streams.contract.records import Recommendation, RecordDecoder
from streams.errors import InputError, RunError
from streams.kafka.group_watch import group_lag
from streams.kafka.topic_reader import read_records
from streams.printable import counted
from streams.settings.load import Settings
from tools.cli import progress, say
from tools.demo.live import n_backlog, publish_live
from tools.demo.movielens import DemoLog
from tools.files.file_options import FileOptions
from tools.files.log_source import LogSource
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import LogRow
from tools.files.refused_rows import RefusedRows
from tools.workers.apps import APP_NAMES
from tools.workers.launch import Launch, deployment_variables, make_worker
from tools.workers.process import Worker
from tools.workers.supervisor import running

TRAIN_SHARE: Final = 0.8
#: The replay runs thousands of times faster than real time, so that a batch of full size would hold
#: whole sessions. With small batches, one at a time, the apps make windows and lists within a
#: session too.
DEMO_BATCHES: Final = {
    "HEADRACE_BATCH_MAX_RECORDS": "2",
    "HEADRACE_IN_FLIGHT_BATCHES": "1",
}
DRAIN_S: Final = 240


@dataclass(frozen=True)
class Split:
    """The log in time order, cut at a time: training before it, replay from it on.

    Parameters
    ----------
    live : the last of the replayed events, which come one by one after the backlog of the others
    """

    history: list[LogRow]
    replayed: list[LogRow]
    at_ms: int
    live: list[LogRow] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What a demo produced.

    Parameters
    ----------
    trained : the result of ``headrace train``
    n_sent : events that were published, the live ones included
    counts : the sequencer's counts of all events
    lists : all published lists
    freshness_ms : for each list, the milliseconds from its event's arrival at the broker until the
        list was made
    flow_s : seconds from the start of the replay to the last list of the backlog
    """

    trained: dict[str, Any]
    n_sent: int
    counts: dict[str, int]
    lists: list[Recommendation]
    freshness_ms: list[float]
    flow_s: float


def split_by_time(log: DemoLog) -> Split:
    """Read the log in time order and cut it at the time that has 80 % of the events before it."""
    reader = LogReader(LogSource((log.events,), FileOptions(log.columns)), RefusedRows(shown=0))
    rows = list(sorted_rows(reader))
    at_ms = rows[int(TRAIN_SHARE * len(rows))].ts_ms
    history = [row for row in rows if row.ts_ms < at_ms]
    if not history:
        raise InputError(f"{log.events}: all events have one time, {at_ms} ms: nothing to train on before it")
    replayed = rows[len(history) :]
    return Split(history, replayed, at_ms, replayed[n_backlog([row.ts_ms for row in replayed]) :])


def run_steps(settings: Settings, log: DemoLog, split: Split, training: Sequence[str]) -> Outcome:
    """Train, start both apps, replay, wait until every window has its list, and read the lists.

    The live events come after the backlog, while the apps have nothing else to do.

    Parameters
    ----------
    training : further options of ``headrace train``
    """
    environment = os.environ | deployment_variables(settings)
    columns = ["--columns", log.columns] if log.columns else []
    item_columns = ["--columns", log.item_columns] if log.item_columns else []
    train_columns = ["--item-columns", log.item_columns] if log.item_columns else []
    command(environment, "topics", "create")
    command(environment, "items", "put", str(log.items), *item_columns)
    trained = command(
        environment, "train", str(log.events), "--items", str(log.items), "--out", settings.recommender.artifact,
        "--until", str(split.at_ms), "--preset", "demo", *training, *columns, *train_columns,
    )  # fmt: skip
    say(f"trained artifact {trained['artifact']} in {trained['seconds']:.0f} s")
    with workers(settings) as (sequencer, recommender):
        replay_started = time.monotonic()
        until = ["--to", str(split.live[0].ts_ms)] if split.live else []
        replayed = command(
            environment, "replay", str(log.events), "--from", str(split.at_ms), *until, "--run", "demo", *columns
        )
        n_sent = replayed["sent"]
        counts = drain(settings, sequencer, recommender, n_sent)
        flow_s = time.monotonic() - replay_started
        if split.live:
            say(f"{counted(n_sent, 'event')} caught up in {flow_s:.0f} s; now {len(split.live)} live, one by one")
            asyncio.run(publish_live(settings.kafka, split.live))
            n_sent += len(split.live)
            counts = drain(settings, sequencer, recommender, n_sent)
    lists, freshness_ms = asyncio.run(read_lists(settings))
    return Outcome(trained, n_sent, counts, lists, freshness_ms, flow_s)


def command(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run one headrace command with ``--json`` and return its result."""
    process = subprocess.run(
        [sys.executable, "-m", "tools.main", *arguments, "--json"], env=environment, stdout=subprocess.PIPE, check=False
    )
    if process.returncode:
        raise RunError(f"headrace {arguments[0]} ended with exit code {process.returncode}; its message stands above")
    result: dict[str, Any] = json.loads(process.stdout.decode().strip().splitlines()[-1])
    return result


@contextmanager
def workers(settings: Settings) -> Iterator[tuple[Worker, Worker]]:
    """Start a worker of each app and wait until both are ready; stop them when the block ends."""
    folder = Path(settings.recommender.artifact).parent
    sequencer, recommender = (
        make_worker(Worker, settings, Launch(name, folder / name, folder / f"{name}.log", variables=DEMO_BATCHES))
        for name in APP_NAMES
    )
    with running([sequencer, recommender]):
        yield sequencer, recommender


def drain(settings: Settings, sequencer: Worker, recommender: Worker, n_sent: int) -> dict[str, int]:
    """Wait until every event is counted and every window has its list; return the counts."""
    deadline = time.monotonic() + DRAIN_S
    group = settings.kafka.group("recommender")
    with progress() as bar:
        task = bar.add_task("catching up", total=n_sent, unit="events")
        while time.monotonic() < deadline:
            counts: dict[str, int] = sequencer.counts()["total"]
            bar.update(task, completed=counts["read"])
            if counts["read"] >= n_sent and asyncio.run(group_lag(settings.kafka, group, "sequences")) == 0:
                return counts
            time.sleep(0.2)
    raise RunError(
        f"not done after {DRAIN_S} s: {counts['read']} of {n_sent} events; lists: {recommender.counts()['values']}"
    )


async def read_lists(settings: Settings) -> tuple[list[Recommendation], list[float]]:
    """Return all published lists, and their ages in milliseconds since their events' arrival."""
    kafka = settings.kafka
    events = read_records(kafka, kafka.topic("events"))
    arrived = {(record.partition, record.offset): record.timestamp async for record in events}
    decoder = RecordDecoder(Recommendation)
    lists, freshness_ms = [], []
    async for record in read_records(kafka, kafka.topic("recommendations")):
        if record.value is None:
            continue
        published = decoder.decode(record.value)
        lists.append(published)
        freshness_ms.append(float(published.produced_ts - arrived[record.partition, published.offset]))
    return lists, freshness_ms
