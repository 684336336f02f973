"""The verdict of a drill: what the topics hold, against what the events must lead to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.batches import ConsumedRecord
from streams.errors import RecordError
from streams.records import Item, Recommendation, WindowState, decode_window
from streams.settings import KafkaSettings, Settings
from tools.compare import compare_lists, compare_windows
from tools.oracle import ListOracle, Truth, WindowOracle
from tools.topic_reader import read_records

EXAMPLES: Final = 5


@dataclass
class Verdict:
    """What was found. All that :meth:`problems` names must be zero.

    Parameters
    ----------
    events : records on ``events``
    lost : accepted events whose effect is missing from their user's window
    wrong_windows, wrong_lists : users whose last window or list is not as it must be; missing ones included
    stale_windows : windows that were written after one of the same or a later revision, as a zombie would
    rejected_missing, rejected_extra : malformed events that are not on ``events.rejected``, and others that are
    rejected_repeats : records there of events that are there already, as a restart may cause
    n_unread : events that the oracle did not see although their offsets exist
    """

    events: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    users: int = 0
    lost: int = 0
    wrong_windows: int = 0
    stale_windows: int = 0
    wrong_lists: int = 0
    rejected_missing: int = 0
    rejected_extra: int = 0
    rejected_repeats: int = 0
    n_unread: int = 0
    examples: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return what is not zero and must be."""
        names = (
            "lost",
            "wrong_windows",
            "stale_windows",
            "wrong_lists",
            "rejected_missing",
            "rejected_extra",
            "n_unread",
        )
        return [f"{name} {getattr(self, name)}" for name in names if getattr(self, name)]

    def as_dict(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


async def judge(
    settings: Settings, items: Iterable[Item], lists: Mapping[bytes, Recommendation], *, with_lists: bool = True
) -> Verdict:
    """Read the topics back and compare them with the oracle.

    Parameters
    ----------
    items : the catalogue as it is at last
    lists : the last accepted list of each user, by user key
    with_lists : False leaves the lists out, for a drill that leaves them behind on purpose
    """
    kafka = settings.kafka
    truth, verdict = await _truth(settings)
    log = await _window_log(kafka)
    windows, verdict.stale_windows = log.newest, log.n_stale
    differences = compare_windows(windows, truth.windows)
    verdict.wrong_windows = len(differences)
    verdict.examples = [f"window of {d.user_id}: {d.what}: {d.why}" for d in differences[:EXAMPLES]]
    wrong = {d.user_id.encode() for d in differences}
    verdict.lost = sum(n_lost(windows.get(key), truth.windows[key]) for key in wrong & truth.windows.keys())
    await _judge_rejects(kafka, truth, verdict)
    if with_lists:
        expected = await asyncio.to_thread(_expected_lists, settings, items, truth)
        list_differences = compare_lists(lists, expected)
        verdict.wrong_lists = len(list_differences)
        verdict.examples += [f"list of {d.user_id}: {d.what}: {d.why}" for d in list_differences[:EXAMPLES]]
    return verdict


def _expected_lists(settings: Settings, items: Iterable[Item], truth: Truth) -> dict[bytes, Recommendation]:
    oracle = ListOracle(Path(settings.recommender.artifact), items, settings.recommender)
    return oracle.lists(truth.windows)


async def _truth(settings: Settings) -> tuple[Truth, Verdict]:
    group = settings.sequencer
    oracle = WindowOracle(group.bounds(), max_future_skew_ms=group.max_future_skew_ms)
    next_offsets: Counter[int] = Counter()
    async for record in read_records(settings.kafka, settings.kafka.topic("events")):
        oracle.add(record)
        next_offsets[record.partition] = record.offset + 1
    truth = oracle.truth()
    verdict = Verdict(users=len(truth.windows))
    for counts in truth.counts.values():
        verdict.events += counts.read
        verdict.accepted += counts.accepted
        verdict.duplicate += counts.duplicate
        verdict.late += counts.late
        verdict.rejected += counts.rejected
    verdict.n_unread = sum(next_offsets.values()) - verdict.events
    return truth, verdict


class WindowLog:
    """What ``sequences`` holds, record by record: the last window of each user, and windows that came after a newer one.

    Such a stale window is often hidden by the next one of its user; a worker that recovers in between would go on from it.

    Attributes
    ----------
    newest : user key to encoded window; a record without value removes one, as compaction would
    n_stale : windows whose revision was not above that of the one before, repeats byte for byte left out
    """

    def __init__(self) -> None:
        self.newest: dict[bytes, bytes] = {}
        self.n_stale = 0
        self._revisions: dict[bytes, int] = {}

    def add(self, key: bytes, value: bytes | None) -> None:
        """Take in the next record of the key's partition."""
        if value is None:
            self.newest.pop(key, None)
            self._revisions.pop(key, None)
            return
        revision = revision_in(value)
        if revision <= self._revisions.get(key, 0) and value != self.newest.get(key):
            self.n_stale += 1
        self.newest[key], self._revisions[key] = value, revision


class _Revision(msgspec.Struct):
    """The one field of a window that matters here."""

    revision: int


_revision_decoder = msgspec.msgpack.Decoder(_Revision)


def revision_in(value: bytes) -> int:
    """Return the revision of an encoded window; 0 where it is none, which is below any."""
    try:
        return _revision_decoder.decode(value).revision
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


async def _window_log(kafka: KafkaSettings) -> WindowLog:
    log = WindowLog()
    async for record in read_records(kafka, kafka.topic("sequences")):
        if record.key is not None:
            log.add(record.key, record.value)
    return log


async def _judge_rejects(kafka: KafkaSettings, truth: Truth, verdict: Verdict) -> None:
    found = Counter([coordinates(r) async for r in read_records(kafka, kafka.topic("events.rejected"))])
    verdict.rejected_missing = len(truth.rejected - found.keys())
    verdict.rejected_extra = len(found.keys() - truth.rejected)
    verdict.rejected_repeats = found.total() - len(found)


def coordinates(record: ConsumedRecord) -> tuple[int, int]:
    """Return partition and offset of the event that a record of ``events.rejected`` holds; (-1, -1) where it does not say."""
    headers = dict(record.headers)
    try:
        return int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError):
        return -1, -1


def n_lost(found: bytes | None, expected: bytes) -> int:
    """Return how many accepted events a window lacks: by its revision, or by the events that it remembers, whichever is more."""
    right = decode_window(expected)
    try:
        state = decode_window(found) if found else None
    except RecordError:
        state = None
    if state is None:
        return right.revision
    return max(right.revision - state.revision, len(_event_ids(right) - _event_ids(state)), 0)


def _event_ids(state: WindowState) -> set[str]:
    return {item.event_id for item in state.items} | {event_id for _, event_id in state.recent}
