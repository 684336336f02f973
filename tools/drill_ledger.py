"""What a drill's observer keeps: the newest list of each user under the consumer's recipe, and the pauses of each partition. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streams.errors import RecordError
from streams.latest import LatestLists
from streams.records import Recommendation, RecordDecoder

#: Ids kept of a user's accepted lists are hashes of this many bits, for memory's sake.
_HASH_MASK: Final = (1 << 62) - 1
Lane = tuple[str, int]


@dataclass(slots=True)
class Newest:
    """A user's last accepted list, encoded."""

    rank: tuple[int, bool]
    id_hash: int
    value: bytes


class ListLedger:
    """Applies the consumer's recipe to lists as they come, and judges the recipe.

    Attributes
    ----------
    n_lists : all that were read
    n_repeated : those that the recipe dropped as no news
    n_duplicate : those that the recipe accepted although they were no news
    n_degraded : those accepted that are marked degraded
    n_malformed : records that are no lists
    """

    def __init__(self) -> None:
        self.n_lists = self.n_repeated = self.n_duplicate = self.n_degraded = self.n_malformed = 0
        self._recipe = LatestLists()
        self._newest: dict[str, Newest] = {}
        self._decoder = RecordDecoder(Recommendation)

    def add(self, value: bytes | None) -> Recommendation | None:
        """Take in a record of ``recommendations``; return the list when it is news."""
        try:
            made = self._decoder.decode(value)
        except RecordError:
            self.n_malformed += 1
            return None
        self.n_lists += 1
        if not self._recipe.accept(made):
            self.n_repeated += 1
            return None
        rank, id_hash = (made.revision, not made.provisional), hash(made.list_id) & _HASH_MASK
        last = self._newest.get(made.user_id)
        if last is not None and (rank <= last.rank or id_hash == last.id_hash):
            self.n_duplicate += 1
        self.n_degraded += made.degraded != "none"
        self._newest[made.user_id] = Newest(rank, id_hash, value or b"")
        return made

    def __len__(self) -> int:
        return len(self._newest)

    def degraded_users(self) -> list[str]:
        """Return the users whose last accepted list is marked degraded."""
        return [user for user, kept in self._newest.items() if not kept.rank[1]]

    def newest(self) -> dict[bytes, Recommendation]:
        """Return the last accepted list of each user, by user key."""
        return {user.encode(): self._decoder.decode(kept.value) for user, kept in self._newest.items()}


class Gaps:
    """The longest pause between arrivals of each lane (topic and partition) since a mark.

    Parameters
    ----------
    lanes : all that are expected to flow
    now : seconds of a monotonic clock, as everywhere here
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
        """Forget all pauses: what comes from ``now`` on counts."""
        for lane in self._last:
            self._last[lane] = now
            self._longest[lane] = 0.0
        self._arrived.clear()

    def restart_arrivals(self) -> None:
        """Ask anew which lanes flow; pauses go on counting."""
        self._arrived.clear()

    def all_flow(self) -> bool:
        """Whether every lane had an arrival since the last mark or :meth:`restart_arrivals`."""
        return len(self._arrived) == len(self._last)

    def longest_s(self, now: float) -> float:
        """Return the longest pause of any lane since the mark, one that still lasts included."""
        return max(max(self._longest[lane], now - self._last[lane]) for lane in self._last)
