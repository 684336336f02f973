"""From ranked lists to records on the wire, a whole batch at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from models.base.types import AnyArray
from models.ranking.lists import DEGRADED, SOURCE_NAMES, RankedBatch
from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, Recommendation, RecommendedItem, SourceRank, UserVector, encode
from streams.contract.windows import BaseWindow
from streams.recommender.users.first_lists import is_first
from streams.recommender.users.records import UserFacts


@dataclass(frozen=True)
class Versions:
    """What made a list: the artifact, the generation of the catalogue, and the rules.

    Parameters
    ----------
    rules : their version; empty for none
    model_order : orders artifacts by their announcements
    """

    artifact: str
    index_generation: int
    rules: str = ""
    model_order: int = 0


def list_id(
    user_id: str,
    revision: int,
    event_id: str,
    artifact: str,
    instead: str = "",
    rules: str = "",
    model_order: int = 0,
) -> str:
    """Return the id of a list. A consumer drops repeats by it.

    It is equal for equal user, revision, event, artifact, announcement of the artifact, and rules:
    after a rollback a list of the artifact before is no repeat.

    Parameters
    ----------
    event_id : the event that triggered the list. A removed user begins anew at revision 1: without
        the event, lists of the second life would have the ids of the first
    instead : ``degraded`` of a provisional list, which has an id of its own; empty for a final list
    rules : version of the rules that the list obeys; empty for none
    """
    text = f"{len(user_id)}:{user_id}:{revision}:{len(event_id)}:{event_id}:{artifact}" + (
        f":{instead}" if instead else ""
    )
    text += f":rules {rules}" if rules else ""
    text += f":{model_order}" if model_order else ""
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


#: A user's key and window.
UserWindow = tuple[bytes, BaseWindow]


def list_seeds(users: Sequence[UserWindow]) -> AnyArray:
    """Return the seed of chance for each user's list, (n,) uint64: a hash of user and revision."""
    named = (b"%d:%b" % (state.revision, key) for key, state in users)
    hashes = b"".join(hashlib.blake2b(name, digest_size=8).digest() for name in named)
    return np.frombuffer(hashes, dtype="<u8").astype(np.uint64)  # writable: loops are compiled for such


class MadeList(NamedTuple):
    """A user's list on the wire: its record, and the record of the vectors behind it.

    ``vector`` is None where nothing is to be kept of the user.
    """

    record: bytes
    vector: bytes | None


@dataclass(frozen=True)
class ListEncoder:
    """Encodes the lists of a batch. Safe on any thread.

    Parameters
    ----------
    as_json : JSON for people to read, instead of msgpack; vectors are always msgpack
    """

    as_json: bool = False

    def full(
        self,
        users: Sequence[UserWindow],
        lists: RankedBatch,
        versions: Versions,
        facts: Sequence[UserFacts | None] | None = None,
    ) -> list[MadeList]:
        """Return full lists and their vectors, in order.

        Parameters
        ----------
        facts : per user, what was known beside the window; None for nothing
        """
        records = recommendations(users, lists, versions, _now_ms(), facts=facts)
        vectors = user_vectors(users, lists, versions, facts)
        return [
            MadeList(encode(record, as_json=self.as_json), None if vector is None else encode(vector))
            for record, vector in zip(records, vectors, strict=True)
        ]

    def provisional(self, users: Sequence[UserWindow], lists: RankedBatch, versions: Versions) -> list[OutRecord]:
        """Return the records of provisional lists, in order."""
        records = recommendations(users, lists, versions, _now_ms(), provisional=True)
        return [
            OutRecord(key, encode(record, as_json=self.as_json))
            for (key, _), record in zip(users, records, strict=True)
        ]


def _now_ms() -> int:
    return int(time.time() * 1000)


def recommendations(
    users: Sequence[UserWindow],
    lists: RankedBatch,
    versions: Versions,
    produced_ms: int,
    *,
    provisional: bool = False,
    facts: Sequence[UserFacts | None] | None = None,
) -> Iterator[Recommendation]:
    """Yield each list's record for ``recommendations``.

    Parameters
    ----------
    provisional : whether the full list of the same or a later revision follows
    facts : per user, what was known beside the window; None for nothing
    """
    places = lists.degraded.tolist()
    known = repeat(None, len(users)) if facts is None else facts
    for (key, state), items, place, fact in zip(users, _items(lists), places, known, strict=True):
        user_id, trigger, degraded = key.decode(), state.trigger, DEGRADED[place]
        users_offset = UNSET if fact is None else fact.offset
        if is_first(state):
            users_offset = trigger.offset if fact is None else max(trigger.offset, fact.offset)
            trigger = trigger._replace(offset=-1)
        yield Recommendation(
            v=VERSION,
            list_id=list_id(
                user_id,
                state.revision,
                trigger.event_id or f"users@{users_offset}",
                versions.artifact,
                degraded if provisional else "",
                versions.rules,
                versions.model_order,
            ),  # fmt: skip
            user_id=user_id,
            revision=state.revision,
            event_id=trigger.event_id,
            offset=trigger.offset,
            event_ts=trigger.ts,
            produced_ts=produced_ms,
            artifact=versions.artifact,
            index_generation=versions.index_generation,
            degraded=degraded,
            items=items,
            provisional=provisional,
            users_offset=users_offset,
            rules=versions.rules or UNSET,
            missing=(lists.rows.shape[1] - len(items) or UNSET) if versions.rules else UNSET,
            model_order=versions.model_order or UNSET,
        )


def _items(lists: RankedBatch) -> Iterator[list[RecommendedItem]]:
    """Yield the items of each list."""
    ids, (n, k) = lists.item_ids, lists.rows.shape
    sources: list[dict[str, SourceRank]] = [{} for _ in range(n * k)]
    where = np.nonzero(lists.source_ranks)
    places = (where[0] * k + where[1]).tolist()
    found = map(SourceRank, lists.source_ranks[where].tolist(), lists.source_scores[where].tolist())
    for place, source, rank in zip(places, where[2].tolist(), found, strict=True):
        sources[place][SOURCE_NAMES[source]] = rank
    columns = zip(
        lists.lengths.tolist(), lists.rows.tolist(), lists.scores.tolist(), lists.because.tolist(), strict=True
    )
    for i, (length, rows, scores, because) in enumerate(columns):
        yield [
            RecommendedItem(ids[rows[j]], scores[j], sources[i * k + j], None if because[j] < 0 else ids[because[j]])
            for j in range(length)
        ]


def user_vectors(
    users: Sequence[UserWindow],
    lists: RankedBatch,
    versions: Versions,
    facts: Sequence[UserFacts | None] | None = None,
) -> Iterator[UserVector | None]:
    """Yield each user's record for ``user-vectors``; little-endian float32.

    A user without events has no vectors: the record says which record of ``users`` was answered.
    None stands for a user without events whose record is gone, of whom nothing is kept.
    """
    vectors, factors = (np.ascontiguousarray(values, dtype="<f4") for values in (lists.user_vectors, lists.factors))
    known = repeat(None, len(users)) if facts is None else facts
    for (key, state), vector, factor, fact in zip(users, vectors, factors, known, strict=True):
        if is_first(state):
            record = None if fact is None else fact.digest
            first = UserVector(VERSION, key.decode(), state.revision, versions.artifact, b"", b"", record or b"")
            yield None if record is None else first
            continue
        yield UserVector(
            v=VERSION,
            user_id=key.decode(),
            revision=state.revision,
            artifact=versions.artifact,
            vector=vector.tobytes(),
            factors=factor.tobytes(),
        )
