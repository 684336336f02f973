"""The offset that a worker may commit of each partition, and the note that is committed beside it.

::

    a batch arrives  ──► accept: no batch before it is missing
    a batch is done  ──► deliver: the offset behind it may be committed
    events are gone  ──► add_gap: the offset behind the gap, once all records before it are done
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from faust.types import TP

from streams.contract.committed_note import Gap
from streams.errors import StalledError
from streams.health.deleted_events import DeletedEvents
from streams.runtime.batch_scheduler import FetchedRecords


class NotedOffset(int):
    """An offset to commit, and the note that is committed beside it as metadata."""

    note: str = ""


class OffsetsToCommit:
    """The offsets of the partitions that this worker has. For one event loop.

    Parameters
    ----------
    fetched : returns the offset of the last record fetched of a partition; -1 if there is none
    """

    def __init__(self, fetched: Callable[[TP], int]) -> None:
        self._fetched = fetched
        self._accepted: dict[TP, int] = {}  # the last record that the agent took
        self._delivered: dict[TP, NotedOffset] = {}
        self._deleted = DeletedEvents()

    def get(self, tp: TP) -> NotedOffset | None:
        """Return the offset to commit; None before the first delivery."""
        return self._delivered.get(tp)

    def partitions(self) -> list[TP]:
        """Return the partitions that have an offset to commit."""
        return list(self._delivered)

    def accept(self, tp: TP, batch: FetchedRecords) -> None:
        """Note that the agent takes a batch; raise :class:`StalledError` if one before it never
        came.
        """
        first, last = batch[0].offset, self._accepted.get(tp, -1)
        if batch.follows > last and first > last + 1:
            raise StalledError(
                f"{tp.topic}-{tp.partition}: records {last + 1} to {first - 1} went missing before the agent; "
                "nothing after them is committed: restart the worker, it reads them again"
            )
        self._accepted[tp] = max(last, batch[-1].offset)

    def deliver(self, tp: TP, offset: int, note: str) -> None:
        """Note that all records before ``offset`` are done."""
        self._put(tp, offset, self._deleted.note(tp, offset, note))
        self._pass_gaps(tp)

    def add_gap(self, tp: TP, gap: Gap) -> None:
        """Note that the broker deleted events before they were read."""
        self._deleted.add(tp, gap)
        self._pass_gaps(tp)

    def note_again(self, topic: str, note: str) -> list[TP]:
        """Put another note beside the offsets of a topic that were delivered; return their
        partitions.
        """
        found = [tp for tp in self._delivered if tp.topic == topic]
        for tp in found:
            self._put(tp, self._delivered[tp], note)
        return found

    def resume(self, tp: TP, note: str) -> None:
        """Go on with the note that is committed beside a partition's offset."""
        self._deleted.resume(tp, note)

    def forget(self, partitions: Iterable[TP]) -> None:
        """Drop partitions that were taken away, or that are read anew."""
        for tp in partitions:
            self._accepted.pop(tp, None)
            self._delivered.pop(tp, None)
            self._deleted.forget(tp)

    def _pass_gaps(self, tp: TP) -> None:
        """Pass the gaps once all records fetched before them are delivered.

        This cannot wait for the next record: perhaps none follows.
        """
        if not self._deleted.is_open(tp):
            return
        fetched = self._fetched(tp)
        if fetched == -1 or self._delivered.get(tp) == fetched + 1:
            self._put(tp, *self._deleted.close(tp))

    def _put(self, tp: TP, offset: int, note: str) -> None:
        self._delivered[tp] = noted = NotedOffset(offset)
        noted.note = note


def note_of(offset: int) -> str:
    """Return the note that is to be committed beside an offset."""
    return offset.note if isinstance(offset, NotedOffset) else ""
