"""``headrace oracle``: prints the window and the list that each user's events must lead to.

The events come from the topic ``events`` or from a log. For a log, they are the events that
``headrace replay`` publishes to empty topics, with the same offsets; so the answer is what a
deployment must hold after the replay. The output is JSON lines; with ``--compare`` it is how the
published lists differ.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from models.rules.row_rules import Rules
from streams.announcements.sending.rules import rules_by_key
from streams.contract.kafka_records import Headers
from streams.contract.newest_lists import LatestLists
from streams.contract.pseudonyms import open_pseudonyms
from streams.contract.records import EventDecoder, Recommendation, RecordDecoder, encode
from streams.contract.windows import decode_window
from streams.errors import BrokerError, InputError, RecordError, TopicError
from streams.formats.decoders import open_event_decoder
from streams.health.counters import Counts
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.publisher import KeyHomes
from streams.kafka.topic_reader import partition_count, read_records
from streams.settings.load import KafkaSettings, Settings, load_settings
from tools.catalogue.items_topic import items_of_file, read_catalogue
from tools.catalogue.shop import users_command
from tools.cli import emit, progress, say, write_json
from tools.files.entries.sources import CatalogueSource, UserSource
from tools.files.formats.named_files import check_exist
from tools.files.log_source import LogSource
from tools.files.logs.log_preview import LogPreview, add_dry_run, emit_preview
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import EventRules, LogRow
from tools.files.reading import told_reading
from tools.files.refused_rows import RefusedRows
from tools.oracle.compare import Difference, compare_lists
from tools.oracle.expected import ListOracle, Truth, WindowOracle
from tools.oracle.users import NOBODY, KnownUsers
from tools.replay.identity import LogReplay, to_event, with_pseudonym

#: A progress moves after this many events.
SHOWN_EVENTS: Final = 1_000
#: Lists that differ are shown up to so many.
SHOWN_DIFFERENCES: Final = 20


class LogRecord(NamedTuple):
    """A record as the broker will give it after a replay of the log."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Headers = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    LogSource.add_options(parser, instead="the topic events")
    CatalogueSource.add_options(parser, instead="the topic items")
    UserSource.add_options(parser, instead="the topic users, where the items come from theirs")
    parser.add_argument("--artifact", type=Path, metavar="DIR", help="the model artifact (or HEADRACE_ARTIFACT)")
    parser.add_argument(
        "--compare", action="store_true", help="compare the newest lists on recommendations with these, and show none"
    )
    parser.add_argument("--run", metavar="ID", help="name of the replay (default: as in replay)")
    add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a row was refused."""
    unused = LogSource.given_without_log(args) or _first_given(args)
    if not args.log and unused:
        raise InputError(f"{unused}: is for a log, and no LOG is named; name a log, or leave the option out")
    settings = load_settings(broker=args.broker, artifact=None if args.artifact is None else str(args.artifact))
    log = LogReplay(LogSource.of(args), args.run) if args.log else None
    refused = RefusedRows()
    if log is not None and args.dry_run:
        preview = LogPreview(LogReader(log.source, refused, EventRules.of(settings)))
        return emit_preview(args, preview, refused, f"would make windows and lists, as run {log.name}")
    catalogue = CatalogueSource.of(args)
    known = UserSource.of(args)
    check_exist([path for source in (log and log.source, catalogue, known) if source for path in source.paths])
    users = _users(settings, known, from_topic=catalogue is None)
    items = asyncio.run(read_catalogue(settings.kafka)) if catalogue is None else list(items_of_file(catalogue))
    rules = _rules(settings) if catalogue is None else None
    artifact = Path(settings.recommender.artifact)
    lists = ListOracle(artifact, items, settings.recommender, settings.sequencer.types(), rules)
    truth = _truth(log, settings, refused)
    expected = _lists(truth, lists, users)
    differences = _compare(settings, expected) if args.compare else []
    if not args.compare:
        _print_users(truth, expected)
    counts = Counts()
    for of_partition in truth.counts.values():
        counts.add(of_partition)
    result = {
        "users": len(truth.windows),
        "lists": len(expected),
        **({"differences": len(differences)} if args.compare else {}),
        **counts.as_dict(),
        "partitions": {str(partition): truth.counts[partition].as_dict() for partition in sorted(truth.counts)},
        **refused.result(),
    }
    refused.say_summary()
    emit(args, result, f"{len(expected)} lists, {len(differences)} differ" if args.compare else None)
    return 1 if differences else refused.exit_code


def _first_given(args: argparse.Namespace) -> str | None:
    """Return the first given option of this command that is of no use without LOG."""
    return next((f"--{name.replace('_', '-')}" for name in ("run", "dry_run") if getattr(args, name)), None)


def _truth(log: LogReplay | None, settings: Settings, refused: RefusedRows) -> Truth:
    if log is None:
        topic = settings.kafka.topic("events")
        decoder = open_event_decoder(settings.kafka, settings.sequencer.max_future_skew_ms, settings.sequencer.types())
        oracle = WindowOracle.of(settings, asyncio.run(partition_count(settings.kafka, topic)), decoder)
        asyncio.run(_add_topic(settings.kafka, oracle))
        return oracle.truth()
    wire = log.wire_run(open_pseudonyms(settings.kafka))
    # A log needs no broker; where a broker answers, the records get the offsets of its topics.
    with contextlib.suppress(BrokerError):
        settings = asyncio.run(with_existing_partitions(settings))
    oracle, reader = WindowOracle.of(settings), LogReader(log.source, refused, EventRules.of(settings))
    with progress() as bar:
        rows = iter(sorted_rows(reader))
        with told_reading(bar, "reading and ordering", log.source.paths):
            first = list(islice(rows, 1))
        task = bar.add_task("making windows", total=reader.n_good, unit="events")
        for n, record in enumerate(log_records(chain(first, rows), wire, settings)):
            if n % SHOWN_EVENTS == 0:
                bar.update(task, completed=n)
            oracle.add(record)
        bar.update(task, completed=reader.n_good)
    return oracle.truth()


def log_records(rows: Iterable[LogRow], run: str, settings: Settings) -> Iterator[LogRecord]:
    """Yield the records that a replay of ordered rows publishes to empty topics.

    Parameters
    ----------
    run : the replay's name on the wire (``tools.replay.identity.LogReplay.wire_run``)
    """
    decoder = EventDecoder(settings.sequencer.max_future_skew_ms, settings.sequencer.types())
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
    """Add all records of ``events``; warn where the broker has deleted the first ones."""
    begun: set[int] = set()
    n_read = 0
    with progress() as bar:
        task = bar.add_task("reading the topic events", total=None, unit="events")
        async for record in read_records(settings, settings.topic("events")):
            if record.partition not in begun:
                begun.add(record.partition)
                if record.offset > 0:
                    say(
                        f"partition {record.partition} begins at offset {record.offset}: earlier events are deleted, "
                        "and windows lack them",
                        style="yellow",
                    )
            oracle.add(record)
            n_read += 1
            if n_read % SHOWN_EVENTS == 0:
                bar.update(task, completed=n_read)


def _rules(settings: Settings) -> Rules | None:
    """Return the rules of the deployment's scenario on ``rules``, None without."""
    try:
        found = asyncio.run(rules_by_key(settings.kafka)).get(settings.recommender.scenario)
    except TopicError:
        return None
    return None if found is None else Rules.of(found.rules, settings.recommender.list_size)


