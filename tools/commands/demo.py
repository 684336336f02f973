"""``headrace demo``: the main job from nothing to lists, on a local broker, with a real log.

Every step is a command that a person could give: the demo only calls them in order and reads what they publish.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.contract.records import Recommendation
from streams.settings.load import Settings, load_settings
from tools.cli import RunError, UsageError, add_common_arguments, emit, progress, say, say_table
from tools.demo.movielens import DemoLog, movielens_100k
from tools.files.log_reader import LogReader, LogRow, LogSpec, parse_columns, read_items, sorted_rows
from tools.reports.quantile import quantile

SUMMARY = "the main job from nothing to lists"
TRAIN_SHARE: Final = 0.8
USERS_SHOWN: Final = 3
#: The replay runs thousands of times faster than life, and at full size a batch would hold whole sessions: small batches, one at a
#: time, keep more of the windows in between, and so more lists.
DEMO_BATCHES: Final = {
    "HEADRACE_BATCH_MAX_RECORDS": "2",
    "HEADRACE_IN_FLIGHT_BATCHES": "1",
    "HEADRACE_MICRO_BATCH_DEADLINE_MS": "0",
}
READY_S: Final = 90
DRAIN_S: Final = 240
DIRECTORY: Final = Path(".headrace")
__all__ = ["add_arguments", "add_common_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("--log", type=Path, metavar="FILE", help="your own events instead of MovieLens-100K")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue of --log")
    parser.add_argument("--columns", default="", metavar="MAP", help="columns of --log, as for replay")
    parser.add_argument("--item-columns", default="", metavar="MAP", help="columns of --items, as for items put")
    parser.add_argument(
        "--engine", default="auto", choices=["auto", "docker", "kafka", "noida"], help="the local broker"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the training")
    parser.add_argument("--encoder", metavar="NAME", help="language model, as for train (default: train's)")


@dataclass(frozen=True)
class Split:
    """The log in time order, cut at a time: training before it, replay from it on."""

    history: list[LogRow]
    replayed: list[LogRow]
    at_ms: int


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from tools.broker.local_broker import running_broker

    started = time.monotonic()
    if (args.log is None) != (args.items is None):
        raise UsageError("--log and --items go together: name both or neither")
    log = movielens_100k() if args.log is None else DemoLog(args.log, args.items, args.columns, args.item_columns)
    split = split_by_time(log)
    encoder = ["--encoder", args.encoder] if args.encoder else []
    say(f"log: {len(split.history) + len(split.replayed):,} events; training on the first {len(split.history):,}")
    with running_broker(args.broker, engine=args.engine, data_dir=DIRECTORY / "broker") as broker:
        for note in broker.notes:
            say(f"broker: {note}")
        say(f"broker: {broker.engine} {broker.version} at {broker.bootstrap}")
        prefix = f"demo{int(time.time())}."
        settings = load_settings(
            broker=broker.bootstrap, topic_prefix=prefix, artifact=str(DIRECTORY / "demo" / prefix / "artifact")
        )
        report = _run_on(settings, log, split, ["--seed", str(args.seed), *encoder])
    report |= {"engine": broker.engine, "engine_version": broker.version, "seconds": time.monotonic() - started}
    emit(args, report)
    problem = find_problem(report)
    if problem:
        raise RunError(problem)
    return 0


def split_by_time(log: DemoLog) -> Split:
    """Read the log in time order and cut it so that 80 % of the events lie before."""
    reader = LogReader(LogSpec(log.events, columns=parse_columns(log.columns)), lambda _line, _why: None)
    rows = list(sorted_rows(reader))
    at_ms = rows[int(TRAIN_SHARE * len(rows))].ts_ms
    history = [row for row in rows if row.ts_ms < at_ms]
    if not history:
        raise UsageError(f"{log.events}: all events have one time, {at_ms} ms: nothing to train on before it")
    return Split(history, rows[len(history) :], at_ms)


def _run_on(settings: Settings, log: DemoLog, split: Split, training: Sequence[str]) -> dict[str, Any]:
    environment = os.environ | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_ARTIFACT": settings.recommender.artifact,
    }
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
    with workers(environment) as (sequencer, recommender):
        replay_started = time.monotonic()
        replayed = command(
            environment, "replay", str(log.events), "--from", str(split.at_ms), "--run", "demo", *columns
        )
        counts = drain(settings, sequencer, recommender, replayed["sent"])
        flow_s = time.monotonic() - replay_started
    lists, freshness_ms = asyncio.run(read_lists(settings))
    return report_on(log, split, replayed, counts, lists, freshness_ms, trained, flow_s)


def command(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run one headrace command with ``--json`` and return its result; its progress shows on standard error."""
    process = subprocess.run(
        [sys.executable, "-m", "tools.main", *arguments, "--json"], env=environment, stdout=subprocess.PIPE, check=False
    )
    if process.returncode:
        raise RunError(f"headrace {arguments[0]} ended with exit code {process.returncode}; its message stands above")
    result: dict[str, Any] = json.loads(process.stdout.decode().strip().splitlines()[-1])
    return result


