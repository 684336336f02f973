"""What the list knew of its user beside the window: the record on ``users``, and whom it names."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.ranking.explaining.tracing import NOBODY, Person
from streams.contract.item_records import UserDecoder
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import User
from streams.errors import RecordError
from streams.recommender.users.model_inputs import model_inputs
from streams.recommender.users.records import UserFacts, followed_keys
from tools.oracle.why.published import Published
from tools.oracle.why.topics import Topics

USERS = "users"
VECTORS = "user-vectors"


@dataclass(frozen=True)
class FoundPerson:
    """What is known of a user.

    Parameters
    ----------
    is_of_then : whether the record is the one that the list names; else it is a later one, or gone
    n_follows, n_followed_later : followed users, and those of whom only later vectors are left
    """

    person: Person
    user: User | None
    is_of_then: bool = True
    n_follows: int = 0
    n_followed_later: int = 0


async def find_person(topics: Topics, published: Published, artifact: Artifact) -> FoundPerson:
    """Return what a list knew of its user beside the window."""
    record = published.record
    if record.users_offset is UNSET:
        return FoundPerson(NOBODY, None)
    user, is_of_then = await _user(topics, published)
    if user is None:
        return FoundPerson(NOBODY, None, is_of_then=False)
    vectors, n_later = await _vectors(topics, followed_keys(user), record.produced_ts)
    facts = UserFacts(record.users_offset, b"", user, tuple(vectors))
    rows, followed = model_inputs([facts], artifact)
    person = Person(rows[0] if rows else None, followed[0] if followed else None)
    return FoundPerson(person, user, is_of_then, len(followed_keys(user)), n_later)


async def _user(topics: Topics, published: Published) -> tuple[User | None, bool]:
    """Return the user's record and whether it is the one that the list names."""
    record, partition = published.record, published.partition
    if isinstance(record.users_offset, int):
        async for one in topics.forwards(USERS, partition, record.users_offset, record.users_offset + 1):
            if one.offset == record.users_offset:
                return _decoded(one), True
    async for one in topics.of_user(USERS, partition, record.user_id.encode()):
        return _decoded(one), False
    return None, False


def _decoded(record: ConsumedRecord) -> User | None:
    try:
        return UserDecoder().decode(record)[1]
    except RecordError:
        return None


async def _vectors(topics: Topics, keys: list[bytes], at_ms: int) -> tuple[list[bytes], int]:
    """Return the vectors of users as of a time, in the order of keys; and how many are later ones.

    A vector of then that compaction has removed is replaced by the first later one that is left.
    """
    homes: dict[int, set[bytes]] = {}
    for key in keys:
        for partition in await topics.partitions_of(VECTORS, key):
            homes.setdefault(partition, set()).add(key)
    then: dict[bytes, bytes | None] = {}
    later: dict[bytes, bytes | None] = {}
    for partition, wanted in homes.items():
        async for record in topics.backwards(VECTORS, partition):
            if record.key not in wanted or record.key in then:
                continue
            kept = then if record.timestamp <= at_ms else later
            kept[record.key] = record.value
            if wanted <= then.keys():
                break
    found = [(key, then[key] if key in then else later.get(key)) for key in keys]
    vectors = [value for _, value in found if value is not None]
    return vectors, sum(key not in then and value is not None for key, value in found)
