"""``headrace oracle``: prints, as JSON lines, the window and the list that each user's events must lead to.

Events come from the topic ``events``, or from a log: then they are those that ``headrace replay`` of the log publishes to topics
without events, with the same offsets, so that the answer is what a deployment must hold afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from streams.contract.kafka_records import Headers
from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import VERSION, EventDecoder, Item, RecordDecoder, encode
from streams.contract.windows import decode_window
from streams.errors import BrokerError, InputError, RecordError
from streams.health.counters import Counts
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.publisher import KeyHomes
from streams.kafka.topic_reader import partition_count, read_records
from streams.settings.load import KafkaSettings, Settings, load_settings
from tools.catalogue import item_changes
from tools.cli import emit, say, write_json
from tools.files.log_reader import LogReader, LogRow, LogSpec, parse_columns, read_items, sorted_rows
from tools.oracle.expected import ListOracle, Truth, WindowOracle
from tools.replay.identity import TimeRange, run_of, to_event, with_pseudonym

SUMMARY = "print the window and the list that each user's events must lead to"
SHOWN_BAD: Final = 100
LOG_OPTIONS: Final = ("columns", "types", "run")


class LogRecord(NamedTuple):
    """A record as the broker will give it once a log is replayed."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("log", type=Path, nargs="?", metavar="LOG", help="a log (default: the topic events)")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the model artifact (HEADRACE_ARTIFACT)")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue (default: the topic items)")
    parser.add_argument("--item-columns", default="", metavar="A=B,...", help="contract names to the catalogue's")
    parser.add_argument("--columns", metavar="A=B,...", help="contract names to the log's columns, as in replay")
    parser.add_argument("--types", metavar="A=B,...", help="the log's types to the contract's, as in replay")
    parser.add_argument("--time-unit", choices=("auto", "s", "ms", "iso"), default="auto", help="as in replay")
    parser.add_argument("--run", metavar="ID", help="name of the replay (default: as in replay)")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    given = [f"--{name}" for name in LOG_OPTIONS if getattr(args, name) is not None]
    if args.log is None and given:
        raise InputError(f"{given[0]}: is for a log, and no LOG is named; name one, or leave it out")
    settings = load_settings(broker=args.broker, artifact=None if args.artifact is None else str(args.artifact))
    items = items_of_file(args.items, args.item_columns) if args.items else asyncio.run(_items_of_topic(settings.kafka))
    lists = ListOracle(Path(settings.recommender.artifact), items, settings.recommender)
    truth = _truth(args, settings)
    n_lists = _print_users(truth, lists)
    counts = Counts()
    for of_partition in truth.counts.values():
        counts.add(of_partition)
    result = {
        "users": len(truth.windows),
        "lists": n_lists,
        **counts.as_dict(),
        "partitions": {str(partition): truth.counts[partition].as_dict() for partition in sorted(truth.counts)},
    }
    emit(args, result)
    return 0


def _truth(args: argparse.Namespace, settings: Settings) -> Truth:
    if args.log is None:
        topic = settings.kafka.topic("events")
        oracle = WindowOracle.of(settings, asyncio.run(partition_count(settings.kafka, topic)))
        asyncio.run(_add_topic(settings.kafka, oracle))
        return oracle.truth()
    if not args.log.is_file():
        raise InputError(f"{args.log}: no such file; name a log in CSV, TSV, JSON lines or Parquet")
    with contextlib.suppress(
        BrokerError
    ):  # a log needs no broker; where one answers, the offsets are those of its topics
        settings = asyncio.run(with_existing_partitions(settings))
    columns, types = parse_columns(args.columns or ""), parse_columns(args.types or "")
    reader = LogReader(LogSpec(args.log, columns, types, args.time_unit), _BadRows().warn)
    name = run_of(args, TimeRange(), open_pseudonyms(settings.kafka))
    oracle = WindowOracle.of(settings)
    for record in log_records(sorted_rows(reader), name, settings):
        oracle.add(record)
    return oracle.truth()


def log_records(rows: Iterable[LogRow], run: str, settings: Settings) -> Iterator[LogRecord]:
    """Yield the records that a replay of ordered rows publishes to topics without events; a row that it refuses has none.

    Parameters
    ----------
    run : the replay's name on the wire (``tools.replay.identity.run_of``)
    """
    decoder = EventDecoder(settings.sequencer.max_future_skew_ms)
    topic, now_ms = settings.kafka.topic("events"), int(time.time() * 1000)
    home = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)
    offsets, pseudonyms = [0] * settings.kafka.partitions, open_pseudonyms(settings.kafka)
    for seq, found in enumerate(rows):
        row = with_pseudonym(found, pseudonyms)
        key, value = row.user_id.encode(), encode(to_event(row, run, seq))
        with contextlib.suppress(RecordError):
            decoder.decode_event(key, value, now_ms)
            partition = home[key]
            yield LogRecord(topic, partition, offsets[partition], now_ms, key, value)
            offsets[partition] += 1


async def _add_topic(settings: KafkaSettings, oracle: WindowOracle) -> None:
    """Add all records of ``events``; say where the topic no longer begins with its first record."""
    begun: set[int] = set()
    async for record in read_records(settings, settings.topic("events")):
        if record.partition not in begun:
            begun.add(record.partition)
            if record.offset > 0:
                _warn(
                    f"partition {record.partition} begins at offset {record.offset}: what was before is deleted, "
                    "and windows lack it"
                )
        oracle.add(record)


async def _items_of_topic(settings: KafkaSettings) -> list[Item]:
    """Return the catalogue on ``items`` as a recommender reads it: what is no entry is left out."""
    items: dict[str, Item] = {}
    async for item_id, item in item_changes(settings):
        if item is None:
            items.pop(item_id, None)
        else:
            items[item_id] = item
    return list(items.values())


def items_of_file(path: Path, columns: str) -> list[Item]:
    """Return the catalogue in a file, as ``headrace items put`` publishes it; refused entries are said and left out."""
    decoder = RecordDecoder(Item)
    items = []
    for item_id, fields in read_items(path, parse_columns(columns)).items():
        try:
            items.append(decoder.decode(msgspec.json.encode({"v": VERSION, "item_id": item_id, **fields})))
        except RecordError as exc:
            _warn(f"{path.name}: item {item_id}: {exc}")
    return items


def _print_users(truth: Truth, oracle: ListOracle) -> int:
    """Print a line per user, in order of keys; return the number of lists."""
    windows = {key: truth.windows[key] for key in sorted(truth.windows)}
    lists = oracle.lists(windows)
    for key, value in windows.items():
        line: dict[str, Any] = {"user_id": key.decode(), "window": decode_window(value), "list": lists[key]}
        write_json(msgspec.json.encode(line).decode())
    return len(lists)


class _BadRows:
    """Says which rows of a log cannot be read, up to a ceiling."""

    def __init__(self) -> None:
        self._n = 0

    def warn(self, line: int, reason: str) -> None:
        self._n += 1
        if self._n <= SHOWN_BAD:
            _warn(f"line {line}: {reason}")


def _warn(message: str) -> None:
    say(message, style="yellow")