def _users(settings: Settings, source: UserSource | None, *, from_topic: bool) -> KnownUsers:
    """Return what is known of users: from files, else from the topic where the items are."""
    if source is None:
        return asyncio.run(KnownUsers.of_topic(settings.kafka)) if from_topic else NOBODY
    command = users_command(settings)
    entries = source.reader(RefusedRows("refused users")).read().values()
    return KnownUsers.of_file(map(command.on_wire, entries), settings.kafka)


def _lists(truth: Truth, oracle: ListOracle, users: KnownUsers) -> dict[bytes, Recommendation]:
    """Return the list of each user, by key, in the order of keys."""
    with progress() as bar:
        total = len(truth.windows.keys() | users.records.keys())
        task = bar.add_task("making lists", total=total, unit="lists")
        found = oracle.lists(truth.windows, lambda done: bar.update(task, completed=done), users)
    return {key: found[key] for key in sorted(found)}


def _print_users(truth: Truth, lists: Mapping[bytes, Recommendation]) -> None:
    """Print one line for each user; a user without events has no window."""
    for key, made in lists.items():
        window = truth.windows.get(key)
        line: dict[str, Any] = {
            "user_id": key.decode(),
            "window": None if window is None else decode_window(window),
            "list": made,
        }
        write_json(msgspec.json.encode(line).decode())


def _compare(settings: Settings, expected: Mapping[bytes, Recommendation]) -> list[Difference]:
    """Say how the newest published lists differ from these."""
    differences = compare_lists(asyncio.run(_published(settings.kafka)), expected)
    for one in differences[:SHOWN_DIFFERENCES]:
        say(f"{one.user_id}: {one.what}: {one.why}", style="yellow")
    if len(differences) > SHOWN_DIFFERENCES:
        say(f"and {len(differences) - SHOWN_DIFFERENCES} more", style="yellow")
    return differences


async def _published(settings: KafkaSettings) -> dict[bytes, Recommendation]:
    """Return the newest list of each user on ``recommendations``, by the consumer's rule."""
    newest, decoder = LatestLists(), RecordDecoder(Recommendation)
    found: dict[bytes, Recommendation] = {}
    async for record in read_records(settings, settings.topic("recommendations")):
        if record.value is None:
            found.pop(record.key or b"", None)
        elif newest.accept(made := decoder.decode(record.value)):
            found[made.user_id.encode()] = made
    return found
