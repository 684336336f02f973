"""Events that the broker deleted before they were read: the loss is committed beside the offset.

The consumer's thread has no reset policy. A fetch at a deleted offset therefore fails with exactly
the offset up to which records were read, and the log's first offset is where they go on. All events
in between are lost; markers of transactions take some of the offsets.
"""

from __future__ import annotations

import msgspec
from faust.types import TP

from streams.contract.committed_note import Gap, decode_judged, encode, with_gap


class DeletedEvents:
    """The gaps in one worker's partitions, and the notes to commit about them."""

    def __init__(self) -> None:
        self._known: dict[TP, tuple[Gap, ...]] = {}  # as committed
        self._gaps: dict[TP, list[Gap]] = {}  # not committed yet
        self._notes: dict[TP, str] = {}

    def resume(self, tp: TP, note: str) -> None:
        """Go on with the note that is committed beside a partition's offset."""
        judged = decode_judged(note)
        self.forget(tp)
        self._notes[tp] = note
        if judged.gaps:
            self._known[tp] = judged.gaps

    def forget(self, tp: TP) -> None:
        """Drop a partition that was taken away: its next owner finds uncommitted gaps again."""
        for held in (self._known, self._gaps, self._notes):
            held.pop(tp, None)

    def add(self, tp: TP, gap: Gap) -> None:
        """Add a gap."""
        self._gaps.setdefault(tp, []).append(gap)

    def is_open(self, tp: TP) -> bool:
        """Whether a gap of the partition is not committed."""
        return tp in self._gaps

    def note(self, tp: TP, offset: int, note: str) -> str:
        """Return the note to commit beside ``offset``, with the gaps before that offset in it.

        A gap behind the offset stays out: a worker that goes on from the offset finds the gap
        again, and would count it twice.
        """
        self._notes[tp] = note
        passed = [gap for gap in self._gaps.get(tp, ()) if gap.begin <= offset]
        for gap in passed:
            self._known[tp] = with_gap(self._known.get(tp, ()), gap)
        if passed:
            self._gaps[tp] = [gap for gap in self._gaps[tp] if gap.begin > offset]
            if not self._gaps[tp]:
                del self._gaps[tp]
        if tp not in self._known:
            return note
        return encode(msgspec.structs.replace(decode_judged(note), gaps=self._known[tp]))

    def close(self, tp: TP) -> tuple[int, str]:
        """Return the offset behind all gaps, and the note to commit beside it."""
        begin = max(gap.begin for gap in self._gaps[tp])
        return begin, self.note(tp, begin, self._notes.get(tp, ""))
