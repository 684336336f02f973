"""What is known of users beside their events, as the recommender knows it when all is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streams.contract.item_records import UserDecoder
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import User
from streams.contract.windows import ListWindow
from streams.errors import RecordError, TopicError
from streams.kafka.publisher import KeyHomes
from streams.kafka.topic_reader import read_records
from streams.recommender.users.first_lists import first_window
from streams.recommender.users.records import UserFacts, digest_of, followed_keys
from streams.settings.load import KafkaSettings


class KnownUser(NamedTuple):
    """A record of ``users``, and where and when it lies there."""

    offset: int
    written_ms: int
    user: User


@dataclass(frozen=True)
class KnownUsers:
    """The newest record of each user, by key."""

    records: Mapping[bytes, KnownUser]

    @classmethod
    def of_file(cls, users: Iterable[User], kafka: KafkaSettings) -> KnownUsers:
        """Return users with the offsets that ``users put`` gives them on an empty topic."""
        home, offsets = KeyHomes(kafka.partitions, kafka.partitioner), [0] * kafka.partitions
        records: dict[bytes, KnownUser] = {}
        for user in users:
            key = user.user_id.encode()
            records[key] = KnownUser(offsets[home[key]], 0, user)
            offsets[home[key]] += 1
        return cls(records)

    @classmethod
    async def of_topic(cls, kafka: KafkaSettings) -> KnownUsers:
        """Return the users on ``users``; none without the topic."""
        found: dict[bytes, KnownUser] = {}
        try:
            async for record in read_records(kafka, kafka.topic("users")):
                _take(found, record, UserDecoder())
        except TopicError:
            return cls({})
        return cls(found)

    def without_window(self, windows: Collection[bytes]) -> dict[bytes, ListWindow]:
        """Return the windows from which users without events get their first lists."""
        others = sorted(self.records.keys() - set(windows))
        return {key: first_window(self.records[key].offset, self.records[key].written_ms) for key in others}

    def followed(self) -> set[bytes]:
        """Return the keys of all users whom somebody follows."""
        return {key for known in self.records.values() for key in followed_keys(known.user)}

    def facts(self, keys: Sequence[bytes], vectors: Mapping[bytes, bytes]) -> list[UserFacts | None] | None:
        """Return what is known of users, None where that is nothing.

        Parameters
        ----------
        vectors : encoded user vectors of followed users
        """
        if not any(key in self.records for key in keys):
            return None
        return [self._facts(key, vectors) for key in keys]

    def _facts(self, key: bytes, vectors: Mapping[bytes, bytes]) -> UserFacts | None:
        known = self.records.get(key)
        if known is None:
            return None
        followed = tuple(vectors[other] for other in followed_keys(known.user) if other in vectors)
        return UserFacts(known.offset, digest_of(known.user), known.user, followed)


#: Of nobody anything is known.
NOBODY = KnownUsers({})


def _take(found: dict[bytes, KnownUser], record: ConsumedRecord, decoder: UserDecoder) -> None:
    """Take a record as the recommender does: one that breaks the contract changes nothing."""
    try:
        user_id, user = decoder.decode(record)
    except RecordError:
        return
    if user is None:
        found.pop(user_id.encode(), None)
    else:
        found[user_id.encode()] = KnownUser(record.offset, record.timestamp, user)
