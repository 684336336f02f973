"""``headrace replay``: publishes a historical log, in time order, so that doing it twice changes nothing.

With ``--into``, ``--compare`` or ``--promote`` it rebuilds state on topics of its own instead: ``tools.rebuild.copy_history``.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Final

from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import InputError
from streams.settings.load import Settings, load_settings
from tools.cli import emit, say
from tools.files.log_reader import LogReader
from tools.rebuild import options as rebuild_options
from tools.replay.identity import TimeRange, check_run, default_run, load_checkpoint, parse_range, run_of
from tools.replay.live_users import count_live, read_live_users, refuse_live
from tools.replay.publish_log import Pace, Replay, Tally, drive, spec_of

SUMMARY = "publish a historical log"
STATE_DIR: Final = Path(".headrace") / "runs"
INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "log", type=Path, nargs="?", metavar="LOG", help="CSV, TSV, JSON lines or Parquet; gzip or zstd too"
    )
    parser.add_argument(
        "--columns",
        metavar="A=B,...",
        help="contract names to the log's columns: user_id=userId,ts=timestamp; a number is a position",
    )
    parser.add_argument("--types", metavar="A=B,...", help="the log's types to the contract's: pv=view,buy=purchase")
    parser.add_argument(
        "--time-unit",
        choices=("auto", "s", "ms", "iso"),
        default="auto",
        help="of the log's times (default: %(default)s)",
    )
    parser.add_argument("--from", dest="start", metavar="T", help="first time to publish: ISO 8601 or ms")
    parser.add_argument("--to", dest="end", metavar="T", help="publish what is before this time: ISO 8601 or ms")
    parser.add_argument("--speed", default="max", metavar="N|max", help="times real event time (default: %(default)s)")
    parser.add_argument("--run", metavar="ID", help="name of this replay (default: from the file's name and content)")
    parser.add_argument(
        "--resume", action="store_true", help="go on after what an earlier replay of this run delivered"
    )
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIR,
        metavar="DIR",
        help="where checkpoints are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--force", action="store_true", help="also where users of the log are live: what is older is late for them"
    )
    rebuild_options.add_arguments(parser)


def parse_speed(text: str) -> float | None:
    """Return the factor of ``--speed``, or None for max."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed <= 1e12:
        raise InputError(f"--speed {text!r}: give max, or a number above 0 and at most 1e12")
    return speed


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    code = rebuild_options.dispatch(args)
    if code is not None:
        return code
    if args.log is None:
        raise InputError("LOG is missing: name a log, or --into RUN --from-topic")
    settings = load_settings(broker=args.broker)
    pace = Pace(parse_speed(args.speed))
    times = parse_range(args.start, args.end)
    if not args.log.is_file():
        raise InputError(f"{args.log}: no such file; name a log in CSV, TSV, JSON lines or Parquet")
    name = check_run(args.run or default_run(args.log))
    wire = run_of(args, times, open_pseudonyms(settings.kafka))
    path = args.state_dir / f"{name}.json"
    done = load_checkpoint(path, wire, settings.kafka.partitioner) if args.resume else None
    if args.resume:
        say(
            f"resuming {name} after {done.sent} events" if done else f"{name} has no checkpoint: from the start",
            style="dim",
        )
    replay = Replay(settings, wire, path, times, done)
    began = time.monotonic()
    try:
        drive(args, settings, replay, pace, lambda: check_live(args, settings, wire, times))
    except KeyboardInterrupt:
        say(f"interrupted after {replay.tally.sent} events; go on with the same command and --resume", style="yellow")
        _report(args, name, replay.tally, began)
        return INTERRUPTED
    _report(args, name, replay.tally, began)
    return 0


def check_live(args: argparse.Namespace, settings: Settings, wire: str, times: TimeRange) -> None:
    """Say how many users of the log are live already; raise :class:`InputError` where there are some, unless forced."""
    live = asyncio.run(read_live_users(settings.kafka, wire))
    rows = LogReader(spec_of(args), lambda _line, _reason: None)
    refuse_live(count_live(rows, live, times, open_pseudonyms(settings.kafka)), is_forced=args.force)


def _report(args: argparse.Namespace, name: str, tally: Tally, began: float) -> None:
    seconds = time.monotonic() - began
    result = {
        "run": name,
        "read": tally.read,
        "sent": tally.sent,
        "skipped": tally.skipped,
        "bad": tally.bad,
        "seconds": round(seconds, 3),
        "first_ts": tally.first_ts,
        "last_ts": tally.last_ts,
    }
    emit(
        args,
        result,
        f"run {name}: {tally.sent} events sent, {tally.skipped} skipped, {tally.bad} bad, in {seconds:.1f} s",
    )
