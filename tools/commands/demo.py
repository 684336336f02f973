"""``headrace demo``: the main job from nothing to lists, on a local broker, with a real log.

Every step is a command that a person could give: ``tools.demo.run`` calls them in order and reads what they publish.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from streams.contract.records import Recommendation
from streams.errors import InputError, RunError
from streams.settings.load import load_settings
from tools.cli import add_common_arguments, emit, say, say_table
from tools.demo.movielens import DemoLog, movielens_100k
from tools.demo.report import find_problem, report_of
from tools.demo.run import run_steps, split_by_time
from tools.files.item_reader import read_items
from tools.files.log_reader import LogRow
from tools.files.log_source import parse_columns

SUMMARY = "the main job from nothing to lists"
USERS_SHOWN: Final = 3
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


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from tools.broker.local_broker import running_broker

    started = time.monotonic()
    if (args.log is None) != (args.items is None):
        raise InputError("--log and --items go together: name both or neither")
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
        outcome = run_steps(settings, log, split, ["--seed", str(args.seed), *encoder])
        items = read_items(log.items, parse_columns(log.item_columns))
        show_users(split.replayed, outcome.lists, {item_id: item["title"] for item_id, item in items.items()})
        report = report_of(split, outcome)
        say_table("headrace demo", as_rows(report))
    report |= {"engine": broker.engine, "engine_version": broker.version, "seconds": time.monotonic() - started}
    emit(args, report)
    problem = find_problem(report)
    if problem:
        raise RunError(problem)
    return 0


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
