"""``headrace bench sequencer``: the sequencer beside its peers, on one core each.

All do one job: they decode and check events, keep each user's last 50 in order, recognise repeats
and late events, write the window to a changelog and what they refuse to a topic, count, and commit
after delivery. The sequencer and two bare client loops share the window function and write once for
each user of a batch. The obvious agent is the first version that a developer writes: it knows no
repeats and no faults, and writes once for each event. With ``--peers`` a Kafka Streams topology
takes part (:mod:`tools.bench.live.peers.streams_peer`). The runs are interleaved.

All but the obvious agent read the same events of a topic and must end with the same counts; Kafka
Streams must also end with the same windows, byte for byte. How many windows a program writes for an
event depends on its batches, or on how often it commits: the result says it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from streams.errors import InputError, RunError, TopicError
from streams.kafka.readers import open_reader
from streams.kafka.topic_reader import newest_values, partition_count
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import Settings, load_settings
from tools.bench.live.peers.load import fill, plain_records, records
from tools.bench.live.peers.programs import OUTCOMES
from tools.bench.live.peers.streams_peer import CHANGELOG, PeerUnavailableError, build, java_version
from tools.bench.subject import Subject
from tools.broker.local_broker import running_broker
from tools.cli import progress, say

#: The sequencer is the first that writes to a run's topics: it would recover what others wrote.
SHARING: Final = ("sequencer", "aiokafka", "confluent", "streams")
PROGRAMS: Final = (*SHARING, "obvious")
RUN_LIMIT_S: Final = 300
RATIOS: Final = {
    "aiokafka": "raw_aiokafka",
    "confluent": "raw_confluent",
    "streams": "kafka_streams",
    "obvious": "obvious_agent",
}
#: Folder of the built peer, in the benchmark's own folder.
BUILD: Final = "kafka-streams"


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    broker : address of a broker; None for one that is started for the benchmark
    n_events : events of each run that are timed
    n_warm : events before them
    n_obvious_events : events of each run of the agent that writes once per event
    repeats : runs of each program
    has_peers : whether Kafka Streams takes part
    """

    broker: str | None
    n_events: int
    n_obvious_events: int
    n_users: int
    repeats: int
    n_warm: int
    has_peers: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--events", type=int, default=300_000, help="timed events of each run (default: %(default)s)")
    parser.add_argument(
        "--warm", type=int, default=300_000, help="events of each run before the clock starts (default: %(default)s)"
    )
    parser.add_argument(
        "--peers",
        action="store_true",
        help="with Kafka Streams; needs Maven, a JDK and Maven Central for its first build",
    )
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
    least = {"repeats": 1, "events": 50_000, "warm": 50_000, "obvious_events": 1_000, "users": 1}
    for name, limit in least.items():
        if getattr(args, name) < limit:
            option = name.replace("_", "-")
            raise InputError(f"--{option}={getattr(args, name)} must be at least {limit}")
    return Options(args.broker, args.events, args.obvious_events, args.users, args.repeats, args.warm, args.peers)


