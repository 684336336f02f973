"""``headrace bench cost``: what a million events and a million lists cost.

For each preset and length of window it starts a broker and both apps, and measures two loads:

* *events*: a backlog that the sequencer works off while no recommender runs;
* *lists*: one event of each user, all at once, several times. Each leads to one list. The batches
  are full, as at the highest rates.

Processor time is that of each process, read from the system before and after. Bytes on the wire are
those that the machine sent to itself, with the headers of TCP, from the producer of the load to the
broker, on to the apps and back: run it on a machine that does nothing else. Bytes on disk are the
broker's logs before compaction.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.errors import InputError
from streams.kafka.group_watch import GroupWatch
from streams.settings.load import Settings
from tools.bench.live.deployment import catch_up, deployment, prefill
from tools.bench.live.meters import GpuSeconds, Joules, log_bytes, loopback_bytes
from tools.bench.live.worker_metrics import cpu_s
from tools.bench.subject import Subject
from tools.broker.local_broker import BrokerInfo
from tools.cli import progress, say
from tools.drills.artifact import MadeLog, catalogue_of, make_artifact
from tools.drills.events import EventSource, Shares
from tools.drills.load import Load
from tools.workers.process import Worker
from tools.workers.supervisor import running

PRESETS: Final = ("demo", "best")
WINDOWS: Final = (50, 100)
MILLION: Final = 1e6
#: A cost does not depend on how well the model is fitted.
TRAIN_MINUTES: Final = "0.3"
SIZE: Final = MadeLog(n_items=1_616, n_users=500, n_events_each=50)
CHUNK: Final = 10_000
#: The broker acknowledges before it has told its counters and the groups their lag.
SETTLE_S: Final = 1.0


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    presets : of the models
    windows : most behaviours in a window
    n_events : events of the backlog
    rounds : how often each user gets a list
    """

    broker: str | None
    presets: tuple[str, ...]
    windows: tuple[int, ...]
    n_events: int
    n_users: int
    rounds: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    windows = ",".join(map(str, WINDOWS))
    parser.add_argument("--presets", default=",".join(PRESETS), metavar="A,B", help="models (default: %(default)s)")
    parser.add_argument("--windows", default=windows, metavar="A,B", help="lengths (default: %(default)s)")
    parser.add_argument("--events", type=int, default=200_000, help="events of the backlog (default: %(default)s)")
    parser.add_argument("--users", type=int, default=2_000, help="users (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="lists of each user (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    presets = tuple(args.presets.split(","))
    if not set(presets) <= set(PRESETS):
        raise InputError(f"--presets {args.presets}: must be of {', '.join(PRESETS)}, with commas between")
    try:
        windows = tuple(int(one) for one in args.windows.split(","))
    except ValueError as exc:
        raise InputError(f"--windows {args.windows}: must be whole numbers with commas between") from exc
    if not all(1 <= one <= 1_000 for one in windows):
        raise InputError(f"--windows {args.windows}: each must be 1 to 1000 behaviours")
    for name, least, most in (("events", 10_000, 10_000_000), ("users", 10, 100_000), ("rounds", 1, 100)):
        if not least <= (value := getattr(args, name)) <= most:
            raise InputError(f"--{name} {value}: must be {least} to {most}")
    return Options(args.broker, presets, windows, args.events, args.users, args.rounds)


@dataclass
class Cost:
    """What a load took.

    Parameters
    ----------
    cpu_s : processor time of each process, in seconds
    wire_bytes, disk_bytes, joules, gpu_s : None where the machine does not tell
    """

    n_events: int
    n_lists: int
    seconds: float
    cpu_s: dict[str, float]
    wire_bytes: int | None
    disk_bytes: int | None
    joules: float | None
    gpu_s: float | None
    by_topic: dict[str, int] = field(default_factory=dict)

    def per_million(self, n: int) -> dict[str, Any]:
        """Return the cost of a million of what there were ``n`` of."""
        return {
            "cpu_s": {name: round(s * MILLION / n, 1) for name, s in self.cpu_s.items()},
            "wire_mb": _times(self.wire_bytes, 1 / n),
            "disk_mb": _times(self.disk_bytes, 1 / n),
            "disk_mb_by_topic": {topic: _times(size, 1 / n) for topic, size in self.by_topic.items() if size},
            "joules": _times(self.joules, MILLION / n),
            "gpu_s": _times(self.gpu_s, MILLION / n),
        }


def _times(amount: float | None, factor: float) -> float | None:
    return None if amount is None else round(amount * factor, 1)


def run(options: Options) -> dict[str, Any]:
    """Measure each preset with each length of window."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, progress() as bar:
        task = bar.add_task("bench cost", total=len(options.presets) * len(options.windows))
        for preset in options.presets:
            folder = Path(name) / preset
            folder.mkdir()
            artifact = make_artifact(folder, 1, SIZE, ("--preset", preset, "--minutes", TRAIN_MINUTES))
            for window in options.windows:
                rows.append(_measure(options, preset, window, artifact, folder / str(window)))
                say(_line(rows[-1]))
                bar.advance(task)
    return {
        "rows": rows,
        "without": {"joules": Joules().why_not, "gpu_s": GpuSeconds().why_not},
        "items": SIZE.n_items,
        "users": options.n_users,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _measure(options: Options, preset: str, window: int, artifact: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    variables = {"HEADRACE_WINDOW_MAX_EVENTS": str(window)}
    item_ids = [item.item_id for item in catalogue_of(artifact)]
    with deployment(options.broker, artifact, folder, variables) as (settings, broker, workers):
        sequencer, recommender = workers
        meter = Meter(settings, broker, folder if options.broker is None else None)
        with running([sequencer]):
            asyncio.run(prefill(settings, item_ids, options.n_users, window))
            asyncio.run(catch_up(settings, [sequencer.name]))
            source = EventSource(options.n_users, item_ids, 1, Shares(0.02, 0.01, 0.005), prefix="s0001-")
            events = meter.measure([sequencer], _backlog(settings, source, options.n_events, sequencer.name))
            with running([recommender]):
                asyncio.run(catch_up(settings))
                source = EventSource(options.n_users, item_ids, 2, Shares(0.0, 0.0, 0.0), prefix="s0002-")
                lists = meter.measure(workers, _rounds(settings, source, options.rounds))
    return {
        "preset": preset,
        "window": window,
        "broker": f"{broker.engine} {broker.version}".strip(),
        "events": events.n_events,
        "lists": lists.n_lists,
        "per_million_events": events.per_million(events.n_events),
        "per_million_lists": lists.per_million(lists.n_lists),
        "events_per_s": round(events.n_events / events.seconds),
        "lists_per_s": round(lists.n_lists / lists.seconds),
    }


async def _backlog(settings: Settings, source: EventSource, n: int, app: str) -> None:
    load = Load(settings.kafka, source, 0.0)
    now_ms = int(time.time() * 1000)
    for begin in range(0, n, CHUNK):
        await load.publish([source.next(now_ms + begin) for _ in range(min(CHUNK, n - begin))])
    await load.close()
    await catch_up(settings, [app])


async def _rounds(settings: Settings, source: EventSource, rounds: int) -> None:
    load = Load(settings.kafka, source, 0.0)
    for _ in range(rounds):
        await load.prefill()
        await catch_up(settings)
    await load.close()


class Meter:
    """Reads the counters of the machine around a load.

    Parameters
    ----------
    folder : where the broker's logs are; None for a broker that was there before
    """

    def __init__(self, settings: Settings, broker: BrokerInfo, folder: Path | None) -> None:
        self._settings, self._broker, self._folder = settings, broker, folder

    def measure(self, workers: Sequence[Worker], load: Any) -> Cost:
        """Await a load, a coroutine; return what it took."""
        pids = {worker.name: worker.pid for worker in workers} | {"broker": self._broker.pid}
        time.sleep(SETTLE_S)
        disk, ends, wire = self._disk(), asyncio.run(self._ends()), loopback_bytes()
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        joules, began = Joules(), time.monotonic()
        with GpuSeconds() as gpu:
            asyncio.run(load)
        seconds = time.monotonic() - began
        time.sleep(SETTLE_S)
        grown = {name: cpu_s(pid) - before[name] for name, pid in pids.items() if pid is not None}
        wire_after, ends_after, disk_after = loopback_bytes(), asyncio.run(self._ends()), self._disk()
        by_topic = {topic: size - (disk or {}).get(topic, 0) for topic, size in (disk_after or {}).items()}
        return Cost(
            n_events=ends_after["events"] - ends["events"],
            n_lists=ends_after["recommendations"] - ends["recommendations"],
            seconds=seconds,
            cpu_s=grown,
            wire_bytes=None if wire is None or wire_after is None else wire_after - wire,
            disk_bytes=None if disk_after is None else sum(by_topic.values()),
            joules=joules.since(),
            gpu_s=gpu.value(),
            by_topic=by_topic,
        )

    def _disk(self) -> dict[str, int] | None:
        if self._folder is None:
            return None
        return log_bytes(self._folder / "broker", self._settings.kafka.topic_prefix)

    async def _ends(self) -> Mapping[str, int]:
        kafka = self._settings.kafka
        watch = GroupWatch(kafka, kafka.group("bench"))
        try:
            found = {}
            for topic in ("events", "recommendations"):
                marks = await watch.high_watermarks(kafka.topic(topic), range(kafka.partitions))
                found[topic] = sum(marks.values())
            return found
        finally:
            await watch.stop()


def _line(row: Mapping[str, Any]) -> str:
    events, lists = row["per_million_events"], row["per_million_lists"]
    return (
        f"  {row['preset']}, windows of {row['window']}: a million events {_cpu(events)}, a million lists {_cpu(lists)}"
    )


def _cpu(cost: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {s:g} s" for name, s in cost["cpu_s"].items())


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = []
    for what in ("events", "lists"):
        lines.append(f"a million {what}:")
        lines.append(
            f"{'preset':>8} {'window':>7} {'wire MB':>9} {'disk MB':>9} {'joules':>8} {'GPU s':>7}  CPU seconds"
        )
        for row in result["rows"]:
            cost = row[f"per_million_{what}"]
            figures = [cost[name] for name in ("wire_mb", "disk_mb", "joules", "gpu_s")]
            shown = [
                f"{'-' if figure is None else f'{figure:,.0f}':>{width}}"
                for figure, width in zip(figures, (9, 9, 8, 7), strict=True)
            ]
            lines.append(f"{row['preset']:>8} {row['window']:>7} {' '.join(shown)}  {_cpu(cost)}")
    lines += [f"no {name}: {why}" for name, why in result["without"].items() if why]
    lines.append(f"{result['items']} items, {result['users']} users; {result['machine']}; {result['date']}")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
