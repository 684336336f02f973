"""What a store of lists must do: the newest list of each user, and how far the topic is read.

A list and the offset behind it enter the store in one step, so a server that was killed goes on
where its lists end. The store takes a change once: a repeat, or a list that is no news, changes
nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from streams.contract.newest_lists import Rank

#: The form of what the store holds; a store of another form is emptied.
FORM: Final = "1"


class Change(NamedTuple):
    """A record of ``recommendations``.

    Parameters
    ----------
    offset : on its partition
    key : the user
    rank : how new the list is; empty for a removal
    value : the encoded list; None for a removal
    """

    offset: int
    key: bytes
    rank: bytes
    value: bytes | None


class ListStore(Protocol):
    """Holds lists. For one event loop."""

    async def get(self, key: bytes) -> bytes | None:
        """Return a user's newest list, encoded; None for a user without one."""

    async def apply(self, partition: int, next_offset: int, changes: Sequence[Change]) -> None:
        """Take records of a partition, in order, and the offset behind them.

        A list is taken where its rank is above that of the user's list. A removal removes the
        user's list where that is of the same partition. Records before the known offset change
        nothing.
        """

    async def remove(self, key: bytes) -> None:
        """Remove a user's list, whatever made it. Safe to repeat."""

    async def scrub(self, keys: Collection[bytes]) -> None:
        """Let the bytes of lists that were removed leave the disk, where the store has one."""

    async def offsets(self) -> Mapping[int, int]:
        """Return the offset behind the last record of each partition."""

    async def notes(self) -> Mapping[str, str]:
        """Return what :meth:`note` has kept."""

    async def note(self, name: str, value: str) -> None:
        """Keep a short text beside the lists."""

    async def count(self) -> int:
        """Return how many lists there are, approximately."""

    async def clear(self) -> None:
        """Remove everything."""

    async def close(self) -> None:
        """Let go of files or connections."""


_RANK: Final = struct.Struct(">QQBQ")
#: A list in the store begins with its partition, its offset and its rank.
HEAD: Final = struct.Struct(f">IQ{_RANK.size}s")


def packed_rank(rank: Rank) -> bytes:
    """Return a rank as bytes that sort as ranks do."""
    revision, users_offset, is_full, model_order = rank
    return _RANK.pack(revision + 1, users_offset + 1, is_full, model_order)


def next_list(partition: int, held: bytes | None, change: Change) -> bytes | None:
    """Return what the store holds of a user after a change: head and list; None for nothing.

    Parameters
    ----------
    held : what it holds before
    """
    if change.value is None:
        is_its_own = held is not None and HEAD.unpack_from(held)[0] == partition
        return None if is_its_own else held
    if held is not None and HEAD.unpack_from(held)[2] >= change.rank:
        return held
    return HEAD.pack(partition, change.offset, change.rank) + change.value


def list_in(held: bytes) -> bytes:
    """Return the list without its head."""
    return held[HEAD.size :]
