"""The readers of two workers share the rows of the rebuild that ends the start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from models.ranking.catalogue import Catalogue
from models.ranking.catalogue.shared_rows import SharedRows
from models.text.encoder import FakeEncoder
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.records import Item, encode
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.model.stored_artifact import artifact_cache, catalogue_folder
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings, RecommenderSettings
from tests.support import tiny_models
from tests.support.builders import FakeRecord

ITEMS = [Item(1, f"i{number:03}", f"item {number}") for number in range(200)]


@pytest.mark.model
def test_two_readers_share_the_rows_that_a_third_one_holds_alone(tmp_path: Path) -> None:
    """They read the items in other portions, and give the same arrays."""

    async def read(thread: ModelThread, step: int, sharing: SharedRows | None) -> Catalogue:
        model = Model.of(tiny_models.featured_artifact(), RecommenderSettings(), FakeEncoder(16).encode)
        reader = CatalogueReader(KafkaSettings(), model, thread, Metrics(), sharing=sharing)
        for start in range(0, len(ITEMS), step):
            records = [FakeRecord(one.item_id.encode(), encode(one), 0) for one in ITEMS[start : start + step]]
            await reader.apply({TopicPartition("items", 0): records})
        return await reader.build()

    async def run() -> None:
        async with ModelThread("texts") as thread:
            private = await read(thread, 200, None)
            assert not list(tmp_path.iterdir())
            one = await read(thread, 200, SharedRows(tmp_path, 100))
            files = {path.name for path in tmp_path.iterdir()}
            other = await read(thread, 30, SharedRows(tmp_path, 100))
            assert files and {path.name for path in tmp_path.iterdir()} == files
            for name in ("vectors", "unit", "text_unit", "factors", "features", "known"):
                held = [getattr(catalogue, name).tobytes() for catalogue in (private, one, other)]
                assert held[0] == held[1] == held[2]

    asyncio.run(run())


def test_the_folder_lies_beside_the_cached_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that moves the cache moves it, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/of-the-user")
    assert catalogue_folder(RecommenderSettings()) == Path("/var/cache/of-the-user/headrace/catalogue")
    assert artifact_cache() == Path("/var/cache/of-the-user/headrace/artifacts")
    moved = RecommenderSettings(encoder_cache_dir="/srv/cache")
    assert catalogue_folder(moved) == Path("/srv/cache/catalogue")
    assert artifact_cache(moved) == Path("/srv/cache/artifacts")