@contextmanager
def workers(environment: dict[str, str]) -> Iterator[tuple[Any, Any]]:
    """Start both apps and wait until they are ready; stop them at the end."""
    from tools.broker.state import free_port
    from tools.workers.process import Worker

    folder = Path(environment["HEADRACE_ARTIFACT"]).parent
    with ExitStack() as stack:
        running = []
        for name in ("sequencer", "recommender"):
            env = environment | DEMO_BATCHES | {"HEADRACE_DATA_DIR": str(folder / name)}
            running.append(stack.enter_context(Worker(name, env, free_port(), folder / f"{name}.log")))
        for worker in running:
            worker.wait_ready(READY_S)
        yield running[0], running[1]


def drain(settings: Settings, sequencer: Any, recommender: Any, n_sent: int) -> dict[str, int]:
    """Wait until every event is sequenced and every window has its list; return the sequencer's counts."""
    from tools.topics.offsets import group_lag

    deadline = time.monotonic() + DRAIN_S
    group = settings.kafka.group("recommender")
    with progress() as bar:
        task = bar.add_task("events", total=n_sent)
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
    """Return all published lists, and how long after its event's arrival at the broker each was made, in milliseconds."""
    from streams.contract.records import RecordDecoder
    from tools.topics.topic_reader import read_records

    kafka = settings.kafka
    events = read_records(kafka, kafka.topic("events"))
    arrived = {(record.partition, record.offset): record.timestamp async for record in events}
    decoder = RecordDecoder(Recommendation)
    lists, freshness_ms = [], []
    async for record in read_records(kafka, kafka.topic("recommendations")):
        published = decoder.decode(record.value)
        lists.append(published)
        freshness_ms.append(float(published.produced_ts - arrived[record.partition, published.offset]))
    return lists, freshness_ms


def report_on(
    log: DemoLog,
    split: Split,
    replayed: dict[str, Any],
    counts: dict[str, int],
    lists: list[Recommendation],
    freshness_ms: list[float],
    trained: dict[str, Any],
    flow_s: float,
) -> dict[str, Any]:
    """Show some users and the table; return the figures."""
    from tools.demo.score import score
    from tools.replay.identity import event_id

    items = read_items(log.items, parse_columns(log.item_columns))
    titles = {item_id: item["title"] for item_id, item in items.items()}
    show_users(split.replayed, lists, titles)
    scores = score(split.history, split.replayed, [event_id(row) for row in split.replayed], lists)
    users = {row.user_id for row in split.replayed}
    report = {
        "events": replayed["sent"],
        **counts,
        "users": len(users),
        "users_with_list": len(users & {published.user_id for published in lists}),
        "lists": len(lists),
        "lists_scored": scores.lists.n,
        **scores.lists.as_dict(),
        "recent_popularity": scores.recent_popularity.as_dict(),
        "freshness_ms": {"p50": quantile(freshness_ms, 50), "p99": quantile(freshness_ms, 99)},
        "train_seconds": trained["seconds"],
        "flow_seconds": flow_s,
        "artifact": trained["artifact"],
    }
    say_table("headrace demo", as_rows(report))
    return report


def show_users(rows: Sequence[LogRow], lists: Sequence[Recommendation], titles: dict[str, str]) -> None:
    """Print the last behaviours and the newest list of a few users."""
    newest: dict[str, Recommendation] = {}
    for published in lists:
        if published.user_id not in newest or published.revision > newest[published.user_id].revision:
            newest[published.user_id] = published
    histories: dict[str, list[str]] = {}
    for row in rows:
        histories.setdefault(row.user_id, []).append(row.item_id)
    shown = [user for user, items in histories.items() if user in newest and 5 <= len(items)][:USERS_SHOWN]
    for user in shown:
        say("")
        say(f"user {user} last saw: " + "; ".join(titles.get(item, item) for item in histories[user][-4:]))
        for rank, item in enumerate(newest[user].items[:5], 1):
            because = f", because of {titles.get(item.because, item.because)}" if item.because else ""
            sources = ", ".join(f"{name} {source.rank}" for name, source in sorted(item.sources.items()))
            say(f"  {rank}. {titles.get(item.item_id, item.item_id)}  p={item.score:.2f} ({sources}{because})")


def as_rows(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the figures for people, each with its name."""
    for name in (
        "events",
        "read",
        "accepted",
        "duplicate",
        "late",
        "rejected",
        "users",
        "users_with_list",
        "lists",
        "lists_scored",
    ):
        yield (name, f"{report[name]:,}")
    for quantile_name, value in report["freshness_ms"].items():
        yield (f"freshness {quantile_name}", "-" if value is None else f"{value:,.0f} ms")
    for metric in ("hr@10", "ndcg@10"):
        yield (metric, f"{report[metric]:.4f}  (recent popularity {report['recent_popularity'][metric]:.4f})")


def find_problem(report: dict[str, Any]) -> str | None:
    """Return what is wrong with a finished run, in one line, or None."""
    ended = sum(report[name] for name in ("accepted", "duplicate", "late", "rejected"))
    if ended != report["read"] or report["read"] != report["events"]:
        return f"the counts do not add up: {report['events']} sent, {report['read']} read, {ended} accounted for"
    if report["users_with_list"] != report["users"]:
        return f"{report['users'] - report['users_with_list']} users with accepted events have no list"
    return None
