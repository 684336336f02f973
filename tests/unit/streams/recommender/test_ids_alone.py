"""A model of item ids alone: it serves without a text encoder, with and without a catalogue."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition

from models.artifact.artifact import Artifact
from models.base.types import Float32
from models.ranking.pipeline import Catalogue, Pipeline
from models.text.encoder import FakeEncoder
from models.training.train import NO_TEXT, TrainingData
from streams.catalogue.catalogue_reader import CatalogueReader
from streams.contract.records import Item, encode
from streams.errors import InputError
from streams.health.counters import Metrics
from streams.recommender.model import artifact_encoder
from streams.recommender.model.artifact_encoder import ArtifactEncoder
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import Model
from streams.settings.load import KafkaSettings, RecommenderSettings
from tests.support import tiny_models
from tests.support.builders import FakeRecord

pytestmark = pytest.mark.model

#: What one step publishes: items by id, None for a removal.
Step = dict[str, Item | None]


@cache
def ids_alone() -> Artifact:
    """Return an artifact of the tiny log without texts."""
    return tiny_models.train_tiny(data=TrainingData(tiny_models.tiny_log(), {}, NO_TEXT))


def titled(*item_ids: str) -> Step:
    """Return items with titles."""
    return {item_id: Item(1, item_id, f"Lamp of kind {item_id}") for item_id in item_ids}


def catalogues(model: Model, steps: list[Step]) -> list[Catalogue]:
    """Return the catalogue at the start, on an empty topic, and after each step."""

    async def read() -> list[Catalogue]:
        async with ModelThread("model") as thread:
            reader = CatalogueReader(KafkaSettings(), model, thread, Metrics())
            found = [await reader.build()]
            for step in steps:
                records: list[Any] = [
                    FakeRecord(item_id.encode(), None if item is None else encode(item), i)
                    for i, (item_id, item) in enumerate(step.items())
                ]
                assert await reader.apply({TopicPartition("items", 0): records})
                found.append(await reader.build())
            return found

    return asyncio.run(read())


def no_encoder(texts: list[str]) -> Float32:
    """Fail: nobody may ask for a text."""
    raise AssertionError(texts)


def listed(artifact: Artifact, catalogue: Catalogue, *item_ids: str) -> list[str]:
    """Return the list of a user with these items in the window."""
    (made,) = Pipeline(artifact).recommend(catalogue, [tiny_models.window(*item_ids)])
    assert np.isfinite([item.score for item in made.items]).all()
    return [item.item_id for item in made.items]


def test_the_artifact_says_that_it_has_no_text_encoder() -> None:
    """Its manifest names none, so nothing is opened for it; an artifact with texts names one."""
    manifest = ids_alone().manifest
    assert (manifest.encoder_name, manifest.encoder_version, manifest.text_version) == ("", "", "")
    assert not ids_alone().takes_text
    assert tiny_models.artifact().takes_text


def test_a_worker_opens_no_encoder_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the text model nor the segmenter need be there."""
    monkeypatch.setattr(artifact_encoder, "open_encoder", no_encoder)
    monkeypatch.setattr(artifact_encoder, "prepare_text", no_encoder)
    assert ArtifactEncoder.of(ids_alone(), "cpu", RecommenderSettings()) is None


def test_a_worker_knows_before_it_serves_whether_it_can_read_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that is missing ends the start, not the first item of an empty catalogue."""

    def gone(*_: object) -> FakeEncoder:
        raise InputError("encoder fake: no such model")

    monkeypatch.setattr(artifact_encoder, "open_encoder", gone)
    with pytest.raises(InputError, match="no such model"):
        ArtifactEncoder.of(tiny_models.artifact(), "cpu", RecommenderSettings())


def test_an_empty_catalogue_is_that_of_the_artifact_until_an_item_comes() -> None:
    """Empty at the start, a first item, all items removed, items again: each catalogue serves."""
    model = Model.of(ids_alone(), RecommenderSettings(), None)
    known = tuple(sorted(ids_alone().manifest.item_ids))
    some = ["i01", "i02", "i03", "new"]
    steps: list[Step] = [titled("i05"), {"i05": None}, titled(*some), dict.fromkeys(some), titled("i07", "i08")]
    found = catalogues(model, steps)
    assert [tuple(sorted(tiny_models.shown_ids(catalogue))) for catalogue in found] == [
        known,
        ("i05",),
        known,
        tuple(some),
        known,
        ("i07", "i08"),
    ]
    assert set(listed(ids_alone(), found[0], "i01", "i02")) <= set(known) - {"i01", "i02"}
    assert listed(ids_alone(), found[0], "i01", "i02") == listed(ids_alone(), found[4], "i01", "i02")
    assert listed(ids_alone(), found[3], "i01")[:2] in (["i02", "i03"], ["i03", "i02"])


def test_an_item_of_which_nothing_is_known_comes_last() -> None:
    """The item has neither events nor a text that the model reads.

    It is listed where nothing else is left.
    """
    model = Model.of(ids_alone(), RecommenderSettings(), None)
    (_, found) = catalogues(model, [titled("i01", "i02", "i03", "a-new", "z-new")])
    assert found.is_blank.tolist() == [True, False, False, False, True]
    assert set(listed(ids_alone(), found, "i01")[-2:]) == {"a-new", "z-new"}
    (_, only_new) = catalogues(model, [titled("a-new", "z-new")])
    assert set(listed(ids_alone(), only_new, "a-new")) == {"z-new"}


def test_a_model_with_texts_serves_items_without_titles_by_their_ids() -> None:
    """An empty title, or one that is only the id, is no text.

    The item's own vector still lists it.
    """
    artifact = tiny_models.artifact()
    model = Model.of(artifact, RecommenderSettings(), FakeEncoder(16).encode)
    bare: Step = {"i01": Item(1, "i01", ""), "i02": Item(1, "i02", "i02"), "nobody": Item(1, "nobody", "nobody")}
    (empty, found) = catalogues(model, [bare | titled("i03", "i04")])
    assert not empty.n_items
    rows = [found.row_of[item_id] for item_id in ("i01", "i02", "nobody")]
    assert not found.text_unit[rows].any() and found.text_unit[found.row_of["i03"]].any()
    assert found.is_blank.tolist() == [False, False, False, False, True]
    assert {"i01", "i02"} < set(listed(artifact, found, "i03"))
    assert listed(artifact, found, "i03")[-1] == "nobody"