def run_program(program: str, n_events: int, n_warm: int, settings: Settings, work_dir: Path) -> dict[str, float]:
    """Run one program as a child process; return events/s, CPU time per event and counts."""
    environment = os.environ | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(work_dir / program),
        "HEADRACE_COMPRESSION_TYPE": "none",  # as the peers write
    }
    command = [sys.executable, "-m", "tools.bench.live.peers.programs", program, str(n_warm + n_events), str(n_warm)]
    command.append(str(work_dir / BUILD))
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
        left_out = _left_out(options, work_dir)
        with running_broker(options.broker, data_dir=work_dir / "broker") as broker:
            is_pinned = pin_broker(broker.pid)
            programs = [program for program in PROGRAMS if program not in left_out]
            runs, windows = _measure(options, programs, broker.bootstrap, work_dir)
    return summarize(runs) | {
        "left_out": left_out,
        "java": None if "streams" in left_out else java_version(),
        "windows_compared": windows,
        "events": options.n_events,
        "warm_events": options.n_warm,
        "obvious_events": options.n_obvious_events,
        "users": options.n_users,
        "repeats": options.repeats,
        "broker": f"{broker.engine} {broker.version}",
        "broker_on_other_core": is_pinned,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _left_out(options: Options, work_dir: Path) -> dict[str, str]:
    """Return the programs that take no part, and why; build the others."""
    if not options.has_peers:
        return {"streams": "not asked for; --peers adds it"}
    say("  building the Kafka Streams peer")
    try:
        build(work_dir / BUILD)
    except PeerUnavailableError as exc:
        say(f"  streams left out: {exc}")
        return {"streams": str(exc)}
    return {}


def _measure(
    options: Options, programs: list[str], bootstrap: str, work_dir: Path
) -> tuple[dict[str, list[dict[str, float]]], int]:
    """Return the results of each program, and how many windows of Kafka Streams were compared."""
    runs: dict[str, list[dict[str, float]]] = {program: [] for program in programs}
    stamp, n_windows = f"{int(time.time())}", 0
    with progress() as bar:
        task = bar.add_task("bench sequencer", total=options.repeats * len(programs))
        for repeat in range(options.repeats):
            shared = _settings(bootstrap, f"bench{stamp}.{repeat}.")
            events = records(options.n_warm + options.n_events, options.n_users, repeat)
            asyncio.run(fill(shared, events))
            for program in programs:
                if program == "obvious":
                    alone = _settings(bootstrap, f"bench{stamp}.obvious{repeat}.")
                    asyncio.run(fill(alone, plain_records(options.n_obvious_events, options.n_users, repeat)))
                    result = run_program(program, options.n_obvious_events, 0, alone, work_dir)
                else:
                    topic = shared.kafka.topic(CHANGELOG if program == "streams" else "sequences")
                    n_before = asyncio.run(end_of(shared, topic))
                    result = run_program(program, options.n_events, options.n_warm, shared, work_dir)
                    written = asyncio.run(end_of(shared, topic)) - n_before
                    result["windows_per_event"] = written / (options.n_warm + options.n_events)
                runs[program].append(result)
                say(f"  {program} run {repeat + 1}: {result['events_per_s']:,.0f} events/s")
                bar.advance(task)
            check_counts({program: runs[program][-1] for program in programs if program in SHARING})
            if "streams" in programs:
                n_windows += asyncio.run(compare_windows(shared))
    return runs, n_windows


def _settings(bootstrap: str, prefix: str) -> Settings:
    return load_settings(broker=bootstrap, topic_prefix=prefix, event_types=DEFAULT_TABLE)


async def end_of(settings: Settings, topic: str) -> int:
    """Return how many records a topic has had on all partitions; 0 where it does not exist."""
    try:
        n_partitions = await partition_count(settings.kafka, topic)
    except TopicError:
        return 0
    async with open_reader(settings.kafka) as reader:
        return sum((await reader.end_offsets([TopicPartition(topic, p) for p in range(n_partitions)])).values())


def check_counts(results: dict[str, dict[str, float]]) -> None:
    """Raise :class:`RunError` where programs that read the same events count them otherwise."""
    found = {program: [int(result[name]) for name in OUTCOMES] for program, result in results.items()}
    if any(counts != found["sequencer"] for counts in found.values()):
        raise RunError(f"the programs did not do the same: {', '.join(OUTCOMES)} of each are {found}")


async def compare_windows(settings: Settings) -> int:
    """Return how many windows Kafka Streams has, each of which equals that on ``sequences``.

    Raises
    ------
    RunError
        Where one is not.
    """
    ours, theirs = [await newest_values(settings.kafka, topic) for topic in ("sequences", CHANGELOG)]
    differ = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
    if differ:
        raise RunError(f"{len(differ)} of {len(ours)} windows of Kafka Streams differ, such as that of {differ[0]!r}")
    return len(theirs)


def summarize(runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return median and range of each program, and the median ratios of interleaved pairs.

    A ratio above 1 means that the sequencer is faster, or spends less time of the processor.
    """
    programs = {}
    for program, results in runs.items():
        rates = [result["events_per_s"] for result in results]
        programs[program] = {
            "events_per_s": statistics.median(rates),
            "min": min(rates),
            "max": max(rates),
            "cpu_us_per_event": statistics.median(result["cpu_us_per_event"] for result in results),
        }
        if all("windows_per_event" in result for result in results):
            written = statistics.median(result["windows_per_event"] for result in results)
            programs[program]["windows_per_event"] = written
    ratios: dict[str, Any] = {}
    for program, name in RATIOS.items():
        if program in runs:
            pairs = list(zip(runs["sequencer"], runs[program], strict=True))
            found = [ours["events_per_s"] / theirs["events_per_s"] for ours, theirs in pairs]
            ratios[f"ratio_vs_{name}"] = statistics.median(found)
            ratios[f"ratio_vs_{name}_range"] = [min(found), max(found)]
            ratios[f"cpu_ratio_vs_{name}"] = statistics.median(
                theirs["cpu_us_per_event"] / ours["cpu_us_per_event"] for ours, theirs in pairs
            )
    last = runs["sequencer"][-1]
    return {"programs": programs, "counts": {name: int(last[name]) for name in OUTCOMES}} | ratios


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'program':<12} {'events/s':>10} {'min':>10} {'max':>10} {'CPU us/event':>13} {'windows/event':>14}"]
    for program, row in result["programs"].items():
        rates = f"{row['events_per_s']:>10,.0f} {row['min']:>10,.0f} {row['max']:>10,.0f}"
        written = row.get("windows_per_event", 1.0)  # the obvious agent writes one for each event
        lines.append(f"{program:<12} {rates} {row['cpu_us_per_event']:>13.1f} {written:>14.2f}")
    for program, name in RATIOS.items():
        if program in result["programs"]:
            least, most = result[f"ratio_vs_{name}_range"]
            cpu = result[f"cpu_ratio_vs_{name}"]
            lines.append(
                f"sequencer / {name}: {result[f'ratio_vs_{name}']:.2f} ({least:.2f} to {most:.2f}); by CPU time {cpu:.2f}"
            )
    lines += [f"{program} is left out: {why}" for program, why in result["left_out"].items()]
    lines.append(f"{result['machine']}; {result['broker']}; {result['date']}; {result['repeats']} interleaved runs")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
