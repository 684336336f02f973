"""``headrace subscribe`` prints recommendation lists with titles.

It prints those there are, or new ones as they come.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from streams.contract.kafka_records import ConsumedRecord
from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import Recommendation, RecommendedItem, RecordDecoder
from streams.errors import InputError, RecordError
from streams.kafka.publisher import partition_of
from streams.kafka.topic_reader import partition_count, read_records
from streams.settings.load import KafkaSettings, load_settings
from tools.catalogue.items_topic import read_titles
from tools.cli import emit, say, write_json, write_line
from tools.files.refused_rows import RefusedRows

SHOWN_MALFORMED: Final = 10


@dataclass
class Seen:
    """What was read so far."""

    lists: int = 0
    malformed: RefusedRows = field(default_factory=lambda: RefusedRows("malformed lists", SHOWN_MALFORMED))
    users: set[str] = field(default_factory=set)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "--user", metavar="U", help="only the lists of this user; the shop's own id, also with pseudonyms"
    )
    parser.add_argument("--count", type=int, metavar="N", help="stop after N lists; with fewer at the end, exit with 1")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="print new lists as they come (default: print the lists there are, and stop at the end of the topic)",
    )
    parser.add_argument("--from-beginning", action="store_true", help="with --follow: first print the lists there are")
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="json: one list per line (default: %(default)s)"
    )
    parser.add_argument("--timeout", type=float, metavar="S", help="stop after S seconds")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where ``--count`` was not reached."""
    if args.count is not None and args.count < 1:
        raise InputError(f"--count {args.count}: must be at least 1; leave it out for all")
    if args.timeout is not None and not 0 < args.timeout < math.inf:
        raise InputError(f"--timeout {args.timeout}: must be a number of seconds above 0")
    seen = Seen()
    try:
        settings = load_settings(broker=args.broker).kafka
        pseudonyms = open_pseudonyms(settings)
        if args.user is not None and pseudonyms is not None:
            args.user = pseudonyms.of(args.user)
        asyncio.run(_print_lists(args, settings, seen))
    finally:
        result = {"lists": seen.lists, "users": len(seen.users), "malformed": seen.malformed.n}
        with contextlib.suppress(BrokenPipeError):
            emit(args, result)
    if args.count is not None and seen.lists < args.count:
        say(
            f"only {seen.lists} of {args.count} lists; wait longer with --follow --timeout",
            style="yellow",
        )
        return 1
    return 0


async def _print_lists(args: argparse.Namespace, settings: KafkaSettings, seen: Seen) -> None:
    deadline = math.inf if args.timeout is None else time.monotonic() + args.timeout
    titles = await read_titles(settings) if args.format == "text" else {}
    topic = settings.topic("recommendations")
    partitions = None
    if args.user is not None and settings.events_format == "headrace":
        # Other producers may encode their keys: then the partition does not follow from the user.
        partitions = [partition_of(args.user.encode(), await partition_count(settings, topic), settings.partitioner)]
    decoder = RecordDecoder(Recommendation)
    is_from_end = args.follow and not args.from_beginning

    def ready() -> None:
        if is_from_end:
            say("waiting for new lists; --from-beginning also prints the lists there are", style="dim")

    reading = read_records(
        settings,
        topic,
        partitions=partitions,
        is_following=args.follow,
        is_from_end=is_from_end,
        deadline=deadline,
        ready=ready,
    )
    async with contextlib.aclosing(reading) as records:  # type: ignore[type-var]
        async for record in records:
            found = _list_in(record, decoder, seen)
            if found is None or args.user not in (None, found.user_id):
                continue
            seen.lists += 1
            seen.users.add(found.user_id)
            if args.format == "json":
                write_json(msgspec.json.encode(found).decode())
            else:
                for line in format_list(found, titles):
                    write_line(line)
            sys.stdout.flush()
            if seen.lists == args.count:
                return


def _list_in(record: ConsumedRecord, decoder: RecordDecoder[Recommendation], seen: Seen) -> Recommendation | None:
    """Return a record's list; None for the removal of a user, and for what is no list."""
    if record.value is None:
        return None
    try:
        return decoder.decode(record.value)
    except RecordError as exc:
        seen.malformed.refuse(f"{record.topic}[{record.partition}]@{record.offset}", exc)
        return None


def format_list(found: Recommendation, titles: Mapping[str, str]) -> list[str]:
    """Return a list as lines: one about it, then one per item."""
    at = datetime.fromtimestamp(found.produced_ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    head = f"user {found.user_id}  revision {found.revision}  {at}"
    if found.degraded != "none":
        head += f"  degraded: {found.degraded}"
    return [head, *(_format_item(rank, item, titles) for rank, item in enumerate(found.items, 1))]


def _format_item(rank: int, item: RecommendedItem, titles: Mapping[str, str]) -> str:
    sources = ", ".join(f"{name} #{place.rank}" for name, place in item.sources.items())
    line = f"  {rank:3d}. {item.score:.3f}  {titles.get(item.item_id, item.item_id)}  [{sources}]"
    return line if item.because is None else f"{line}  because of {titles.get(item.because, item.because)}"
