"""Every reader of ``items`` leaves out records whose key is not the ``item_id``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

import tools.catalogue.items_topic
from models.base.types import Float32
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.item_records import ItemDecoder
from streams.contract.records import Item, encode
from streams.errors import RecordError
from streams.health.counters import Metrics
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings, RecommenderSettings
from tests.support import tiny_models
from tests.support.builders import FakeRecord
from tools.catalogue.items_topic import read_catalogue, read_titles

WRONG_KEYS = (None, b"", b"b", b"a ", b"A", b"\xff", b'"a"', b"a.0", b"x" * 1_000)


def entry(item_id: str, title: str = "Thing") -> bytes:
    """Return an encoded entry."""
    return encode(Item(1, item_id, title))


@pytest.mark.parametrize("key", WRONG_KEYS)
def test_an_entry_under_another_key_is_refused(key: bytes | None) -> None:
    with pytest.raises(RecordError) as caught:
        ItemDecoder().decode(FakeRecord(key, entry("a")))
    assert (caught.value.reason, caught.value.field) == ("key", "item_id")
    assert "item_id 'a'" in str(caught.value) and "publish it under its item_id" in str(caught.value)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("item_id", ["a", "100", "茶 1", "é"])
def test_an_entry_under_its_own_key_and_a_tombstone_are_taken(item_id: str) -> None:
    key = item_id.encode()
    name, item = ItemDecoder().decode(FakeRecord(key, entry(item_id)))
    assert name == item_id and item is not None and item.item_id == item_id
    assert ItemDecoder().decode(FakeRecord(key, None)) == (item_id, None)


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a\xff", b"x" * 129])
def test_a_removal_of_what_can_be_no_item_is_refused(key: bytes | None) -> None:
    """Decoded with replacement characters, a key that is not UTF-8 could name another item."""
    with pytest.raises(RecordError) as caught:
        ItemDecoder().decode(FakeRecord(key, None))
    assert (caught.value.reason, caught.value.field) == ("key", "item_id")
    assert "without a value" in str(caught.value) and len(str(caught.value)) < 500


#: What stands on ``items`` in the tests below: the catalogue of it is ``i01`` and ``i03``.
RECORDS = [
    FakeRecord(key, value, offset)
    for offset, (key, value) in enumerate(
        [
            (b"i01", entry("i01", "One")),
            (b"i02", entry("i01", "Not one")),
            (None, entry("i02", "Two")),
            (b"i03", entry("i03", "Three")),
            (b"i03", b"\xc1"),
            (b"i04", entry("i04", "Four")),
            (b"i04", None),
            (None, None),
            (b"i03\xff", None),
        ]
    )
]


def test_the_recommender_leaves_it_out_and_counts_it() -> None:
    def embed(texts: list[str]) -> Float32:
        return np.stack([tiny_models.text_vectors(["i01"])["i01"] for _ in texts])

    metrics = Metrics()

    async def read() -> Any:
        model = Model.of(tiny_models.artifact(), RecommenderSettings(), embed)
        async with ModelThread("model") as thread:
            reader = CatalogueReader(KafkaSettings(), model, thread, metrics)
            await reader.apply({TopicPartition("items", 0): RECORDS})
            return await reader.build()

    assert tuple(asyncio.run(read()).item_ids) == ("i01", "i03")
    assert metrics.values["items_left_out"] == 5


def test_the_commands_leave_it_out_and_say_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``oracle``, and ``subscribe`` and ``items list`` by their titles."""

    async def records(_settings: KafkaSettings, _topic: str) -> AsyncIterator[FakeRecord]:
        for record in RECORDS:
            yield record

    monkeypatch.setattr(tools.catalogue.items_topic, "read_records", records)
    assert [(i.item_id, i.title) for i in asyncio.run(read_catalogue(KafkaSettings()))] == [
        ("i01", "One"),
        ("i03", "Three"),
    ]
    assert capsys.readouterr().err.count("left out") == 5
    assert asyncio.run(read_titles(KafkaSettings())) == {"i01": "One", "i03": "Three"}
    assert capsys.readouterr().err.count("left out") == 5
