"""``headrace bench serve``: answers a second and their latency, of pushed lists and on demand.

A broker and a server run on this machine, with made lists and windows and a made model. For pushed
lists the server has one core and the load another one: first as many requests as it answers, then
a steady rate. For lists on demand (``n`` above the pushed list's) both share all cores. Latencies
of a steady rate count from the time at which a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Recommendation, RecommendedItem, SourceRank, encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.errors import InputError, RunError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.topic_reader import partition_count
from streams.settings.load import Settings
from streams.settings.urls import store_address
from tools.bench.live.changing_catalogue import made_artifact
from tools.bench.live.deployment import deployment
from tools.bench.live.http_load import Answers, Client
from tools.bench.live.worker_metrics import cpu_s
from tools.bench.subject import Subject
from tools.cli import progress
from tools.workers.launch import deployment_variables

LIST_SIZE: Final = 10
WINDOW: Final = 30
CONNECTIONS: Final = 32
START_S: Final = 120.0
WARM_UP_S: Final = 2.0
CHUNK: Final = 1_000
#: Most requests a second, and most seconds, of one measurement.
MAX_RATE_PER_S, MAX_SECONDS, MAX_USERS = 20_000.0, 120.0, 200_000


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    rate : requests a second for pushed lists
    demand_rate : requests a second for lists on demand
    seconds : of each measurement in each round
    store : Redis or Valkey that holds the lists; empty means RocksDB
    """

    users: int
    items: int
    rate: float
    demand_rate: float
    seconds: float
    rounds: int
    preset: str
    store: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the benchmark's options."""
    parser.add_argument("--users", type=int, default=2_000, help="with a list and a window (default: %(default)s)")
    parser.add_argument("--items", type=int, default=2_000, help="of the catalogue (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2_500.0, help="requests/s, pushed (default: %(default)g)")
    parser.add_argument("--demand-rate", type=float, default=100.0, help="requests/s, on demand (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a measurement (default: %(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements (default: %(default)s)")
    parser.add_argument("--store", default="", help="redis:// or valkey:// that holds the lists, instead of RocksDB")
    parser.add_argument("--preset", choices=("demo", "best"), default="best", help="sizes of the model")


def options_of(args: argparse.Namespace) -> Options:
    """Return the checked options.

    Raises
    ------
    InputError
        When one is out of its range.
    """
    for name, value, least, most in (
        ("--users", args.users, 1, MAX_USERS),
        ("--items", args.items, 100, 1_000_000),
        ("--rate", args.rate, 1, MAX_RATE_PER_S),
        ("--demand-rate", args.demand_rate, 1, MAX_RATE_PER_S),
        ("--seconds", args.seconds, 1, MAX_SECONDS),
        ("--rounds", args.rounds, 1, 20),
    ):
        if not least <= value <= most:
            raise InputError(f"{name} {value:g}: must be from {least:g} to {most:g}")
    if args.store:
        store_address("--store", args.store, "HEADRACE_SERVE_STORE_PASSWORD_FILE")
    return Options(
        args.users, args.items, args.rate, args.demand_rate, args.seconds, args.rounds, args.preset, args.store
    )


def run(options: Options) -> dict[str, Any]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        artifact = made_artifact(folder, options.preset, options.items, 1)  # type: ignore[arg-type]
        with deployment(None, artifact, folder) as (settings, _, _):
            asyncio.run(_fill(settings, options))
            with _server(settings, folder, options.store) as (pid, url):
                found = asyncio.run(_measured(options, pid, url))
    return {
        "subject": "serve",
        "preset": options.preset,
        "store": options.store.partition(":")[0] or "rocksdb",
        "users": options.users,
        "items": options.items,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        **found,
    }


async def _fill(settings: Settings, options: Options) -> None:
    """Publish a list and a window of each user."""
    rng = np.random.default_rng(1)
    now_ms = int(1000 * time.time())
    lists, windows = [], []
    for number in range(options.users):
        user_id = f"u{number:06}"
        ids = [f"i{row:07}" for row in rng.choice(options.items, WINDOW + LIST_SIZE, replace=False)]
        events = [WindowItem(now_ms - 60_000 * (WINDOW - n), f"e{n}", i, "view") for n, i in enumerate(ids[:WINDOW])]
        trigger = Trigger(events[-1].event_id, events[-1].ts, 0)
        windows.append(OutRecord(user_id.encode(), encode(WindowState(1, WINDOW, events[-1].ts, events, trigger))))
        items = [
            RecommendedItem(i, 0.5 / (1 + n), {"sequence": SourceRank(1 + n, 2.0)}, None)
            for n, i in enumerate(ids[WINDOW:])
        ]
        record = Recommendation(
            VERSION, f"list {user_id}", user_id, WINDOW, events[-1].event_id, 0, events[-1].ts, now_ms, "made", 1,
            "none", items,
        )  # fmt: skip
        lists.append(OutRecord(user_id.encode(), encode(record)))
    writer = BatchWriter(settings.kafka)
    await writer.start()
    try:
        for topic, records in (("sequences", windows), ("recommendations", lists)):
            name = settings.kafka.topic(topic)
            homes = KeyHomes(await partition_count(settings.kafka, name), settings.kafka.partitioner)
            by_partition: dict[int, list[OutRecord]] = {}
            for made in records:
                by_partition.setdefault(homes[made.key or b""], []).append(made)
            for partition, part in by_partition.items():
                for start in range(0, len(part), CHUNK):
                    await delivered(await writer.send(name, partition, part[start : start + CHUNK]))
    finally:
        await writer.stop()


@contextmanager
def _server(settings: Settings, folder: Path, store: str) -> Iterator[tuple[int, str]]:
    """Give the process and the URL of a server that ranks, once it is ready."""
    own = {
        "HEADRACE_SERVE_DIR": str(folder / "serve"),
        "HEADRACE_SERVE_STORE": store,
        "HEADRACE_SERVE_RANKING": "on",
        "HEADRACE_ENCODER_CACHE_DIR": str(folder / "encoder-cache"),
        "HEADRACE_ARTIFACT_ROOTS": str(folder),
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    log = folder / "serve.log"
    command = [sys.executable, "-m", "tools.main", "serve", "--port", "0", "--json"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment | deployment_variables(settings) | own, stdout=subprocess.DEVNULL, stderr=file
        )
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(url := log.read_text().rpartition("listening on ")[2].partition(";")[0]):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"the server is not ready; it said: {log.read_text()[-600:]}")
            time.sleep(0.2)
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    if not url.startswith("http"):
        return False
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def _measured(options: Options, pid: int, url: str) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))
    users = [f"u{number:06}" for number in np.random.default_rng(2).integers(0, options.users, 4_096)]
    pushed = Client(url, [f"/v1/users/{user}/recommendations" for user in users])
    demand = Client(url, [f"/v1/users/{user}/recommendations?n={2 * LIST_SIZE}" for user in users])
    rounds: dict[str, list[dict[str, float]]] = {"pushed_most": [], "pushed_at_rate": [], "on_demand": []}
    with progress() as bar:
        task = bar.add_task("measuring", total=options.rounds, unit="rounds")
        for number in range(options.rounds):
            _pin(pid, cores[:1], cores[1:] or cores)
            if not number:
                await pushed.as_many_as_possible(WARM_UP_S, CONNECTIONS)
            begun_s = cpu_s(pid)
            most = await pushed.as_many_as_possible(options.seconds, CONNECTIONS)
            summary = _summary(most) | {"cpu_us": 1e6 * (cpu_s(pid) - begun_s) / len(most.latencies_s)}
            rounds["pushed_most"].append(summary)
            rounds["pushed_at_rate"].append(_summary(await pushed.at_rate(options.rate, options.seconds, CONNECTIONS)))
            _pin(pid, cores, cores)
            if not number:
                await demand.at_rate(options.demand_rate, WARM_UP_S, CONNECTIONS)
            rounds["on_demand"].append(
                _summary(await demand.at_rate(options.demand_rate, options.seconds, CONNECTIONS))
            )
            bar.advance(task)
    return {name: _spread(found) for name, found in rounds.items()} | {
        "rate": options.rate,
        "demand_rate": options.demand_rate,
    }


