"""``headrace bench sequencer``: the sequencer beside three peers, on one core each.

All four do one job: they decode events, keep each user's last 50, write the window to a changelog
and commit after delivery. The sequencer and two bare client loops share the window function and
write once for each user of a batch. The obvious agent is the first version that a developer writes:
it writes once for each event. The runs are interleaved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Event, encode
from streams.errors import InputError, RunError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.topics import create_topics
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import Settings, load_settings
from tools.bench.subject import Subject
from tools.broker.local_broker import running_broker
from tools.cli import progress, say

PROGRAMS: Final = ("sequencer", "aiokafka", "confluent", "obvious")
RUN_LIMIT_S: Final = 300
FILL_CHUNK: Final = 20_000


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    broker : address of a broker; None for one that is started for the benchmark
    n_events : events of each run
    n_obvious_events : events of each run of the agent that writes once per event
    repeats : runs of each program
    """

    broker: str | None
    n_events: int
    n_obvious_events: int
    n_users: int
    repeats: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--events", type=int, default=300_000, help="events of each run (default: %(default)s)")
    parser.add_argument(
        "--obvious-events",
        type=int,
        default=10_000,
        help="events of each run of the per-event agent (default: %(default)s)",
    )
    parser.add_argument("--users", type=int, default=50_000, help="users (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each program, interleaved (default: %(default)s)"
    )


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    if args.repeats < 1 or args.events < 50_000 or args.obvious_events < 1_000:
        raise InputError("--repeats must be at least 1, --events at least 50000, --obvious-events at least 1000")
    return Options(args.broker, args.events, args.obvious_events, args.users, args.repeats)


def synthetic_events(n_events: int, n_users: int, seed: int) -> Iterator[Event]:
    """Yield seeded events in time order; a few users and items have most of them, as in a shop."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible load, nothing secret
    start_ms = 1_700_000_000_000
    for i in range(n_events):
        user = int(n_users * rng.random() ** 2)
        item = int(10_000 * rng.random() ** 2)
        yield Event(VERSION, f"e{i:09d}", f"u{user}", f"i{item}", EVENT_TYPES[i % 3], start_ms + 10 * i)


async def fill(settings: Settings, n_events: int, n_users: int, *, as_json: bool, seed: int = 1) -> None:
    """Create the topics under the settings' prefix and publish ``n_events`` to ``events``."""
    await create_topics(settings.kafka)
    writer = BatchWriter(settings.kafka)
    await writer.start()
    home = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)
    waiting: dict[int, list[OutRecord]] = {p: [] for p in range(settings.kafka.partitions)}
    futures: list[asyncio.Future[Any]] = []
    try:
        for i, event in enumerate(synthetic_events(n_events, n_users, seed), 1):
            key = event.user_id.encode()
            waiting[home[key]].append(OutRecord(key, encode(event, as_json=as_json)))
            if i % FILL_CHUNK == 0 or i == n_events:
                for partition, records in waiting.items():
                    futures += await writer.send(settings.kafka.topic("events"), partition, records)
                    waiting[partition] = []
        await delivered(futures)
    finally:
        await writer.stop()


def run_program(program: str, n_events: int, settings: Settings, work_dir: Path) -> dict[str, float]:
    """Run one program as a child process; return its events/s and its CPU time per event."""
    environment = os.environ | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(work_dir / program),
        "HEADRACE_COMPRESSION_TYPE": "none",  # as the peers write
    }
    command = [sys.executable, "-m", "tools.bench.sequencer_programs", program, str(n_events)]
    log_path = work_dir / f"{program}.log"
    with log_path.open("w") as log:
        try:
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, timeout=RUN_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise RunError(
                f"{program}: not done after {RUN_LIMIT_S} s; its log ends: {log_path.read_text()[-500:]}"
            ) from exc
    lines = done.stdout.decode().strip().splitlines()
    if not lines:
        raise RunError(
            f"{program}: exit {done.returncode} without a result; its log ends: {log_path.read_text()[-500:]}"
        )
    result: dict[str, float] = json.loads(lines[-1])
    return result


def pin_broker(pid: int | None) -> bool:
    """Keep the broker off the first core, which the programs use; return whether it can be."""
    cores = sorted(os.sched_getaffinity(0))
    if pid is None or len(cores) < 2:
        return False
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), set(cores[1:]))
    return True


def run(options: Options) -> dict[str, Any]:
    """Measure every program on one broker."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        work_dir = Path(folder)
        with running_broker(options.broker, data_dir=work_dir / "broker") as broker:
            is_pinned = pin_broker(broker.pid)
            runs = _measure(options, broker.bootstrap, work_dir)
    return summarize(runs) | {
        "events": options.n_events,
        "obvious_events": options.n_obvious_events,
        "users": options.n_users,
        "repeats": options.repeats,
        "broker": f"{broker.engine} {broker.version}",
        "broker_on_other_core": is_pinned,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _measure(options: Options, bootstrap: str, work_dir: Path) -> dict[str, list[dict[str, float]]]:
    runs: dict[str, list[dict[str, float]]] = {program: [] for program in PROGRAMS}
    stamp = f"{int(time.time())}"
    with progress() as bar:
        task = bar.add_task("bench sequencer", total=options.repeats * len(PROGRAMS))
        for repeat in range(options.repeats):
            for program in PROGRAMS:
                n_events = options.n_obvious_events if program == "obvious" else options.n_events
                settings = load_settings(
                    broker=bootstrap, topic_prefix=f"bench{stamp}.{program}{repeat}.", event_types=DEFAULT_TABLE
                )
                asyncio.run(fill(settings, n_events, options.n_users, as_json=program == "obvious", seed=repeat))
                runs[program].append(run_program(program, n_events, settings, work_dir))
                rate = runs[program][-1]["events_per_s"]
                say(f"  {program} run {repeat + 1}: {rate:,.0f} events/s")
                bar.advance(task)
    return runs


def summarize(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return median and range of each program, and the median ratios of interleaved pairs."""
    programs = {}
    for program, results in runs.items():
        rates = [result["events_per_s"] for result in results]
        programs[program] = {
            "events_per_s": statistics.median(rates),
            "min": min(rates),
            "max": max(rates),
            "cpu_us_per_event": statistics.median(result["cpu_us_per_event"] for result in results),
        }

    def ratio(other: str) -> float:
        pairs = zip(runs["sequencer"], runs[other], strict=True)
        return statistics.median(ours["events_per_s"] / theirs["events_per_s"] for ours, theirs in pairs)

    return {
        "programs": programs,
        "ratio_vs_raw_aiokafka": ratio("aiokafka"),
        "ratio_vs_raw_confluent": ratio("confluent"),
        "ratio_vs_obvious_agent": ratio("obvious"),
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'program':<12} {'events/s':>10} {'min':>10} {'max':>10} {'CPU us/event':>13}"]
    for program, row in result["programs"].items():
        lines.append(
            f"{program:<12} {row['events_per_s']:>10,.0f} {row['min']:>10,.0f} {row['max']:>10,.0f} {row['cpu_us_per_event']:>13.1f}"
        )
    for name in ("raw_aiokafka", "raw_confluent", "obvious_agent"):
        lines.append(f"sequencer / {name}: {result[f'ratio_vs_{name}']:.2f}")
    lines.append(f"{result['machine']}; {result['broker']}; {result['date']}; {result['repeats']} interleaved runs")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
