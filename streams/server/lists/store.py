"""What a store of lists must do: the newest list of each user, and how far the topic is read.

A list and the offset behind it enter the store in one step, so a server that was killed goes on
where its lists end. The store takes a change once: a repeat, or a list that is no news, changes
nothing.

Several servers may share a store, and each of them reads the whole topic. A store lives from one
:meth:`ListStore.begin` to the next, or until somebody deletes it. Servers answer from the life that
they follow alone: an empty store must not look like users without lists.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from streams.contract.newest_lists import Rank
from streams.errors import StoreError

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


class Span(NamedTuple):
    """The part of a partition that a server has read and hands to the store.

    Parameters
    ----------
    partition : its number
    first : the first offset; the server has handed over everything before
    end : the offset behind the last one
    """

    partition: int
    first: int
    end: int


class State(NamedTuple):
    """What a store says of itself.

    Parameters
    ----------
    life : names what lies between two emptyings; empty for a store that nothing was put into
    form : of what it holds
    offsets : behind the last record that is in the store, by partition
    followed_ago_ms : ms since it last had all of the topic; None while it never had
    filled_ago_ms : ms since a server last put something into it
    """

    life: str = ""
    form: str = ""
    offsets: Mapping[int, int] = {}
    followed_ago_ms: int | None = None
    filled_ago_ms: int | None = None


class StoreLostError(StoreError):
    """The store no longer holds what this server has seen in it: it must be followed anew."""


class ListStore(Protocol):
    """Holds lists. For one event loop.

    Each call may raise :class:`~streams.errors.StoreError`; then it may be repeated.
    """

    async def state(self) -> State:
        """Return what the store holds now."""

    async def begin(self, instead_of: str, offsets: Mapping[int, int]) -> None:
        """Remove everything, and begin a new life at these offsets, in one step.

        Nothing happens where the store has another life than ``instead_of``: then another server
        has begun.
        """

    def follow(self, life: str) -> None:
        """Answer, and take changes, for this life from now on."""

    async def get(self, key: bytes) -> bytes | None:
        """Return a user's newest list, encoded; None for a user without one.

        Raises
        ------
        StoreLostError
            When the store has another life than the one that is followed.
        """

    async def apply(self, span: Span, changes: Sequence[Change]) -> None:
        """Take records of a partition, in order, and the offset behind them, in one step.

        A list is taken where its rank is above that of the user's list. A removal removes the
        user's list where that is of the same partition. Records before the store's own offset
        change nothing.

        Raises
        ------
        StoreLostError
            When the store has another life, or lacks records before ``span.first``.
        """

    async def keep(self, spans: Sequence[Span], *, is_complete: bool) -> None:
        """Pass spans without lists, and note that a server follows.

        Parameters
        ----------
        is_complete : whether this server has handed over all that the topic has

        Raises
        ------
        StoreLostError
            As :meth:`apply`.
        """

    async def remove(self, key: bytes, mark: int) -> None:
        """Remove a user's list of the life before a mark, in one step. Safe to repeat.

        Parameters
        ----------
        mark : the highest revision of that life, see :mod:`streams.contract.marks`
        """

    async def scrub(self, keys: Collection[bytes]) -> None:
        """Let the bytes of lists that were removed leave the disk, where the store has one."""

    async def count(self) -> int:
        """Return how many lists there are, approximately."""

    async def close(self) -> None:
        """Let go of files or connections."""


async def count_of(store: ListStore) -> int | None:
    """Return how many lists a store has, approximately; None while it does not answer."""
    try:
        return await store.count()
    except StoreError:
        return None


_RANK: Final = struct.Struct(">QQBQ")
#: A list in the store begins with its partition, its offset and its rank.
HEAD: Final = struct.Struct(f">IQ{_RANK.size}s")


def packed_rank(rank: Rank) -> bytes:
    """Return a rank as bytes that sort as ranks do."""
    revision, users_offset, is_full, model_order = rank
    return _RANK.pack(revision + 1, users_offset + 1, is_full, model_order)


def revision_in_rank(rank: bytes) -> int:
    """Return the revision of a packed rank."""
    return int(_RANK.unpack(rank)[0]) - 1


def packed_mark(mark: int) -> bytes:
    """Return the beginning of the ranks of a revision, as bytes that sort."""
    return (mark + 1).to_bytes(8, "big")


def is_of_former_life(held: bytes, mark: int) -> bool:
    """Whether a list in the store has a mark's revision or a lower one."""
    return bytes(HEAD.unpack_from(held)[2][:8]) <= packed_mark(mark)


def with_head(partition: int, change: Change) -> bytes:
    """Return a list as the store holds it: head and list; empty for a removal."""
    if change.value is None:
        return b""
    return HEAD.pack(partition, change.offset, change.rank) + change.value


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
    return with_head(partition, change)


def list_in(held: bytes) -> bytes:
    """Return the list without its head."""
    return held[HEAD.size :]
