"""A poisoned catalogue: bad items are left out with a reason, the others are served."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from aiokafka import TopicPartition

from models.base.types import Float32
from models.text.cleaned_texts import CleanedTexts
from models.text.encoder import FakeEncoder
from streams.catalogue.item_vectors import item_vectors, n_imputed
from streams.contract.records import Item

ENCODER = FakeEncoder(16)


def item(item_id: str, **fields: object) -> Item:
    """Return an item titled by its id."""
    return Item(1, item_id, f"item {item_id}", **fields)  # type: ignore[arg-type]


ITEMS = [item("a"), item("bad"), item("c")]


def spoilt_by(value: float, texts: list[str]) -> Float32:
    """Embed; the texts of bad items get one such value."""
    vectors = ENCODER.encode(texts).copy()
    for row, text in enumerate(texts):
        vectors[row, 0] = value if "bad" in text else vectors[row, 0]
    return vectors


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_a_vector_that_cannot_be_used_costs_only_its_item(value: float) -> None:
    """In an index it would refuse the whole catalogue, or give everyone a score of NaN."""
    vectors, left_out = item_vectors(ITEMS, lambda texts: spoilt_by(value, texts))
    assert vectors.keys() == {"a", "c"} and left_out.keys() == {"bad"}
    assert "must be finite" in left_out["bad"]


def test_a_text_on_which_the_encoder_raises_costs_only_its_item() -> None:
    """The batch is embedded again item by item, with the vectors it would have had."""

    def embed(texts: list[str]) -> Float32:
        if any("bad" in text for text in texts):
            raise RuntimeError("no such token")
        return ENCODER.encode(texts)

    vectors, left_out = item_vectors(ITEMS, embed)
    assert left_out == {"bad": "encoder: RuntimeError('no such token')"}
    expected, _ = item_vectors([ITEMS[0], ITEMS[2]], ENCODER.encode)
    assert vectors.keys() == expected.keys()
    assert all(np.array_equal(vectors[item_id], expected[item_id]) for item_id in expected)
    assert item_vectors([ITEMS[1]], embed)[0] == {}


def test_an_encoder_that_always_raises_is_not_an_items_fault() -> None:
    """A worker that stops and says why is better than an empty catalogue that looks healthy."""

    def embed(texts: list[str]) -> Float32:
        raise RuntimeError("no CUDA device")

    with pytest.raises(RuntimeError, match="no CUDA device"):
        item_vectors(ITEMS, embed)


def test_a_text_on_which_cleaning_raises_costs_only_its_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segmenters are C code and dictionaries; nobody has tried every text."""
    from streams.catalogue import item_vectors as module

    def clean_item(raw: str) -> str:
        if "bad" in raw:
            raise ValueError("cannot be cut")
        return raw

    monkeypatch.setattr(module, "clean_item", clean_item)
    vectors, left_out = item_vectors(ITEMS, ENCODER.encode)
    assert vectors.keys() == {"a", "c"} and "cannot be cut" in left_out["bad"]


def test_a_start_with_kept_texts_cleans_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors are the same ones; a text that could not be cleaned is tried again."""
    from streams.catalogue import item_vectors as module

    cleaned: list[str] = []

    def clean_item(raw: str) -> str:
        cleaned.append(raw)
        if "bad" in raw:
            raise ValueError("cannot be cut")
        return raw.lower()

    monkeypatch.setattr(module, "clean_item", clean_item)
    first, _ = item_vectors(ITEMS, ENCODER.encode, CleanedTexts(tmp_path, "v1"))
    n_first = len(cleaned)
    second, left_out = item_vectors(ITEMS, ENCODER.encode, CleanedTexts(tmp_path, "v1"))
    assert n_first == 3 and [raw for raw in cleaned[n_first:] if "bad" not in raw] == []
    assert len(cleaned) == 4 and left_out.keys() == {"bad"}
    assert {i: v.tolist() for i, v in first.items()} == {i: v.tolist() for i, v in second.items()}


@pytest.mark.parametrize("text", ["\u5f88" * 20_000, "word " * 4_000, "\u0000\ud800", "", "\U0001f600" * 2_000])
def test_odd_texts_are_embedded(text: str) -> None:
    """The longest text of the contract, half a surrogate pair, nothing, and signs only."""
    vectors, left_out = item_vectors([item("a", text=text), item("b")], ENCODER.encode)
    assert vectors.keys() == {"a", "b"} and left_out == {}


def test_features_that_are_not_finite_are_counted() -> None:
    """They are imputed where they are used; the log says how many."""
    assert (
        n_imputed([item("a", price=math.nan), item("b", features={"x": math.inf, "y": "z"}), item("c", price=1.0)]) == 2
    )


def test_a_poisoned_topic_leaves_a_catalogue_of_the_others() -> None:
    """The reader meets malformed records, NaN features and bad vectors on ``items``."""
    import asyncio
    from typing import Any

    from models.ranking.pipeline import Pipeline
    from streams.catalogue.catalogue_reader import CatalogueReader
    from streams.contract.records import encode
    from streams.health.counters import Metrics
    from streams.recommender.model.model_thread import ModelThread
    from streams.recommender.served import Model
    from streams.settings.load import KafkaSettings, RecommenderSettings
    from tests.support import tiny_models
    from tests.support.builders import FakeRecord

    artifact, metrics = tiny_models.featured_artifact(), Metrics()
    items = [
        item("i01", features={"age": math.nan}),
        item("bad"),
        item("i02", price=None, text="x" * 20_000),
        item("i03"),
    ]
    entries = [(i.item_id.encode(), encode(i)) for i in items]
    values = [*entries, (b"k", b"\xc1"), (b"k", b"{"), (b"i04", encode(Item(9, "i04", "of another version")))]
    records = [FakeRecord(key, value, offset) for offset, (key, value) in enumerate(values)]
    records += [FakeRecord(b"gone", None, len(values))]

    async def read() -> Any:
        model = Model.of(artifact, RecommenderSettings(), lambda texts: spoilt_by(math.nan, texts))
        async with ModelThread("model") as thread:
            reader = CatalogueReader(KafkaSettings(), model, thread, metrics)
            await reader.apply({TopicPartition("items", 0): records})
            return await reader.build()

    catalogue = asyncio.run(read())
    assert tuple(catalogue.item_ids) == ("i01", "i02", "i03")
    assert metrics.values["items_left_out"] == 4
    (made,) = Pipeline(artifact).recommend(catalogue, [tiny_models.window("i01")])
    assert {i.item_id for i in made.items} == {"i02", "i03"}
    assert np.isfinite([i.score for i in made.items]).all()
