"""What a drill's observer keeps: users' newest lists, stale windows, and pauses of partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from streams.contract.newest_lists import LatestLists, Rank, rank_of
from streams.contract.records import Recommendation, RecordDecoder
from streams.errors import RecordError

#: The ledger keeps a hash of this many bits instead of a list's id, to save memory.
_HASH_MASK: Final = (1 << 62) - 1
Lane = tuple[str, int]


@dataclass(slots=True)
class Newest:
    """A user's last accepted list, encoded."""

    rank: Rank
    offset: int
    id_hash: int
    is_degraded: bool
    value: bytes

    def is_news_after(self, last: Newest) -> bool:
        """Whether this list may follow ``last``.

        It may with a higher rank and another id; a list of a later window must also belong to a
        later event.
        """
        is_same_window = self.rank[0] == last.rank[0]
        return self.rank > last.rank and self.id_hash != last.id_hash and (is_same_window or self.offset > last.offset)


class ListLedger:
    """Applies the contract's recipe for consumers to lists as they come, and judges the recipe.

    Attributes
    ----------
    n_lists : lists that were read
    n_repeated : lists that the recipe dropped because they were no news
    n_duplicate : lists that the recipe accepted although they were no news
    n_degraded : accepted lists that are marked degraded
    n_malformed : records that are no lists
    """

    def __init__(self) -> None:
        self.n_lists = self.n_repeated = self.n_duplicate = self.n_degraded = self.n_malformed = 0
        self._recipe = LatestLists()
        self._newest: dict[str, Newest] = {}
        self._decoder = RecordDecoder(Recommendation)

    def add(self, value: bytes | None, key: bytes | None = None) -> Recommendation | None:
        """Take in a record of ``recommendations``; return the list when it is news.

        A record without value takes the list of its key away.
        """
        if value is None and key is not None:
            user = key.decode("utf-8", "replace")
            self._recipe.forget(user)
            self._newest.pop(user, None)
            return None
        try:
            made = self._decoder.decode(value)
        except RecordError:
            self.n_malformed += 1
            return None
        self.n_lists += 1
        if not self._recipe.accept(made):
            self.n_repeated += 1
            return None
        rank, id_hash = rank_of(made), hash(made.list_id) & _HASH_MASK
        newest = Newest(rank, made.offset, id_hash, made.degraded != "none", value or b"")
        last = self._newest.get(made.user_id)
        self.n_duplicate += last is not None and not newest.is_news_after(last)
        self.n_degraded += newest.is_degraded
        self._newest[made.user_id] = newest
        return made

    def __len__(self) -> int:
        return len(self._newest)

    def degraded_users(self) -> list[str]:
        """Return the users whose last accepted list is marked degraded."""
        return [user for user, kept in self._newest.items() if kept.is_degraded]

    def newest(self) -> dict[bytes, Recommendation]:
        """Return the last accepted list of each user, by user key."""
        return {user.encode(): self._decoder.decode(kept.value) for user, kept in self._newest.items()}


class WindowLog:
    """Counts the windows that came after a newer window of their user.

    The next window of the user often hides such a stale window. But a worker that recovers in
    between would continue from the stale one.

    Attributes
    ----------
    n_stale : windows whose revision was not above that of the window before; equal bytes do not
        count
    foreign : values that the drill itself writes in the name of another program; they do not count
        here, because the verdict judges what the topic holds in the end
    """

    def __init__(self) -> None:
        self.n_stale = 0
        self.foreign: set[bytes] = set()
        self._last: dict[bytes, tuple[int, int]] = {}  # revision and hash

    def add(self, key: bytes, value: bytes | None) -> None:
        """Take in the next record of the key; a record without a value removes the window."""
        if value is None:
            self._last.pop(key, None)
            return
        if value in self.foreign:
            return
        last_revision, last_hash = self._last.get(key, (0, 0))
        revision, value_hash = revision_in(value), hash(value)
        if revision <= last_revision and value_hash != last_hash:
            self.n_stale += 1
        self._last[key] = revision, value_hash


class _Revision(msgspec.Struct):
    """The only field of a window that matters here."""

    revision: int


_revision_decoder = msgspec.msgpack.Decoder(_Revision)


def revision_in(value: bytes) -> int:
    """Return the revision of an encoded window; 0, which is below any revision, for other bytes."""
    try:
        return _revision_decoder.decode(value).revision
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0


class Gaps:
    """The longest pause between arrivals of each lane (topic and partition) since a mark.

    Parameters
    ----------
    lanes : the lanes that must flow
    now : seconds of a monotonic clock, as in all methods
    """

    def __init__(self, lanes: list[Lane], now: float) -> None:
        self._last = dict.fromkeys(lanes, now)
        self._longest = dict.fromkeys(lanes, 0.0)
        self._arrived: set[Lane] = set()

    def arrive(self, lane: Lane, now: float) -> None:
        """Note that records of a lane arrived."""
        self._longest[lane] = max(self._longest[lane], now - self._last[lane])
        self._last[lane] = now
        self._arrived.add(lane)

    def mark(self, now: float) -> None:
        """Forget all pauses before ``now``."""
        for lane in self._last:
            self._last[lane] = now
            self._longest[lane] = 0.0
        self._arrived.clear()

    def restart_arrivals(self) -> None:
        """Forget which lanes had arrivals; pauses go on."""
        self._arrived.clear()

    def all_flow(self) -> bool:
        """Whether every lane had an arrival since the last mark or :meth:`restart_arrivals`."""
        return len(self._arrived) == len(self._last)

    def longest_s(self, now: float) -> float:
        """Return the longest pause of any lane since the mark; a pause that still lasts counts."""
        return max(max(self._longest[lane], now - self._last[lane]) for lane in self._last)
