"""What is committed beside offsets, as their metadata: it outlives the worker, and ``headrace status`` reads it. Pure data.

::

    group of the sequencer                    each partition of events: Judged, with the gaps in it
    group ACKNOWLEDGED, which nobody joins    each partition of events: Acknowledged, up to which gap an operator has seen it
    group of the recommender                  each partition of sequences: CatalogueShare, of the worker that has it

An operator cannot change the metadata of an active group. So what an operator has seen stands in a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

#: ``headrace status`` and ``/health`` are unhealthy for so long after events were lost, or until they are acknowledged.
UNHEALTHY_MS: Final = 24 * 3_600_000
#: A partition counts as unhealthy for so long after the last alarm about rejects.
REJECTS_UNHEALTHY_S: Final = 300.0
#: The group of acknowledgements, as ``KafkaSettings.group`` takes it.
ACKNOWLEDGED: Final = "sequencer.acknowledged"
#: So many gaps of a partition are kept apart; the oldest beyond are told as one. Brokers take 4,096 bytes of metadata.
MAX_GAPS: Final = 16


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Offsets that were due and are gone: the first, and the one where records go on; ``n_read`` between them were read."""

    first: int
    begin: int
    seen_ms: int
    n_read: int = 0

    @property
    def n_lost(self) -> int:
        """How many events are lost at most: markers and aborted records take offsets too."""
        return self.begin - self.first - self.n_read

    def describe(self, topic: str, partition: int) -> str:
        """Return which events are gone."""
        return (
            f"{topic}-{partition}: offsets {self.first} to {self.begin - 1} were deleted before they were read: at most "
            f"{self.n_lost} events are lost"
        )


class Judged(msgspec.Struct, omit_defaults=True):
    """The counts that the reject ceiling remembers, the last alarm of the partition, and what it lost."""

    read: int = 0
    rejected: int = 0
    alarm_ms: int = 0
    gaps: tuple[Gap, ...] = ()  # events that the broker deleted unread, oldest first: streams/health/deleted_events.py

    def alarms_at(self, now_ms: int) -> bool:
        """Whether the partition counts as unhealthy at a time."""
        return now_ms - self.alarm_ms < REJECTS_UNHEALTHY_S * 1000


class Acknowledged(msgspec.Struct, frozen=True):
    """The last gap of a partition that an operator has seen: where records went on, and when it was found."""

    begin: int = -1
    seen_ms: int = -1

    def covers(self, gap: Gap) -> bool:
        """Whether a gap had been found then. Both must say so: clocks of workers differ, and a topic made anew begins at 0."""
        return gap.begin <= self.begin and gap.seen_ms <= self.seen_ms


class CatalogueShare(msgspec.Struct, frozen=True):
    """Of the last events that a recommender counted, those of items outside the catalogue: streams/health/unknown_items.py.

    Parameters
    ----------
    worker : its member id; it counts all its partitions together
    example : an unknown item's id, shortened; empty where there is none
    seen_ms : when the last event was counted
    """

    worker: str = ""
    n_events: int = 0
    n_unknown: int = 0
    example: str = ""
    seen_ms: int = 0


def decode_judged(note: str) -> Judged:
    """Return what the metadata of the sequencer's offset says; nothing where something else stands there."""
    return _decode(note, Judged) or Judged()


def decode_acknowledged(note: str) -> Acknowledged:
    """Return what the metadata of an acknowledgement says; nothing acknowledged where something else stands there."""
    return _decode(note, Acknowledged) or Acknowledged()


def decode_share(note: str) -> CatalogueShare:
    """Return what the metadata of a recommender's offset says; no events where something else stands there."""
    return _decode(note, CatalogueShare) or CatalogueShare()


def encode(note: Judged | Acknowledged | CatalogueShare) -> str:
    """Return the metadata."""
    return msgspec.json.encode(note).decode()


def unseen(gaps: Iterable[Gap], acknowledged: Acknowledged, now_ms: int) -> tuple[Gap, ...]:
    """Return the gaps that still make the partition unhealthy: found less than a day ago, and not acknowledged."""
    return tuple(gap for gap in gaps if now_ms - gap.seen_ms < UNHEALTHY_MS and not acknowledged.covers(gap))


def with_gap(gaps: tuple[Gap, ...], gap: Gap) -> tuple[Gap, ...]:
    """Return what is kept after another gap: those of the day before it, at most :data:`MAX_GAPS`."""
    kept = [old for old in gaps if gap.seen_ms - old.seen_ms < UNHEALTHY_MS]
    kept.append(gap)
    while len(kept) > MAX_GAPS:
        first, second = kept[:2]
        n_lost = first.n_lost + second.n_lost
        begin = max(first.begin, second.begin)
        start = min(first.first, second.first)
        kept[:2] = [Gap(start, begin, max(first.seen_ms, second.seen_ms), begin - start - n_lost)]
    return tuple(kept)


_Note = TypeVar("_Note", Judged, Acknowledged, CatalogueShare)


def _decode(note: str, kind: type[_Note]) -> _Note | None:
    try:
        return msgspec.json.decode(note.encode(), type=kind)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
