"""Events that the broker deleted before they were read: what is lost is said, counted, and committed with the offset.

The consumer's thread has no reset policy: a fetch at an offset that the broker has deleted tells exactly up to where records were
taken, and the log's first offset tells where they go on. What lies between is lost, less what transactions and compaction left out.
"""

from __future__ import annotations

import msgspec
from faust.types import TP

from streams.contract.committed_note import Gap, decode_judged, encode, with_gap


class DeletedEvents:
    """The gaps of one worker's partitions, and what is to be committed of them beside an offset."""

    def __init__(self) -> None:
        self._known: dict[TP, tuple[Gap, ...]] = {}  # as committed
        self._gaps: dict[TP, list[Gap]] = {}  # not committed yet
        self._notes: dict[TP, str] = {}

    def resume(self, tp: TP, note: str) -> None:
        """Go on with what is committed beside a partition's offset."""
        judged = decode_judged(note)
        self.forget(tp)
        self._notes[tp] = note
        if judged.gaps:
            self._known[tp] = judged.gaps

    def forget(self, tp: TP) -> None:
        """Drop a partition that was taken away: its next owner finds uncommitted gaps anew."""
        for held in (self._known, self._gaps, self._notes):
            held.pop(tp, None)

    def add(self, tp: TP, gap: Gap) -> None:
        """Take in a gap."""
        self._gaps.setdefault(tp, []).append(gap)

    def is_open(self, tp: TP) -> bool:
        """Whether a gap of the partition is not committed."""
        return tp in self._gaps

    def note(self, tp: TP, offset: int, note: str) -> str:
        """Return what is to be committed beside ``offset``: the note, with the gaps before that offset in it.

        A gap that lies behind the offset stays out: a worker that goes on from there finds it again, and would count it twice.
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
        """Return the offset where records go on behind all gaps, and what is to be committed beside it."""
        begin = max(gap.begin for gap in self._gaps[tp])
        return begin, self.note(tp, begin, self._notes.get(tp, ""))
