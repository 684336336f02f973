"""The options of ``headrace replay`` for a rebuild on separate topics, and which go together."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.errors import InputError
from tools.files.cells.times import TimeRange, parse_time
from tools.replay.identity import LogReplay
from tools.replay.rebuild.manifest import folder_of

MAX_PARTITIONS: Final = 10_000


@dataclass(frozen=True)
class Rebuild:
    """What ``headrace replay --into RUN`` sends through both apps.

    Parameters
    ----------
    folder : where the run keeps its manifest and its workers' data
    log : the log to replay; None copies the live events
    recorded : copies only live events whose record has a time in this range
    partitions : partition count of the run's topics; None takes that of the live topics
    """

    run: str
    folder: Path
    log: LogReplay | None
    recorded: TimeRange
    partitions: int | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a rebuild to those of ``headrace replay``."""
    group = parser.add_argument_group("rebuilding on separate topics", "see docs/data/replaying.md")
    mode = group.add_mutually_exclusive_group()
    mode.add_argument("--into", metavar="RUN", help="send LOG, or the live events, through both apps on topics of RUN")
    mode.add_argument("--compare", metavar="RUN", help="compare the windows and lists of RUN with the live ones")
    mode.add_argument("--promote", metavar="RUN", help="make the state of RUN the live one")
    group.add_argument("--from-topic", action="store_true", help="into: copy the live events, not a log")
    group.add_argument(
        "--from-ts", metavar="T", help="into: copy events that were published at this time or later: ISO 8601 or ms"
    )
    group.add_argument(
        "--to-ts", metavar="T", help="into: copy events that were published before this time: ISO 8601 or ms"
    )
    group.add_argument(
        "--partitions", type=int, metavar="N", help="into: partition count of RUN (default: that of the live topics)"
    )
    group.add_argument("--yes", action="store_true", help="promote: needed, because it overwrites the live windows")


def check_usage(args: argparse.Namespace) -> None:
    """Raise :class:`InputError` for options that do not go together."""
    ranged = [name for name in ("from_ts", "to_ts") if getattr(args, name) is not None]
    if args.into and args.from_topic == bool(args.log):
        raise InputError("--into: name one source: LOG or --from-topic")
    if not args.into and (args.from_topic or ranged or args.partitions is not None):
        raise InputError("--from-topic, --from-ts, --to-ts and --partitions need --into RUN")
    if ranged and not args.from_topic:
        raise InputError("--from-ts and --to-ts need --from-topic; a log has --from and --to")
    if (args.compare or args.promote) and args.log:
        raise InputError(f"LOG {args.log[0]}: --compare and --promote read no log; leave it out")
    if args.into and (args.speed != "max" or args.resume):
        raise InputError(
            "--into always copies at full speed and resumes where it stopped: leave out --speed and --resume"
        )
    for name in ("force", "with_catalogue"):
        if getattr(args, name) and (args.into or args.compare or args.promote):
            raise InputError(f"--{name.replace('_', '-')} is for a replay of LOG onto the live events; leave it out")
    if args.partitions is not None and not 1 <= args.partitions <= MAX_PARTITIONS:
        raise InputError(f"--partitions {args.partitions}: must be 1 to {MAX_PARTITIONS}")


def rebuild_of(args: argparse.Namespace, log: LogReplay | None) -> Rebuild:
    """Return the rebuild that ``--into`` and its options name."""
    recorded = TimeRange(parse_time("--from-ts", args.from_ts), parse_time("--to-ts", args.to_ts))
    return Rebuild(args.into, folder_of(args.state_dir, args.into), log, recorded, args.partitions)