def _pin(pid: int, server: list[int], own: list[int]) -> None:
    """Give the cores of a server's threads, and those of this process."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), server)
    os.sched_setaffinity(0, own)


def _summary(found: Answers) -> dict[str, float]:
    """Return rate and latencies in ms.

    Raises
    ------
    RunError
        When an answer was not 200.
    """
    if found.statuses.keys() != {200}:
        raise RunError(f"the server answered {found.statuses}, must be 200 alone")
    p50, p99 = np.percentile(found.latencies_s, (50, 99))
    return {"per_s": found.per_s, "p50_ms": 1000 * float(p50), "p99_ms": 1000 * float(p99)}


def _spread(rounds: list[dict[str, float]]) -> dict[str, list[float]]:
    """Return median, least and greatest of each figure over the rounds."""
    return {
        name: [
            round(value, 3)
            for value in (
                statistics.median(one[name] for one in rounds),
                min(one[name] for one in rounds),
                max(one[name] for one in rounds),
            )
        ]
        for name in rounds[0]
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people."""
    lines = [
        f"{result['users']:,} users, {result['items']:,} items, preset {result['preset']}, {result['store']}; median (least to most)"
    ]
    for name, title in (
        ("pushed_most", "pushed lists, as many as possible"),
        ("pushed_at_rate", f"pushed lists, {result['rate']:g}/s"),
        ("on_demand", f"on demand, {result['demand_rate']:g}/s"),
    ):
        figures = ", ".join(
            f"{figure} {median:,} ({least:,} to {most:,})" for figure, (median, least, most) in result[name].items()
        )
        lines.append(f"  {title}: {figures}")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
