"""``headrace bench compression``: bytes and times of windows and lists in each codec of Kafka.

The benchmark builds record batches as the workers build them, and reads them as the workers read
them. It needs no broker, because a broker stores a batch as it comes.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from models.base.vocabulary import EVENT_TYPES
from streams.contract.kafka_records import OutRecord
from streams.contract.records import Event, Recommendation, RecommendedItem, SourceRank, encode
from streams.errors import InputError
from streams.kafka.batch_writer import MAX_BATCH_BYTES
from streams.kafka.fetching.bounded_fetch import BoundedRecords
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds
from tools.bench.subject import Subject
from tools.cli import progress

#: The compression types as Kafka numbers them.
CODECS: Final = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
T0_MS: Final = 1_767_225_600_000
N_ITEMS: Final = 2_000
EVENTS_A_TURN: Final = 4
TURNS: Final = 10
LIST_SIZE: Final = 10


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    records : number of records of each kind
    batch : number of records in a batch
    repeats : how often each measurement is made
    """

    records: int
    batch: int
    repeats: int
    seed: int


class Cost(NamedTuple):
    """What a codec costs: bytes of all batches, and processor time of one record.

    ``unbounded_us`` is the time of reading by aiokafka alone, which unpacks a batch of any size as
    a whole.
    """

    n_bytes: int
    write_us: float
    read_us: float
    unbounded_us: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--records", type=int, default=10_000, help="records of each kind (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=500, help="records of a batch (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=5, help="repeats of each measurement, interleaved (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the data (default: %(default)s)")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    for name, value, least in (
        ("records", args.records, TURNS),
        ("batch", args.batch, 1),
        ("repeats", args.repeats, 1),
    ):
        if value < least:
            raise InputError(f"--{name} {value}: must be at least {least}")
    return Options(args.records, args.batch, args.repeats, args.seed)


def run(options: Options) -> dict[str, Any]:
    """Measure every codec on every kind of record."""
    kinds: dict[str, Callable[[int, random.Random], Iterator[OutRecord]]] = {
        "windows": lambda n, rng: windows(n // TURNS, TURNS, rng),
        "small windows": lambda n, rng: windows(n, 1, rng),
        "lists": lists,
    }
    table: list[dict[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("codecs", total=len(kinds) * options.repeats)
        for kind, make in kinds.items():
            records = list(make(options.records, random.Random(options.seed)))  # noqa: S311 - test data, nothing secret
            costs: dict[str, list[Cost]] = {codec: [] for codec in CODECS}
            for _ in range(options.repeats):
                for codec, number in CODECS.items():
                    costs[codec].append(measure(records, number, options.batch))
                bar.advance(task)
            table += summarize(kind, len(records), costs)
    return {"date": datetime.now(UTC).date().isoformat(), **vars(options), "table": table}


def windows(n_users: int, n_turns: int, rng: random.Random) -> Iterator[OutRecord]:
    """Yield users' windows as the sequencer writes them: each turn has a few more events."""
    bounds = WindowBounds()
    users = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(n_users)]
    states: dict[str, Any] = {}
    for turn in range(n_turns):
        for user in users:
            first_ms = T0_MS + turn * 3_600_000
            events = [_event(user, first_ms + rng.randrange(3_600_000), rng) for _ in range(EVENTS_A_TURN)]
            made = absorb(states.get(user), [(event, turn) for event in events], bounds).state
            states[user] = made or states.get(user)
            yield OutRecord(user.encode(), encode(states[user]))


def _event(user: str, ts_ms: int, rng: random.Random) -> Event:
    event_id = str(uuid.UUID(int=rng.getrandbits(128)))
    return Event(1, event_id, user, f"i{rng.randrange(N_ITEMS)}", rng.choice(EVENT_TYPES), ts_ms)


def lists(n: int, rng: random.Random) -> Iterator[OutRecord]:
    """Yield lists as the recommender writes them, each of another user."""
    for i in range(n):
        user, event_id = (str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(2))
        items = [
            RecommendedItem(
                f"i{rng.randrange(N_ITEMS)}",
                rng.random(),
                {name: SourceRank(rng.randrange(1, 101), rng.random()) for name in ("retrieval", "mf", "popular")},
                f"i{rng.randrange(N_ITEMS)}",
            )
            for _ in range(LIST_SIZE)
        ]
        made = Recommendation(
            v=1,
            list_id=f"{rng.getrandbits(128):032x}",
            user_id=user,
            revision=rng.randrange(1, 50),
            event_id=event_id,
            offset=i,
            event_ts=T0_MS + i,
            produced_ts=T0_MS + i + 40,
            artifact="0123456789ab",
            index_generation=1,
            degraded="none",
            items=items,
        )
        yield OutRecord(user.encode(), encode(made))


def measure(records: Sequence[OutRecord], codec: int, batch: int) -> Cost:
    """Write the records in batches of ``batch``, and read them back."""
    begin = time.process_time()
    built = [as_batch(records[i : i + batch], codec) for i in range(0, len(records), batch)]
    write_s = time.process_time() - begin
    read_s, unbounded_s = (_read(built, records_of, len(records)) for records_of in (BoundedRecords, MemoryRecords))
    each_us = 1e6 / len(records)
    return Cost(sum(map(len, built)), write_s * each_us, read_s * each_us, unbounded_s * each_us)


def _read(built: Sequence[bytes], records_of: Callable[[bytes], Any], n: int) -> float:
    """Return the processor time of reading all batches, in s."""
    begin = time.process_time()
    n_read = sum(sum(1 for _ in records_of(data).next_batch()) for data in built)
    took_s = time.process_time() - begin
    if n_read != n:
        raise AssertionError(f"{n_read} records came back of {n}")
    return took_s


def as_batch(records: Sequence[OutRecord], codec: int) -> bytes:
    """Return the record batch that holds the records, packed with a codec of Kafka's number."""
    builder: Any = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, MAX_BATCH_BYTES * len(records))
    for i, record in enumerate(records):
        builder.append(i, T0_MS, record.key, record.value, [])
    return bytes(builder.build())


def summarize(kind: str, n_records: int, costs: dict[str, list[Cost]]) -> list[dict[str, Any]]:
    """Return a row for each codec: bytes, their share of ``none``, median and range of times."""
    plain = costs["none"][0].n_bytes
    return [
        {
            "kind": kind,
            "codec": codec,
            "records": n_records,
            "bytes": of_codec[0].n_bytes,
            "share": of_codec[0].n_bytes / plain,
            "write_us": _spread([cost.write_us for cost in of_codec]),
            "read_us": _spread([cost.read_us for cost in of_codec]),
            "unbounded_us": _spread([cost.unbounded_us for cost in of_codec]),
        }
        for codec, of_codec in costs.items()
    ]


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    heads = "".join(f" {head:>22}" for head in ("write us (range)", "read us (range)", "by aiokafka alone"))
    lines = [f"{'kind':<14} {'codec':<7} {'MB':>7} {'share':>6}{heads}"]
    for row in result["table"]:
        times = " ".join(
            f"{row[name]['median']:>8.2f} ({row[name]['min']:.2f} to {row[name]['max']:.2f})".rjust(22)
            for name in ("write_us", "read_us", "unbounded_us")
        )
        lines.append(f"{row['kind']:<14} {row['codec']:<7} {row['bytes'] / 1e6:>7.2f} {row['share']:>6.2f} {times}")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
