"""``headrace replay``: publishes a historical log in time order; a second replay changes nothing.

With ``--into``, ``--compare`` or ``--promote`` it rebuilds state on separate topics instead, see
``tools.replay.rebuild.copy_history``.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path
from typing import Any, Final

from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import InputError
from streams.printable import counted
from streams.settings.load import KafkaSettings, Settings, load_settings
from tools.broker.probe import check_broker
from tools.catalogue.shop import put_sections
from tools.cli import emit, say
from tools.files.cells.times import parse_range
from tools.files.log_source import LogSource
from tools.files.logs.log_preview import LogPreview, add_dry_run, emit_preview
from tools.files.logs.log_reader import LogReader
from tools.files.logs.log_rows import EventRules
from tools.files.refused_rows import RefusedRows
from tools.replay.checkpoint import load_checkpoint
from tools.replay.identity import LogReplay
from tools.replay.live_users import count_live, read_live_users, refuse_live
from tools.replay.publish_log import Pace, Replay, Tally, drive
from tools.replay.ready import check_rights_of_producer
from tools.replay.rebuild.manifest import folder_of
from tools.replay.rebuild.options import add_arguments as add_rebuild_arguments
from tools.replay.rebuild.options import check_usage, rebuild_of
from tools.replay.rebuild.outcome import Outcome
from tools.reports.outputs import check_writable

STATE_DIR: Final = Path(".headrace") / "runs"
INTERRUPTED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    LogSource.add_options(parser, instead="the live events, with --into RUN --from-topic")
    parser.add_argument("--from", dest="start", metavar="T", help="publish events from this time on: ISO 8601 or ms")
    parser.add_argument("--to", dest="end", metavar="T", help="publish events before this time: ISO 8601 or ms")
    parser.add_argument(
        "--speed",
        default="max",
        metavar="N|max",
        help="how many times as fast as the events happened (default: %(default)s)",
    )
    parser.add_argument("--run", metavar="ID", help="name of this replay (default: from the file's name and content)")
    parser.add_argument("--resume", action="store_true", help="continue where an earlier replay of this run ended")
    parser.add_argument(
        "--state-dir",
        type=Path,
        default=STATE_DIR,
        metavar="DIR",
        help="where checkpoints are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replay although users of the log are live; their older events will be late",
    )
    parser.add_argument(
        "--with-catalogue",
        action="store_true",
        help="before the log, publish what [items] and [users] of headrace.toml name",
    )
    add_dry_run(parser)
    add_rebuild_arguments(parser)


def parse_speed(text: str) -> float | None:
    """Return the factor that ``--speed`` gives, None for max."""
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
    """Run the command; return its exit code: 1 where a row was refused."""
    if not (args.log or args.from_topic or args.compare or args.promote):
        args.log = list(LogSource.section().paths)
    check_usage(args)
    log = None if not args.log else LogReplay(LogSource.of(args), args.run, parse_range(args.start, args.end))
    if args.dry_run:
        return _preview(args, log)
    if args.into or args.compare or args.promote:
        outcome = _rebuild(args, log)
        emit(args, outcome.result, outcome.lines)
        return outcome.exit_code
    if log is None:
        raise InputError("LOG is missing: name a log, here or in [log] of headrace.toml, or --into RUN --from-topic")
    pace = Pace(parse_speed(args.speed))
    settings = load_settings(broker=args.broker)
    replay = _replay(log, settings, args.state_dir, is_resumed=args.resume)
    check_writable("--state-dir", args.state_dir)
    n_refused = 0
    if args.with_catalogue:
        _check_publishing(settings.kafka)
        n_refused = put_sections(settings)
    began, exit_code = time.monotonic(), 0
    try:
        drive(
            log.source,
            settings,
            replay,
            pace,
            ready=lambda: _check_publishing(settings.kafka),
            before=lambda: check_live(log, settings, is_forced=args.force),
        )
    except KeyboardInterrupt:
        say(
            f"interrupted after {counted(replay.tally.sent, 'event')}; continue with the same command and --resume",
            style="yellow",
        )
        exit_code = INTERRUPTED
    result, line = report(log.name, replay.tally, time.monotonic() - began)
    replay.tally.refused.say_summary()
    emit(args, result, line)
    return exit_code or replay.tally.refused.exit_code or int(n_refused > 0)


def _check_publishing(kafka: KafkaSettings) -> None:
    """Check that the broker answers and takes events, before the rest of the log is read."""
    check_broker(kafka.broker, kafka.client_arguments())
    check_rights_of_producer(kafka)


def _preview(args: argparse.Namespace, log: LogReplay | None) -> int:
    """Show what would be sent; no broker is needed."""
    if log is None:
        raise InputError("--dry-run: is for a log, and no LOG is named; name a log, or leave the option out")
    settings, refused = load_settings(broker=args.broker), RefusedRows()
    preview = LogPreview(LogReader(log.source, refused, EventRules.of(settings)), log.times)
    would = f"would be sent to {settings.kafka.topic('events')}, as run {log.name}"
    return emit_preview(args, preview, refused, would, {"run": log.name})


def _rebuild(args: argparse.Namespace, log: LogReplay | None) -> Outcome:
    """Rebuild, compare or promote a run.

    The modules are imported here, because they load the models, which a plain replay does not need.
    """
    if args.into:
        from tools.replay.rebuild.copy_history import run_into

        return run_into(rebuild_of(args, log), args.broker)
    if args.compare:
        from tools.replay.rebuild.compare_runs import run_compare

        return run_compare(folder_of(args.state_dir, args.compare), args.broker)
    from tools.replay.rebuild.promote import run_promote

    return run_promote(folder_of(args.state_dir, args.promote), args.broker, is_confirmed=args.yes)


def _replay(log: LogReplay, settings: Settings, state_dir: Path, *, is_resumed: bool) -> Replay:
    """Return the replay of a log; a resumed one begins at its checkpoint."""
    name, wire = log.name, log.wire_run(open_pseudonyms(settings.kafka))
    path = state_dir / f"{name}.json"
    done = load_checkpoint(path, wire, settings.kafka.partitioner) if is_resumed else None
    if is_resumed:
        told = (
            f"resuming {name} after {counted(done.sent, 'event')}"
            if done
            else f"{name} has no checkpoint: from the start"
        )
        say(told, style="dim")
    return Replay(settings, wire, path, log.times, done)


def check_live(log: LogReplay, settings: Settings, *, is_forced: bool) -> None:
    """Tell how many users of the log are live; raise :class:`InputError` for any, unless forced."""
    pseudonyms = open_pseudonyms(settings.kafka)
    live = asyncio.run(read_live_users(settings.kafka, log.wire_run(pseudonyms)))
    rows = LogReader(log.source, RefusedRows(shown=0), EventRules.of(settings))
    refuse_live(count_live(rows, live, log.times, pseudonyms), is_forced=is_forced)


def report(name: str, tally: Tally, seconds: float) -> tuple[dict[str, Any], str]:
    """Return the result of a replay, as an object for ``--json`` and as a line for people."""
    result = {
        "run": name,
        "read": tally.read,
        "sent": tally.sent,
        "skipped": tally.skipped,
        "bad": tally.refused.n,
        **tally.refused.result(),
        "seconds": round(seconds, 3),
        "first_ts": tally.first_ts,
        "last_ts": tally.last_ts,
    }
    counts = f"{counted(tally.sent, 'event')} sent, {tally.skipped} skipped, {tally.refused.n} bad"
    return result, f"run {name}: {counts}, in {seconds:.1f} s"
