"""A historical log as the source of a rebuild."""

from __future__ import annotations

import argparse
from pathlib import Path

from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import InputError
from streams.settings.load import KafkaSettings, Settings
from tools.rebuild.manifest import LOG_CHECKPOINT
from tools.replay.identity import load_checkpoint, parse_range, run_of
from tools.replay.publish_log import Pace, Replay, drive


def source_of(args: argparse.Namespace, kafka: KafkaSettings) -> str:
    """Return the run that the log's events carry: the one that a plain ``headrace replay`` with the same options gives them.

    So the windows of both are equal to the byte.
    """
    if not args.log.is_file():
        raise InputError(f"{args.log}: no such file; name a log in CSV, TSV, JSON lines or Parquet")
    return run_of(args, parse_range(args.start, args.end), open_pseudonyms(kafka))


def publish_log(args: argparse.Namespace, into: Settings, folder: Path) -> int:
    """Publish what is left of the log onto the run's ``events``; return how many events were sent."""
    wire, path = source_of(args, into.kafka), folder / LOG_CHECKPOINT
    times = parse_range(args.start, args.end)
    replay = Replay(into, wire, path, times, load_checkpoint(path, wire, into.kafka.partitioner))
    drive(args, into, replay, Pace(None))
    return replay.tally.sent
