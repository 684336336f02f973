"""What changes of ``items`` cost, and which lists obey them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition

from models.base.types import Float32
from models.ranking.catalogue import Catalogue
from models.ranking.pipeline import Pipeline
from models.text.encoder import FakeEncoder
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.records import Item, encode
from streams.errors import StalledError
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings, RecommenderSettings
from tests.support import tiny_models
from tests.support.builders import FakeRecord

pytestmark = pytest.mark.model
ENCODER = FakeEncoder(16)
NOW_S = 1_700_000_000.0


class Shop:
    """A reader, what was embedded, and a clock that a test moves."""

    def __init__(self, thread: ModelThread) -> None:
        self.embedded: list[str] = []
        self.now_s = NOW_S
        self.model = Model.of(tiny_models.featured_artifact(), RecommenderSettings(), self._embed)
        self.reader = CatalogueReader(KafkaSettings(), self.model, thread, Metrics(), None, lambda: self.now_s)

    def _embed(self, texts: list[str]) -> Float32:
        self.embedded += texts
        vectors: Float32 = ENCODER.encode(texts)
        return vectors

    async def put(self, *items: Item, removed: tuple[str, ...] = ()) -> bool:
        """Take records in; return whether anything changed."""
        records = [FakeRecord(i.item_id.encode(), encode(i), 0) for i in items]
        records += [FakeRecord(item_id.encode(), None, 0) for item_id in removed]
        return await self.reader.apply({TopicPartition("items", 0): records})

    def listed(self, catalogue: Catalogue, *window: str) -> set[str]:
        """Return the items of full and of fallback lists for a window."""
        artifact, asked = self.model.artifact, [tiny_models.window(*window)]
        made = [
            *Pipeline(artifact, k=30).recommend(catalogue, asked),
            *self.model.fallback.lists(catalogue, asked, [set()], [None]),
        ]
        return {item.item_id for ranked in made for item in ranked.items}


def item(number: int, title: str = "", **fields: Any) -> Item:
    """Return an item of the tiny log."""
    return Item(1, f"i{number:02}", title or f"item {number}", **fields)


def in_a_shop(job: Callable[[Shop], Awaitable[None]]) -> None:
    """Run a test in a shop with the items of the tiny log."""

    async def run() -> None:
        async with ModelThread("model") as thread:
            shop = Shop(thread)
            await shop.put(*(item(number) for number in range(24)))
            await job(shop)

    asyncio.run(run())


def test_a_repeated_record_costs_nothing() -> None:
    """It embeds nothing, adds no row, and makes no catalogue."""

    async def job(shop: Shop) -> None:
        first = await shop.reader.build()
        shop.embedded.clear()
        assert not await shop.put(item(3), item(4))
        assert shop.embedded == []
        assert len((await shop.reader.build()).item_ids) == len(first.item_ids)

    in_a_shop(job)


def test_an_encoder_that_hangs_ends_the_reading_and_delays_no_list() -> None:
    """The worker ends with the error; until then the model's own thread makes lists."""
    release = threading.Event()

    def embed(texts: list[str]) -> Float32:
        if any("hang" in text for text in texts):
            release.wait(30)
        vectors: Float32 = ENCODER.encode(texts)
        return vectors

    async def run() -> None:
        model = Model.of(tiny_models.featured_artifact(), RecommenderSettings(), embed)
        async with ModelThread("model") as lists, ModelThread("texts") as texts:
            reader = CatalogueReader(KafkaSettings(), model, texts, Metrics(), limit_s=0.5)
            records = [FakeRecord(b"i01", encode(item(1)), 0), FakeRecord(b"i02", encode(item(2)), 1)]
            await reader.apply({TopicPartition("items", 0): records})
            catalogue = await reader.build()
            hanging = FakeRecord(b"i01", encode(item(1, "hang")), 2)
            reading = asyncio.ensure_future(reader.apply({TopicPartition("items", 0): [hanging]}))
            made = await lists.run(Pipeline(model.artifact).recommend, catalogue, [tiny_models.window("i01")])
            assert [one.item_id for one in made[0].items] == ["i02"]
            with pytest.raises(StalledError, match="texts: a job has been running"):
                await reading
            release.set()

    asyncio.run(run())


