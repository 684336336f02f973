"""A model of a table of event types: trained, saved, loaded, and serving windows of any table."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import pytest

from models.artifact.artifact import MANIFEST, Artifact, ArtifactError, load_artifact, save_artifact
from models.base.event_types import event_types
from models.base.types import Behaviour
from models.evaluation.evaluate import Inputs, evaluate
from models.evaluation.splits import time_split
from models.interactions import Interactions
from models.ranking.fallback import WithoutModel
from models.ranking.pipeline import Pipeline, build_catalogue
from streams.recommender.served import strange_types
from tests.support.builders import T0
from tests.support.tiny_models import N_ITEMS, artifact, text_vectors, tiny_log, train_tiny

pytestmark = pytest.mark.model

TYPES = event_types(
    {"收藏": {"weight": 2}, "view": {}, "dislike": {"hides": True}, "rating": {"positive_when": ">= 4"}}
)
ITEMS = [f"i{item:02}" for item in range(N_ITEMS)]
KINDS = ("收藏", "view", "dislike", "rating")


def log() -> Interactions:
    """Return the tiny log with other types: every fourth event is a dislike."""
    plain = tiny_log()
    events = (
        (plain.user_ids[user], plain.item_ids[item], KINDS[n % 4], int(ts), 5.0 if n % 3 else 1.0)
        for n, (user, item, ts) in enumerate(zip(plain.users, plain.items, plain.ts_ms, strict=True))
    )
    return Interactions.from_events(events, TYPES)


@cache
def typed() -> Artifact:
    """Return an artifact of the table."""
    return train_tiny(log())


def window(*kinds: str) -> list[Behaviour]:
    """Return a window over the first items, of these types."""
    return [Behaviour(ITEMS[i], kind, T0 + 1_000 * i) for i, kind in enumerate(kinds)]


def test_an_artifact_names_its_types_and_is_read_again(tmp_path: Path) -> None:
    """Names, weights and signs come back; the default types keep the format before."""
    save_artifact(typed(), tmp_path / "a")
    found = load_artifact(tmp_path / "a")
    assert found.kinds == log().kinds and found.version == typed().version
    assert found.manifest.format == 3 and artifact().manifest.format == 2
    assert found.sequence.type_embedding.weight.shape[0] == len(found.kinds.types) == 5
    assert b"event_types" not in msgspec.json.encode(artifact().manifest)


@pytest.mark.parametrize(
    ("types", "told"),
    [
        ([], "not a manifest"),
        ([{"name": "view"}, {"name": "view"}, {"name": "a"}, {"name": "b"}, {"name": "c"}], "a name twice"),
        ([{"name": name, "positive": False} for name in "abcde"], "no positive type"),
        ([{"name": "view"}], "type_embedding"),
        (None, "format 3: event_types must be there"),
    ],
)
def test_types_that_do_not_fit_are_refused(types: object, told: str, tmp_path: Path) -> None:
    """A damaged manifest never serves."""
    save_artifact(typed(), tmp_path / "a")
    manifest = msgspec.json.decode((tmp_path / "a" / MANIFEST).read_bytes())
    manifest["event_types"] = types
    if types is None:
        del manifest["event_types"]
    (tmp_path / "a" / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ArtifactError, match=told):
        load_artifact(tmp_path / "a")


def test_a_window_of_dislikes_gets_popular_items_and_none_of_them() -> None:
    """What a user did not want brings no candidate, and is in no list."""
    catalogue = build_catalogue(typed(), text_vectors(ITEMS), 1)
    disliked, wished = window("dislike", "not rating", "dislike"), window("view", "收藏", "rating")
    lists = Pipeline(typed(), k=5).recommend(catalogue, [disliked, wished, [*wished, *disliked]])
    assert [one.degraded for one in lists] == ["popular", "none", "none"]
    for one in lists:
        assert not {item.item_id for item in one.items} & set(ITEMS[:3])
        assert {item.because for item in one.items} <= {None, *ITEMS[:3]}
    without = WithoutModel(5, 10, 10, 10.0, 1.0, typed().kinds).lists(
        catalogue, [disliked, wished], [set()] * 2, [None] * 2
    )
    assert [one.degraded for one in without] == ["popular", "mf-only"]


def test_windows_of_another_table_get_lists() -> None:
    """The artifact serves types that it does not know, and says how."""
    deployment = event_types({"view": {}, "buy": {"weight": 5}, "block": {"hides": True}})
    served = artifact().beside(deployment.window_types)
    catalogue = build_catalogue(served, text_vectors(ITEMS), 1)
    known, strange, left_out = (
        Pipeline(served, k=5).recommend(catalogue, [window(*kinds)])[0]
        for kinds in (("view", "view"), ("buy", "not of any table"), ("block", "not rating"))
    )
    assert [item.item_id for item in known.items] != []
    assert left_out.degraded == "popular" and strange.degraded == "none"
    told = strange_types(served.kinds, deployment.window_types)
    assert told == "it does not know some event types: buy count as view; block are left out; train it again"
    assert strange_types(artifact().kinds, artifact().kinds) == ""


def test_an_evaluation_asks_for_wishes_alone() -> None:
    """Targets are positive events, for the pipeline and for every baseline."""
    cases = time_split(log(), 0.8)
    assert cases.log.is_positive[cases.positions].all()
    found = evaluate(Inputs(typed(), text_vectors(ITEMS), baselines=("popularity", "markov1")), cases, seed=1)
    assert {"pipeline", "popularity", "markov1"} <= set(found["models"])
