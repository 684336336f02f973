"""Turns a batch of events into new windows: the half of the sequencer that does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from streams.contract.kafka_records import ConsumedRecord, OutRecord
from streams.contract.marks import NO_MARKS, Marks, is_former, later_part, new_life
from streams.contract.records import Event, EventDecoder, decode_any, encode
from streams.contract.rejects import Reject
from streams.contract.windows import WindowState, decode_window
from streams.errors import RecordError
from streams.health.counters import Counts
from streams.sequencer.compiled.batch import Folded, fold_batch
from streams.sequencer.packed_window import absorb_packed
from streams.sequencer.window import absorb
from streams.settings.record_limits import WindowBounds

#: What producers call each ``partitioner``.
PRODUCERS: Final = {
    "murmur2": "murmur2_random (librdkafka) or leave it out (Java)",
    "crc32": "consistent_random, librdkafka's default",
}
#: From so many records on, the compiled loops are faster than an object for each event.
COMPILED_RECORDS: Final = 20
OTHER: Final = {"murmur2": "crc32", "crc32": "murmur2"}


@dataclass(slots=True)
class BatchResult:
    """The result of a batch of events: new windows by user key, rejects, counts.

    Parameters
    ----------
    damaged : users whose window cannot be read, and why. Their events are in no count: the caller
        mends the windows and takes the batch again
    anew : users whose damaged window was mended; readers must forget it before they see the new one
    """

    windows: dict[bytes, bytes] = field(default_factory=dict)
    damaged: dict[bytes, str] = field(default_factory=dict)
    anew: frozenset[bytes] = frozenset()
    rejects: list[Reject] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def take(self, user_key: bytes, accepted: int, duplicate: int, late: int, value: bytes | None) -> None:
        """Take the result of a user's events: three counts and the new window.

        The window is None if it did not change.
        """
        counts = self.counts
        counts.accepted += accepted
        counts.duplicate += duplicate
        counts.late += late
        if value is not None:
            self.windows[user_key] = value

    def take_all(self, folded: Folded) -> None:
        """Take the result of many users' events."""
        counts = self.counts
        counts.accepted += folded.accepted
        counts.duplicate += folded.duplicate
        counts.late += folded.late
        self.windows.update(folded.windows)

    def out_records(self) -> Iterator[OutRecord]:
        """Yield the records for ``sequences``."""
        for key, value in self.windows.items():
            if key in self.anew:
                yield OutRecord(key, None)
            yield OutRecord(key, value)


class Home(Protocol):
    """Gives the partition of a key; see :class:`streams.kafka.publisher.KeyHomes`."""

    partitioner: str

    def __getitem__(self, key: bytes, /) -> int:
        """Return the partition of a key."""


def stray_error(partition: int, due: int, partitioner: str) -> RecordError:
    """Return the error of an event on ``partition`` whose key belongs on ``due``."""
    return RecordError(
        "partition",
        "key",
        f"on partition {partition}, must be on {due}, which partitioner={partitioner} gives for its key; set every producer's "
        f"partitioner to {PRODUCERS[partitioner]}, or HEADRACE_PARTITIONER={OTHER[partitioner]} where all of them use that; "
        "then: headrace rejected redrive",
    )


def check_home(record: ConsumedRecord, home: Home | None) -> None:
    """Raise :class:`RecordError` for a record on another partition than its key belongs on.

    It is the bytes of the key that producers partition by, whatever these bytes hold.
    """
    if home is not None and record.key is not None and (due := home[record.key]) != record.partition:
        raise stray_error(record.partition, due, home.partitioner)


def _reject_strays(
    records: Sequence[ConsumedRecord], by_user: dict[bytes, list[tuple[Event, int]]], home: Home, result: BatchResult
) -> None:
    """Reject the events of users that another partitioner put here: their window is elsewhere."""
    partition = records[0].partition
    homes = list(map(home.__getitem__, by_user))
    if homes.count(partition) == len(homes):
        return
    strays = {key: due for key, due in zip(by_user, homes, strict=True) if due != partition}
    errors = {key: stray_error(partition, due, home.partitioner) for key, due in strays.items()}
    offsets = {offset: errors[key] for key in strays for _, offset in by_user.pop(key)}
    result.rejects += [Reject(record, offsets[record.offset]) for record in records if record.offset in offsets]


