"""The verdict of a drill: compares what the topics hold with what the events must lead to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET

from models.artifact.artifact import load_artifact
from models.rules.row_rules import Rules
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.marks import UNKNOWN_OFFSET, Marks
from streams.contract.records import REASONS, Item, Recommendation
from streams.contract.reject_size import kept
from streams.contract.windows import WindowState, decode_window
from streams.errors import RecordError
from streams.forgetting.read_marks import read_marks
from streams.kafka.topic_reader import newest_values, read_records
from streams.settings.load import KafkaSettings, Settings
from tools.oracle.compare import compare_lists, compare_windows
from tools.oracle.expected import ListOracle, Truth, WindowOracle

EXAMPLES: Final = 5
#: Fields of a verdict that must be 0.
MUST_BE_ZERO: Final = (
    "lost", "wrong_windows", "stale_windows", "wrong_lists", "rejected_missing", "rejected_extra", "rejected_wrong", "n_unread",
)  # fmt: skip


@dataclass
class Verdict:
    """What was found. The fields of :data:`MUST_BE_ZERO` must be 0.

    Parameters
    ----------
    events : records on ``events``
    lost : accepted events whose effect is missing from their user's window
    wrong_windows, wrong_lists : users whose last window or list is wrong or missing
    stale_windows : windows that were written after one of the same or a later revision, as a zombie
        would write them; the observer counts them
    rejected_missing, rejected_extra : malformed events that are not on ``events.rejected``, and
        good events that are
    rejected_wrong : records there without a reason of the contract, and records with another key or
        value than their event
    rejected_repeats : further records there of the same event, as a restart may cause
    n_unread : events that the oracle did not see although their offsets exist
    """

    events: int = 0
    accepted: int = 0
    duplicate: int = 0
    late: int = 0
    rejected: int = 0
    forgotten: int = 0
    users: int = 0
    lost: int = 0
    wrong_windows: int = 0
    stale_windows: int = 0
    wrong_lists: int = 0
    rejected_missing: int = 0
    rejected_extra: int = 0
    rejected_wrong: int = 0
    rejected_repeats: int = 0
    n_unread: int = 0
    examples: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """Return the fields that must be 0 and are not, one line each."""
        found = self.as_dict()
        return [f"{name} {found[name]}" for name in MUST_BE_ZERO if found[name]]

    def as_dict(self) -> dict[str, Any]:
        """Return all fields."""
        return asdict(self)


async def judge(
    settings: Settings,
    items: Iterable[Item],
    lists: Mapping[bytes, Recommendation],
    *,
    n_hidden: int = 0,
    before: Sequence[ConsumedRecord] = (),
    rules: Mapping[str, Rules] | None = None,
    artifacts: Sequence[Path] = (),
) -> Verdict:
    """Read the topics and compare them with the oracle; leave ``stale_windows`` to the observer.

    Parameters
    ----------
    items : the catalogue at the end of the drill
    lists : the last accepted list of each user, by user key
    n_hidden : offsets of ``events`` that the oracle cannot see: of aborted records, transaction
        markers, deleted events
    before : records of ``events`` that the topic no longer has, in the order of each partition
    rules : by version; each list is compared with what it must be under the rules that it names
    artifacts : folders of the artifacts that a list may name; empty for that of the settings alone
    """
    kafka = settings.kafka
    rejects = await _reject_log(kafka)
    marks = await read_marks(kafka)
    truth, verdict = await _truth(settings, rejects, before, marks)
    verdict.n_unread -= n_hidden
    rejects.judge(truth.rejected, verdict, truth.maybe_rejected)
    windows = await newest_values(kafka, "sequences")
    differences = compare_windows(windows, truth.windows)
    if marks:
        differences = [d for d in differences if d.user_id.encode() not in marks]
        ours, theirs = ({key: side[key] for key in marks.keys() & side.keys()} for side in (windows, truth.windows))
        differences += compare_windows(ours, theirs, with_offsets=False)
        lists = with_offsets_of_new_lives(lists, truth.windows)
    verdict.wrong_windows = len(differences)
    verdict.examples = [f"window of {d.user_id}: {d.what}: {d.why}" for d in differences[:EXAMPLES]]
    wrong = {d.user_id.encode() for d in differences}
    verdict.lost = sum(n_lost(windows.get(key), truth.windows[key]) for key in wrong & truth.windows.keys())
    expected = await asyncio.to_thread(_expected_lists, settings, list(items), truth, lists, rules or {}, artifacts)
    list_differences = compare_lists(lists, expected)
    verdict.wrong_lists = len(list_differences)
    verdict.examples += [f"list of {d.user_id}: {d.what}: {d.why}" for d in list_differences[:EXAMPLES]]
    return verdict


def _expected_lists(
    settings: Settings,
    items: Sequence[Item],
    truth: Truth,
    lists: Mapping[bytes, Recommendation],
    rules: Mapping[str, Rules],
    artifacts: Sequence[Path],
) -> dict[bytes, Recommendation]:
    """Return the list of each window by the artifact and under the rules that the list names.

    Where the list names no artifact of these, it is the first.
    """
    folders = {load_artifact(folder).version: folder for folder in reversed(artifacts)}
    first = artifacts[0] if artifacts else Path(settings.recommender.artifact)
    windows: dict[tuple[str, Path], dict[bytes, bytes]] = {}
    for key, window in truth.windows.items():
        made = lists.get(key)
        version = "" if made is None or made.rules is UNSET else str(made.rules)
        folder = first if made is None else folders.get(made.artifact, first)
        windows.setdefault((version, folder), {})[key] = window
    expected: dict[bytes, Recommendation] = {}
    for (version, folder), of_both in windows.items():
        oracle = ListOracle(folder, items, settings.recommender, rules=rules.get(version))
        expected |= oracle.lists(of_both)
    return expected


def with_offsets_of_new_lives(
    lists: Mapping[bytes, Recommendation], windows: Mapping[bytes, bytes]
) -> dict[bytes, Recommendation]:
    """Return lists, with the right offset where a worker could not know that of the trigger.

    Where a sequencer had read events after a user's request before the request, their window has no
    offset until the next event comes.
    """
    return {
        key: msgspec.structs.replace(made, offset=decode_window(windows[key]).trigger.offset)
        if made.offset == UNKNOWN_OFFSET and key in windows
        else made
        for key, made in lists.items()
    }


async def _truth(
    settings: Settings, rejects: RejectLog, before: Sequence[ConsumedRecord], marks: Marks
) -> tuple[Truth, Verdict]:
    oracle = WindowOracle.of(settings, marks=marks)
    next_offsets: Counter[int] = Counter()

    def add(record: ConsumedRecord) -> None:
        oracle.add(record)
        rejects.check(record)
        next_offsets[record.partition] = record.offset + 1

    for record in before:
        add(record)
    async for record in read_records(settings.kafka, settings.kafka.topic("events")):
        add(record)
    truth = oracle.truth()
    verdict = Verdict(users=len(truth.windows))
    for counts in truth.counts.values():
        verdict.events += counts.read
        verdict.accepted += counts.accepted
        verdict.duplicate += counts.duplicate
        verdict.late += counts.late
        verdict.rejected += counts.rejected
        verdict.forgotten += counts.forgotten
    verdict.n_unread = sum(next_offsets.values()) - verdict.events
    return truth, verdict


class RejectLog:
    """What the records of ``events.rejected`` hold, by the event that they name.

    Attributes
    ----------
    n_records : all records, repeats included
    n_wrong : records without a reason of the contract, and records with another key or value than
        their event
    """

    def __init__(self) -> None:
        self.n_records = self.n_wrong = 0
        self._contents: dict[tuple[int, int], set[int]] = {}

    def add(self, record: ConsumedRecord) -> None:
        """Take in a record of ``events.rejected``."""
        self.n_records += 1
        self.n_wrong += dict(record.headers).get("reason", b"").decode("utf-8", "replace") not in REASONS
        self._contents.setdefault(coordinates(record), set()).add(hash((record.key, record.value)))

    def check(self, event: ConsumedRecord) -> None:
        """Compare a record of ``events`` with its rejects, after all calls of :meth:`add`."""
        contents = self._contents.get((event.partition, event.offset))
        if contents is not None:
            key, value, _ = kept(event.key, event.value)
            self.n_wrong += contents != {hash((key, value))}

    def judge(
        self, rejected: Set[tuple[int, int]], verdict: Verdict, maybe: Set[tuple[int, int]] = frozenset()
    ) -> None:
        """Put the differences from the events that must be rejected into the verdict.

        Parameters
        ----------
        maybe : events that may be rejected
        """
        found = self._contents.keys()
        verdict.rejected_missing = len(rejected - found)
        verdict.rejected_extra = len(found - rejected - maybe)
        verdict.rejected_repeats = self.n_records - len(found)
        verdict.rejected_wrong = self.n_wrong


async def _reject_log(kafka: KafkaSettings) -> RejectLog:
    log = RejectLog()
    async for record in read_records(kafka, kafka.topic("events.rejected")):
        log.add(record)
    return log


def coordinates(record: ConsumedRecord) -> tuple[int, int]:
    """Return partition and offset of a rejected event; (-1, -1) where the record has none."""
    headers = dict(record.headers)
    try:
        return int(headers["partition"]), int(headers["offset"])
    except (KeyError, ValueError):
        return -1, -1


def n_lost(found: bytes | None, expected: bytes) -> int:
    """Return how many accepted events a window lacks, by its revision or by its events."""
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
