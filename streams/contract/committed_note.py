"""Notes that workers commit with offsets, as their metadata. Pure data.

A note outlives its worker, and ``headrace status`` reads it.

::

    group            partition of   note
    sequencer        events         Judged: rejects, and gaps in the partition
    ACKNOWLEDGED     events         Acknowledged: the last gap that an operator has seen
    recommender      sequences      CatalogueShare, of the worker that owns the partition

Nobody joins the group ``ACKNOWLEDGED``: an operator cannot change the metadata of an active group.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

#: How long ``headrace status`` and ``/health`` are unhealthy after events were lost. An
#: acknowledgement ends it earlier.
UNHEALTHY_MS: Final = 24 * 3_600_000
#: How long a partition is unhealthy after its last alarm about rejects.
REJECTS_UNHEALTHY_S: Final = 300.0
#: The group of acknowledgements, as ``KafkaSettings.group`` takes it.
ACKNOWLEDGED: Final = "sequencer.acknowledged"
#: Most gaps of a partition in its note; the oldest ones are joined. Brokers take 4,096 bytes of
#: metadata.
MAX_GAPS: Final = 16


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Offsets that the broker deleted unread: from ``first`` to before ``begin``.

    ``n_read`` of them were read: those between the parts of a joined gap.
    """

    first: int
    begin: int
    seen_ms: int
    n_read: int = 0

    @property
    def n_lost(self) -> int:
        """Most events that are lost: markers and aborted records take offsets too."""
        return self.begin - self.first - self.n_read

    def describe(self, topic: str, partition: int) -> str:
        """Return which events are gone."""
        return (
            f"{topic}-{partition}: offsets {self.first} to {self.begin - 1} were deleted before they were read: at most "
            f"{self.n_lost} events are lost"
        )


class Judged(msgspec.Struct, omit_defaults=True):
    """The counts of the reject ceiling, the partition's last alarm, and its gaps."""

    read: int = 0
    rejected: int = 0
    alarm_ms: int = 0
    gaps: tuple[Gap, ...] = ()  # oldest first: streams/health/deleted_events.py

    def alarms_at(self, now_ms: int) -> bool:
        """Whether an alarm about rejects makes the partition unhealthy at a time."""
        return now_ms - self.alarm_ms < REJECTS_UNHEALTHY_S * 1000


class Acknowledged(msgspec.Struct, frozen=True):
    """The last gap that an operator has seen: its ``begin``, and when a worker found it."""

    begin: int = -1
    seen_ms: int = -1

    def covers(self, gap: Gap) -> bool:
        """Whether the operator has seen a gap.

        Offset and time must both say so: clocks of workers differ, and new topics begin at offset
        0.
        """
        return gap.begin <= self.begin and gap.seen_ms <= self.seen_ms


class CatalogueShare(msgspec.Struct, frozen=True):
    """How many of a recommender's last events are of items that the catalogue lacks.

    See streams/health/unknown_items.py.

    Parameters
    ----------
    worker : member id of the recommender, which counts all its partitions together
    example : an unknown item's id, shortened; empty where there is none
    seen_ms : when the worker counted the last event
    """

    worker: str = ""
    n_events: int = 0
    n_unknown: int = 0
    example: str = ""
    seen_ms: int = 0


def decode_judged(note: str) -> Judged:
    """Return the note of a sequencer's offset; an empty one for other metadata."""
    return _decode(note, Judged) or Judged()


def decode_acknowledged(note: str) -> Acknowledged:
    """Return the note of an acknowledgement; an empty one for other metadata."""
    return _decode(note, Acknowledged) or Acknowledged()


def decode_share(note: str) -> CatalogueShare:
    """Return the note of a recommender's offset; an empty one for other metadata."""
    return _decode(note, CatalogueShare) or CatalogueShare()


def encode(note: Judged | Acknowledged | CatalogueShare) -> str:
    """Return the metadata."""
    return msgspec.json.encode(note).decode()


def unseen(gaps: Iterable[Gap], acknowledged: Acknowledged, now_ms: int) -> tuple[Gap, ...]:
    """Return the gaps that make the partition unhealthy: found within a day, not acknowledged."""
    return tuple(gap for gap in gaps if now_ms - gap.seen_ms < UNHEALTHY_MS and not acknowledged.covers(gap))


def with_gap(gaps: tuple[Gap, ...], gap: Gap) -> tuple[Gap, ...]:
    """Return the gaps with one more: at most :data:`MAX_GAPS`, none older than a day."""
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
