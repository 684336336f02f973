"""A deployment in memory: topics as lists of records, lists made as the recommender makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Float32
from models.ranking.catalogue import build_catalogue
from models.rules.row_rules import Rules
from models.text.encoder import FakeEncoder
from streams.announcements.sending.rules import record_of
from streams.catalogue.item_facts import facts_of
from streams.catalogue.item_vectors import item_vectors
from streams.catalogue.seen_index import SeenIndex
from streams.contract.item_records import is_shown
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Event, Item, Recommendation, User, encode
from streams.contract.windows import WindowState
from streams.recommender.list_encoding import recommendations, user_vectors
from streams.recommender.list_records import behaviours
from streams.recommender.popularity.live_popularity import LivePopularity
from streams.recommender.served import Model, Served
from streams.recommender.users.model_inputs import model_inputs
from streams.recommender.users.records import UserFacts
from streams.sequencer.window import absorb
from streams.settings.load import Settings, load_settings
from tests.support import tiny_models
from tests.support.builders import T0, FakeRecord, make_event
from tools.oracle.why.case import Case, CaseFinder
from tools.oracle.why.models import OpenModel
from tools.oracle.why.published import Place
from tools.oracle.why.shop import ItemHistory
from tools.oracle.why.topics import Topics

USER = "u1"
#: Records are written, and lists made, this long after the events that they come from.
DELAY_MS = 1_000


def settings_of(**variables: str) -> Settings:
    """Return settings with lists of five items, without live popularity."""
    small = {"LIST_SIZE": "5", "N_CANDIDATES": "6", "LIVE_POPULARITY": "off", "PARTITIONS": "1"} | variables
    return load_settings({f"HEADRACE_{name}": value for name, value in small.items()})


class MemoryTopics(Topics):
    """Topics of one partition whose records lie in lists; gaps are what compaction removed."""

    def __init__(self, settings: Settings, records: dict[str, list[ConsumedRecord]]) -> None:
        super().__init__(settings.kafka, None)
        self.records = records
        self.begins: dict[str, int] = {}

    def put(self, topic: str, key: str, value: bytes | None, timestamp: int) -> int:
        """Append a record; return its offset."""
        records = self.records.setdefault(topic, [])
        offset = records[-1].offset + 1 if records else 0
        records.append(FakeRecord(key.encode(), value, offset, 0, topic, timestamp))
        return offset

    async def partitions_of(self, topic: str, key: bytes) -> list[int]:
        return [0]

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        records = self.records.get(topic, [])
        return self.begins.get(topic, 0), records[-1].offset + 1 if records else 0

    async def offset_at(self, topic: str, partition: int, ts_ms: int) -> int | None:
        return next((one.offset for one in self.records.get(topic, []) if one.timestamp >= ts_ms), None)

    async def forwards(self, topic: str, partition: int, begin: int, end: int) -> AsyncIterator[ConsumedRecord]:
        for record in list(self.records.get(topic, [])):
            if begin <= record.offset < end:
                yield record

    async def whole(self, topic: str) -> AsyncIterator[ConsumedRecord]:
        for record in self.records.get(topic, []):
            yield record


def embed(texts: list[str]) -> Any:
    """Return fake vectors of texts."""
    return FakeEncoder(16).encode(texts)


def tiny_items(artifact: Artifact) -> dict[str, Item]:
    """Return the items of an artifact, and sixty new ones."""
    ids = [*artifact.manifest.item_ids, *(f"n{i:02}" for i in range(60))]
    return {
        item_id: Item(1, item_id, f"Title {item_id} group{int(item_id[1:]) % 3}", category=f"c{int(item_id[1:]) % 3}")
        for item_id in ids
    }


class Shop:
    """A deployment whose events, windows and lists lie in :class:`MemoryTopics`.

    Parameters
    ----------
    artifact : None takes the tiny one
    variables : settings, without ``HEADRACE_``
    """

    def __init__(self, artifact: Artifact | None = None, **variables: str) -> None:
        self.settings = settings_of(**variables)
        self.artifact = tiny_models.artifact() if artifact is None else artifact
        self.model = Model.of(self.artifact, self.settings.recommender, embed if self.artifact.takes_text else None)
        self.popularity = LivePopularity(self.artifact, is_on=self.settings.recommender.live_popularity == "on")
        self.rules: Rules | None = None
        self.facts: dict[str, UserFacts] = {}
        self.vectors: dict[str, bytes] = {}
        self.topics = MemoryTopics(self.settings, {})
        self.items: dict[str, Item] = {}
        self.history = ItemHistory()
        self.now_ms = T0
        for item in tiny_items(self.artifact).values():
            self.put_item(item, T0 - 86_400_000)
        self.states: dict[str, WindowState | None] = {}

    def put_item(self, item: Item | str, at_ms: int | None = None) -> None:
        """Write an item's record, or remove the item of an id."""
        item_id = item if isinstance(item, str) else item.item_id
        record = None if isinstance(item, str) else item
        self.history.records.setdefault(item_id, []).append((self.now_ms if at_ms is None else at_ms, record))
        if record is None:
            self.items.pop(item_id, None)
        else:
            self.items[item_id] = record

    def act(self, *item_ids: str, user: str = USER, makes_list: bool = True, **more: Any) -> Recommendation | None:
        """Let a user view items, one event each; return the list of the last one's window."""
        made = None
        for item_id in item_ids:
            self.now_ms += 60_000
            event = make_event(f"{user}-{self.now_ms}", self.now_ms, user_id=user, item_id=item_id, **more)
            offset = self.topics.put("events", user, encode(event), self.now_ms)
            state = self._absorbed(user, event, offset)
            self.topics.put("sequences", user, encode(state), self.now_ms + DELAY_MS)
            if makes_list:
                made = self.make_list(user, state)
        return made

    def _absorbed(self, user: str, event: Event, offset: int) -> WindowState:
        outcome = absorb(self.states.get(user), [(event, offset)], self.settings.sequencer.bounds())
        assert outcome.state is not None
        self.states[user] = outcome.state
        return outcome.state

    def make_list(self, user: str, state: WindowState, **changes: Any) -> Recommendation:
        """Make a list as the recommender does, and put it on its topic, with the user's vector."""
        produced_ms, users = self.now_ms + 2 * DELAY_MS, [(user.encode(), state)]
        served = self._served(produced_ms)
        facts = [self.facts[user]] if user in self.facts else None
        rows, followed = model_inputs(facts, self.artifact)
        ranked = self.model.pipeline.recommend(
            served.catalogue, [behaviours(state)], [served.left_out(state)], rows,
            seeds=served.seeds(users), followed=followed, weights=served.weights(users),
        )  # fmt: skip
        self.popularity.put(0, user.encode(), state)
        (made,) = recommendations(users, ranked, served.versions, produced_ms, facts=facts)
        (vector,) = user_vectors(users, ranked, served.versions, facts)
        assert vector is not None
        self.vectors[user] = encode(vector)
        self.topics.put("user-vectors", user, self.vectors[user], produced_ms)
        made = msgspec.structs.replace(made, **changes)
        self.topics.put("recommendations", user, encode(made), produced_ms)
        return made

    def _served(self, now_ms: int) -> Served:
        """Return what lists are made of at a time."""
        vectors: dict[str, Float32] = {item_id: np.zeros(1, np.float32) for item_id in self.items}
        if self.model.embed is not None:
            vectors, _ = item_vectors(list(self.items.values()), self.model.embed)
        hidden = {i for i, item in self.items.items() if not is_shown(item, now_ms)}
        facts = {item_id: facts_of(item) for item_id, item in self.items.items()}
        catalogue = self.popularity.refreshed(build_catalogue(self.artifact, vectors, 7, None, hidden, facts))
        return Served.of(self.model, catalogue, SeenIndex(catalogue.item_ids)).under(self.rules, now_ms)

    def put_rules(self, text: str) -> None:
        """Put rules that lists obey from now on."""
        self.topics.put("rules", "default", encode(record_of("default", text)), self.now_ms)
        self.rules = Rules.of(text, self.settings.recommender.list_size)

    def put_user(self, record: User) -> None:
        """Put what is known of a user, whose lists follow from it from now on."""
        offset = self.topics.put("users", record.user_id, encode(record), self.now_ms)
        followed = tuple(self.vectors[one] for one in record.follows or () if one in self.vectors)
        self.facts[record.user_id] = UserFacts(offset, b"", record, followed)

    async def find(self, user: str = USER, list_id: str | None = None, place: Place | None = None) -> Case:
        """Return a list, opened."""

        async def find_model(version: str) -> OpenModel:
            return OpenModel(self.model, Path("artifact"))

        finder = CaseFinder(self.settings, self.topics, self.history, find_model)
        return await finder.find(user, list_id=list_id, place=place)

    def compact(self, topic: str, kept: Sequence[int] = ()) -> None:
        """Keep the newest record of each key, and these offsets."""
        newest: Mapping[bytes | None, int] = {one.key: one.offset for one in self.topics.records[topic]}
        self.topics.records[topic] = [
            one for one in self.topics.records[topic] if newest[one.key] == one.offset or one.offset in kept
        ]