def test_only_a_changed_text_is_embedded_again() -> None:
    """Price and availability are no text."""

    async def job(shop: Shop) -> None:
        before = await shop.reader.build()
        shop.embedded.clear()
        assert await shop.put(item(3, price=5.0), item(4, available=False))
        assert shop.embedded == []
        priced = await shop.reader.build()
        assert await shop.put(item(5, "another title"))
        assert len(shop.embedded) == 1
        texted = await shop.reader.build()
        rows = [catalogue.row_of["i03"] for catalogue in (before, priced)]
        assert (before.vectors[rows[0]] == priced.vectors[rows[1]]).all()
        assert (before.features[rows[0]] != priced.features[rows[1]]).any()
        assert (before.vectors[before.row_of["i05"]] != texted.vectors[texted.row_of["i05"]]).any()

    in_a_shop(job)


@pytest.mark.parametrize("how", ["hidden", "removed"])
def test_a_hidden_or_removed_item_is_in_no_list_and_stays_signal(how: str) -> None:
    """Its viewer gets the list that the item gave before."""

    async def job(shop: Shop) -> None:
        before = await shop.reader.build()
        assert "i03" in shop.listed(before, "i01")
        pipeline, asked = Pipeline(shop.model.artifact, k=5), [tiny_models.window("i03")]
        expected = [i.item_id for i in pipeline.recommend(before, asked)[0].items]
        gone = shop.put(item(3, available=False)) if how == "hidden" else shop.put(removed=("i03",))
        assert await gone
        now = await shop.reader.build()
        assert "i03" not in shop.listed(now, "i01") | shop.listed(now) | shop.listed(now, "i03", "i02")
        # who began with the earlier catalogue keeps to it
        assert "i03" in shop.listed(before, "i01")
        made = pipeline.recommend(now, asked)[0]
        assert made.degraded == "none"
        assert [i.item_id for i in made.items] == expected
        await shop.put(item(3))
        assert "i03" in shop.listed(await shop.reader.build(), "i01")

    in_a_shop(job)


def test_times_show_and_hide_without_another_record() -> None:
    """An item appears at published_ts, and goes at expires_ts."""

    async def job(shop: Shop) -> None:
        now_ms = int(NOW_S * 1_000)
        await shop.put(item(3, published_ts=now_ms + 1_000, expires_ts=now_ms + 2_000))
        assert "i03" not in shop.listed(await shop.reader.build(), "i01")
        for after_s, is_listed in ((0.999, False), (1.0, True), (1.999, True), (2.0, False)):
            shop.now_s = NOW_S + after_s
            shop.reader.show_due()
            assert ("i03" in shop.listed(await shop.reader.build(), "i01")) == is_listed

    in_a_shop(job)


def test_a_catalogue_follows_each_change_and_no_other_record() -> None:
    """A quiet topic gives no catalogue until a time comes.

    The reader waits no longer than until then.
    """

    async def job(shop: Shop) -> None:
        await shop.reader.build()
        published_ms = int(NOW_S * 1_000) + 500
        polls = [[item(3)], [item(3, "new title")], [item(4, published_ts=published_ms)], []]
        waits: list[int] = []

        async def poll(timeout_ms: int) -> Any:
            waits.append(timeout_ms)
            if not polls:
                shop.now_s += timeout_ms / 1_000
                return {}
            records = [FakeRecord(i.item_id.encode(), encode(i), 0) for i in polls.pop(0)]
            return {TopicPartition("items", 0): records}

        shown = []
        async for catalogue in shop.reader.follow(poll):
            shown.append("i04" in tiny_models.shown_ids(catalogue))
            if len(shown) == 4:
                break
        # hidden at once; then with the facts that rules ask; then its time has come
        assert shown == [True, False, False, True]
        assert waits[0] == 1_000 and 0 < waits[-1] <= 500

    in_a_shop(job)


def test_a_withdrawn_item_waits_for_no_text() -> None:
    """A catalogue without it comes before the new texts of the same poll are embedded."""

    async def job(shop: Shop) -> None:
        await shop.reader.build()
        shop.embedded.clear()

        async def poll(_timeout_ms: int) -> Any:
            records = [FakeRecord(b"i03", None, 0)]
            records += [
                FakeRecord(i.item_id.encode(), encode(i), 0) for i in (item(4, available=False), item(5, "new"))
            ]
            return {TopicPartition("items", 0): records}

        catalogue = await anext(shop.reader.follow(poll))
        assert {"i03", "i04"}.isdisjoint(tiny_models.shown_ids(catalogue)) and "i05" in tiny_models.shown_ids(catalogue)
        assert shop.embedded == []

    in_a_shop(job)
