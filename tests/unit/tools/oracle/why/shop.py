"""A deployment in memory: topics as lists of records, lists made as the recommender makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from models.ranking.catalogue import build_catalogue
from models.text.encoder import FakeEncoder
from streams.catalogue.item_vectors import item_vectors
from streams.catalogue.seen_index import SeenIndex
from streams.contract.item_records import is_shown
from streams.contract.kafka_records import ConsumedRecord
from streams.contract.records import Event, Item, Recommendation, encode
from streams.contract.windows import WindowState
from streams.recommender.list_encoding import Versions, recommendations
from streams.recommender.list_records import behaviours
from streams.recommender.served import Model
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


@cache
def model(list_size: int = 5, n_candidates: int = 6) -> Model:
    """Return the model of the tiny artifact."""
    settings = settings_of(LIST_SIZE=str(list_size), N_CANDIDATES=str(n_candidates))
    return Model.of(tiny_models.artifact(), settings.recommender, embed)


def tiny_items() -> dict[str, Item]:
    """Return the items of the tiny artifact, and thirty new ones."""
    ids = [*tiny_models.artifact().manifest.item_ids, *(f"n{i:02}" for i in range(60))]
    return {item_id: Item(1, item_id, f"Title {item_id} group{int(item_id[1:]) % 3}") for item_id in ids}


class Shop:
    """A deployment with one user, whose events, windows and lists lie in :class:`MemoryTopics`."""

    def __init__(self, **variables: str) -> None:
        self.settings = settings_of(**variables)
        self.topics = MemoryTopics(self.settings, {})
        self.items: dict[str, Item] = {}
        self.history = ItemHistory()
        self.now_ms = T0
        for item in tiny_items().values():
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
        """Make a list as the recommender does, and put it on its topic."""
        produced_ms = self.now_ms + 2 * DELAY_MS
        vectors, _ = item_vectors(list(self.items.values()), embed)
        hidden = {i for i, item in self.items.items() if not is_shown(item, produced_ms)}
        catalogue = build_catalogue(tiny_models.artifact(), vectors, 7, None, hidden)
        seen = SeenIndex(catalogue.item_ids).items(state.had())
        ranked = self.model.pipeline.recommend(catalogue, [behaviours(state)], [seen])
        versions = Versions(tiny_models.artifact().version, 7)
        (made,) = recommendations([(user.encode(), state)], ranked, versions, produced_ms)
        made = msgspec.structs.replace(made, **changes)
        self.topics.put("recommendations", user, encode(made), produced_ms)
        return made

    @property
    def model(self) -> Model:
        """The model that makes the lists."""
        of = self.settings.recommender
        return model(of.list_size, of.n_candidates)

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