def absorb_batch(
    records: Sequence[ConsumedRecord],
    read_window: Callable[[bytes], bytes | None],
    decoder: EventDecoder,
    bounds: WindowBounds,
    now_ms: int,
    mended: Mapping[bytes, WindowState | None] | None = None,
    home: Home | None = None,
    marks: Marks = NO_MARKS,
) -> BatchResult:
    """Fold a batch of one partition's event records into its users' windows.

    It writes each user's window once. Repeat-safe: the same batch again gives duplicates
    and no windows.

    Parameters
    ----------
    records : consumed records, in offset order
    read_window : gives the encoded window of a user key, or None
    now_ms : the present time; events too far ahead of it are rejected
    mended : replacements of damaged windows by user key; None begins the window anew
    home : gives the partition that a user's events must be on; None checks nothing
    marks : forgotten users; events of their former life go nowhere, and its window counts as none
    """
    mended = mended or {}
    result = BatchResult(anew=frozenset(mended))
    left = records
    if len(records) >= COMPILED_RECORDS and decoder.keys_are_ids:
        leave = partial(_to_leave, records[0].partition, home, (mended, marks))
        folded = fold_batch(records, read_window, decoder, bounds, now_ms, leave)
        result.take_all(folded)
        left = folded.left
    by_user = _by_user(left, decoder, now_ms, home, marks, result)
    if home is not None and left and decoder.keys_are_ids:
        _reject_strays(left, by_user, home, result)
    for user_key, events in by_user.items():
        mark = marks.get(user_key)
        if user_key in mended:
            _fold(result, user_key, mended[user_key] or _begin(mark), events, bounds)
            continue
        value = read_window(user_key)
        if mark is not None and (value is None or is_former(value, mark)):
            # earlier batches may have put events of the new life into the former window
            later = None if value is None else later_part(value, mark)
            _fold(result, user_key, later or new_life(mark), events, bounds)
            continue
        packed = absorb_packed(value, events, bounds)
        if packed is not None:
            result.take(user_key, *packed)
        else:
            _unpack_and_fold(result, user_key, value, events, bounds, left)
    result.counts.read = len(records)
    result.counts.rejected = len(result.rejects)
    return result


def _to_leave(
    partition: int, home: Home | None, apart: Iterable[Container[bytes]], users: Sequence[bytes]
) -> list[int]:
    """Return the places of users whom the compiled loops must leave: strays, and those apart."""
    homes = [] if home is None else list(map(home.__getitem__, users))
    left = [] if homes.count(partition) == len(homes) else [i for i, due in enumerate(homes) if due != partition]
    for keys in filter(None, apart):
        left += [i for i, key in enumerate(users) if key in keys]
    return left


def _by_user(
    records: Sequence[ConsumedRecord],
    decoder: EventDecoder,
    now_ms: int,
    home: Home | None,
    marks: Marks,
    result: BatchResult,
) -> dict[bytes, list[tuple[Event, int]]]:
    """Return the good events by user, each with its offset; reject or forget the others."""
    by_user: dict[bytes, list[tuple[Event, int]]] = {}
    decode, keys_are_ids = decoder.decode_event, decoder.keys_are_ids
    for record in records:
        key = record.key
        try:
            event = decode(key, record.value, now_ms)
            if not keys_are_ids:
                check_home(record, home)
                key = event.user_id.encode()
        except RecordError as error:
            if marks and is_forgotten_reject(record, decoder, marks):
                result.counts.forgotten += 1
            else:
                result.rejects.append(Reject(record, error))
            continue
        if marks and event.ts <= marks.get(event.user_id.encode(), -1):
            result.counts.forgotten += 1
            continue
        if key in by_user:
            by_user[key].append((event, record.offset))
        else:
            by_user[key] = [(event, record.offset)]  # type: ignore[index]  # decode_event refuses an absent key
    return by_user


def is_forgotten_reject(record: ConsumedRecord, decoder: EventDecoder, marks: Marks) -> bool:
    """Return whether a record that breaks the contract is of a forgotten user's former life.

    Its key or the user that it names tells the user, and the record's timestamp the time: the time
    in it may be what is wrong.
    """
    if record.timestamp <= marks.get(record.key or b"", -1):
        return True
    return record.timestamp <= marks.get(_user_in(record.value or b"", decoder).encode(), -1)


def _user_in(value: bytes, decoder: EventDecoder) -> str:
    """Return the user that a value names, also where another field is wrong; empty for none."""
    try:
        return decoder.decode(value).user_id
    except RecordError:
        pass
    try:
        found = decode_any(value)
    except RecordError:
        return ""
    user_id = found.get("user_id") if isinstance(found, dict) else None
    return user_id if isinstance(user_id, str) and not any(map(_is_surrogate, user_id)) else ""


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _begin(mark: int | None) -> WindowState | None:
    return None if mark is None else new_life(mark)


def _unpack_and_fold(
    result: BatchResult,
    user_key: bytes,
    value: bytes | None,
    events: list[tuple[Event, int]],
    bounds: WindowBounds,
    records: Sequence[ConsumedRecord],
) -> None:
    try:
        state = _decoded(value)
    except RecordError as error:
        if error.reason == "version":
            # The window is left as it is; its events wait on events.rejected for the upgrade.
            offsets = {offset for _, offset in events}
            result.rejects += [Reject(record, error) for record in records if record.offset in offsets]
        else:
            result.damaged[user_key] = error.detail
        return
    _fold(result, user_key, state, events, bounds)


def _fold(
    result: BatchResult,
    user_key: bytes,
    state: WindowState | None,
    events: list[tuple[Event, int]],
    bounds: WindowBounds,
) -> None:
    outcome = absorb(state, events, bounds)
    # a mended window is always written
    changed = outcome.state or (state if user_key in result.anew else None)
    value = None if changed is None else encode(changed)
    result.take(user_key, outcome.accepted, outcome.duplicate, outcome.late, value)


def is_readable(value: bytes | None) -> bool:
    """Return whether these bytes are a window of this version."""
    try:
        return _decoded(value) is not None
    except RecordError:
        return False


def _decoded(value: bytes | None) -> WindowState | None:
    return None if value is None else decode_window(value)
