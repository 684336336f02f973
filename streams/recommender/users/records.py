"""The records of ``users`` of this worker's partitions, kept encoded: no copy, no objects."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from models.ranking.newcomers.social import MAX_FOLLOWED
from streams.contract.records import User, encode

#: Bytes of the offset before each kept record.
_OFFSET: Final = 8
#: So many characters of a digest tell two records of one user apart.
_DIGEST: Final = 8
_decoder = msgspec.msgpack.Decoder(User)


class UserFacts(NamedTuple):
    """What is known of a user beside the window.

    Parameters
    ----------
    offset : of the record on ``users``
    digest : of its content: two equal records have one
    followed : encoded user vectors of the followed users that are there
    """

    offset: int
    digest: bytes
    user: User
    followed: tuple[bytes, ...] = ()


class UserRecords:
    """The newest record of each user, by partition. For one event loop.

    A user takes the record's bytes and about 200 more.
    """

    def __init__(self) -> None:
        self._kept: dict[int, dict[bytes, bytes]] = {}
        self._offsets: dict[int, int] = {}  # of the last record that was taken, by partition
        self._follows: dict[int, set[bytes]] = {}

    def __len__(self) -> int:
        """Return how many users are known."""
        return sum(map(len, self._kept.values()))

    def put(self, partition: int, key: bytes, offset: int, user: User | None) -> None:
        """Take a user's record, None for a removal; one that was taken before changes nothing."""
        if offset <= self._offsets.get(partition, -1):
            return
        self._offsets[partition] = offset
        kept = self._kept.setdefault(partition, {})
        if user is None:
            kept.pop(key, None)
            return
        kept[key] = offset.to_bytes(_OFFSET, "big") + encode(user)
        self._follows.setdefault(partition, set()).update(followed_keys(user))

    def get(self, partition: int, key: bytes) -> UserFacts | None:
        """Return what is known of a user, without the followed users; None without a record."""
        kept = self._kept.get(partition, {}).get(key)
        if kept is None:
            return None
        value = kept[_OFFSET:]
        return UserFacts(int.from_bytes(kept[:_OFFSET], "big"), _digest(value), _decoder.decode(value))

    def has(self, partition: int, key: bytes) -> bool:
        """Whether there is a record of a user."""
        return key in self._kept.get(partition, ())

    def next_offset(self, partition: int) -> int | None:
        """Return the offset behind the last record that was taken, None for none."""
        offset = self._offsets.get(partition)
        return None if offset is None else offset + 1

    def keys(self, partition: int) -> list[bytes]:
        """Return the users of a partition."""
        return list(self._kept.get(partition, ()))

    def follows(self) -> Iterator[bytes]:
        """Yield the keys of all users whom records have named as followed, some repeated."""
        for found in self._follows.values():
            yield from found

    def keep(self, partitions: Collection[int]) -> None:
        """Drop the records of all other partitions: other workers own them."""
        for of_partition in (self._kept, self._offsets, self._follows):
            for partition in of_partition.keys() - set(partitions):
                del of_partition[partition]

    def remove(self, partition: int, keys: Iterable[bytes]) -> None:
        """Drop the records of users."""
        kept = self._kept.get(partition, {})
        for key in keys:
            kept.pop(key, None)


def followed_keys(user: User) -> list[bytes]:
    """Return the keys of the followed users that count."""
    return [other.encode() for other in (user.follows or ())[:MAX_FOLLOWED] if other != user.user_id]


def digest_of(user: User) -> bytes:
    """Return the digest of a record's content."""
    return _digest(encode(user))


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_DIGEST).digest()
