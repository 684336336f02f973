"""Lists of users of whom features and follows are known, and of all others beside them."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.artifact.artifact import Artifact, ArtifactError, load_artifact, save_artifact
from models.artifact.manifest import NewcomerWeights
from models.base.types import Float32
from models.features.columns import Row
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.lists import RankedList
from models.ranking.newcomers.histories import FoldIn, followed_of
from models.ranking.newcomers.known import Moments, Newcomers, with_one
from models.ranking.newcomers.social import Followed
from models.ranking.pipeline import Pipeline
from tests.support import tiny_models
from tests.support.tiny_models import N_GROUPS, window

pytestmark = pytest.mark.model

GROUP_1: Row = {"features.group": "g1"}


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of the artifact that learnt of groups."""
    artifact = tiny_models.homophily_artifact()
    nothing = np.zeros(len(artifact.whitening.mean), dtype=np.float32)
    return build_catalogue(artifact, dict.fromkeys(artifact.manifest.item_ids, nothing), generation=1)


@cache
def followed(group: int) -> Followed:
    """Return the followed users of a user of a group."""
    log, artifact = tiny_models.homophily_log(), tiny_models.homophily_artifact()
    manifest = artifact.manifest
    fold_in = FoldIn(manifest.alpha, manifest.regularisation, artifact.sequence.config.max_length)
    users = np.arange(len(log.user_ids), dtype=np.int64)
    row_of = {user_id: row for row, user_id in enumerate(log.user_ids)}
    factors, counts = fold_in.users(artifact.factors.factors, log, users), np.bincount(log.users)
    found = followed_of({"new": [f"u{group + N_GROUPS * i}" for i in range(6)]}, ["new"], row_of, factors, counts)[0]
    assert found is not None
    return found


def of_group(ranked: RankedList, group: int) -> int:
    """Return how many of a list's items are the group's."""
    return sum(int(item.item_id[1:]) % N_GROUPS == group for item in ranked.items)


def weighted(artifact: Artifact, social: float, features: float) -> Artifact:
    """Return the artifact with other weights."""
    learnt = artifact.manifest.newcomers
    assert isinstance(learnt, NewcomerWeights)
    manifest = copy.copy(artifact.manifest)
    manifest.newcomers = msgspec.structs.replace(learnt, social=social, features=features)
    return replace(artifact, manifest=manifest)


def test_features_and_follows_make_a_first_list_that_says_so() -> None:
    """A user without events gets the items of the group, from the sources that tell of it."""
    pipeline = Pipeline(weighted(tiny_models.homophily_artifact(), 4.0, 4.0), k=10)
    rows: list[Row] = [GROUP_1, {}, GROUP_1, {}]
    told, friends, both, nobody = pipeline.recommend(
        catalogue(), [[]] * 4, None, rows, followed=[None, followed(1), followed(1), None]
    )
    assert [one.degraded for one in (told, friends, both, nobody)] == ["newcomer"] * 3 + ["popular"]
    assert of_group(nobody, 1) < 6 < of_group(told, 1) and of_group(friends, 1) > 6 and of_group(both, 1) > 6
    assert any("features" in item.sources for item in told.items)
    assert not any("social" in item.sources for item in told.items)
    assert any("social" in item.sources for item in friends.items)
    assert {"social", "features"} <= {name for item in both.items for name in item.sources}
    for ranked in (told, friends, both):
        assert all(item.sources for item in ranked.items)
        scores = [item.score for item in ranked.items]
        assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.0 + 1e-6


def test_a_source_ranks_what_it_brought() -> None:
    """Ranks are those by the product of expected factors and the item's factors."""
    artifact = weighted(tiny_models.homophily_artifact(), 4.0, 0.0)
    pipeline, shown = Pipeline(artifact, k=30), catalogue()
    newcomers = Newcomers.of(artifact)
    assert newcomers is not None
    known = newcomers.known(None, [followed(2)], 1)
    assert known is not None
    scores = shown.factors @ with_one(known.social.vectors)[0]
    best = {shown.item_ids[row]: place for place, row in enumerate(np.argsort(-scores, kind="stable").tolist(), 1)}
    listed = pipeline.recommend(shown, [[]], None, None, followed=[followed(2)])[0].items
    places = {item.item_id: item.sources["social"] for item in listed if "social" in item.sources}
    assert len(places) > 20
    assert {item_id: place for item_id, (place, _) in places.items()} == {item_id: best[item_id] for item_id in places}
    for item_id, (_, score) in places.items():
        assert score == pytest.approx(float(scores[shown.row_of[item_id]]), abs=1e-5)


def test_what_a_user_has_had_is_never_in_a_first_list() -> None:
    """Removed from follows' candidates as from all others."""
    pipeline = Pipeline(weighted(tiny_models.homophily_artifact(), 4.0, 4.0), k=10)
    first = pipeline.recommend(catalogue(), [[]], None, [GROUP_1], followed=[followed(1)])[0]
    had = {item.item_id for item in first.items[:5]}
    second = pipeline.recommend(catalogue(), [[]], [had], [GROUP_1], followed=[followed(1)])[0]
    assert not had & {item.item_id for item in second.items} and len(second.items) == 10


def test_after_an_event_the_list_is_the_users_own() -> None:
    """A window takes over; what is known stays as a source and moves factors towards it."""
    pipeline = Pipeline(weighted(tiny_models.homophily_artifact(), 4.0, 4.0), k=10)
    alone = pipeline.recommend(catalogue(), [window("i02")])[0]
    told = pipeline.recommend(catalogue(), [window("i02")], None, [GROUP_1], followed=[followed(1)])[0]
    assert told.degraded == "none" and "i02" not in {item.item_id for item in told.items}
    assert {"social", "features"} & {name for item in told.items for name in item.sources}
    np.testing.assert_array_equal(told.factors, alone.factors)  # what is kept is of events alone


def test_lists_of_other_users_do_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside users of whom more is known, and with an artifact that learnt of them, bit for bit."""
    artifact = tiny_models.homophily_artifact()
    windows = [window("i01", "i05"), [], window("i02"), []]
    mixed = Pipeline(artifact, k=10).recommend(
        catalogue(), windows, None, [{}, {}, GROUP_1, GROUP_1], followed=[None, None, followed(1), None]
    )
    monkeypatch.setattr("models.ranking.pipeline.Newcomers.of", lambda _artifact: None)
    plain = Pipeline(artifact, k=10).recommend(catalogue(), windows)
    for i in (0, 1):
        assert mixed[i].items == plain[i].items and mixed[i].degraded == plain[i].degraded
    assert mixed[3].items != plain[3].items


def test_a_list_has_the_same_bits_in_every_batch() -> None:
    """Alone and beside 60 others, with and without a window."""
    pipeline = Pipeline(weighted(tiny_models.homophily_artifact(), 4.0, 2.0), k=10)
    windows = [window(f"i{n % 50:02}") if n % 2 else [] for n in range(60)]
    rows: list[Row] = [{"features.group": f"g{n % 3}"} if n % 4 else {} for n in range(60)]
    friends = [followed(n % N_GROUPS) if n % 5 < 3 else None for n in range(60)]
    together = pipeline.recommend(catalogue(), windows, None, rows, followed=friends)
    for n in (0, 1, 2, 3, 17, 42, 59):
        alone = pipeline.recommend(catalogue(), [windows[n]], None, [rows[n]], followed=[friends[n]])[0]
        assert alone.items == together[n].items and alone.degraded == together[n].degraded


def test_weights_of_zero_leave_popularity() -> None:
    """Where training found that nothing helps, a first list is the popular one."""
    artifact = weighted(tiny_models.homophily_artifact(), 0.0, 0.0)
    found, plain = Pipeline(artifact).recommend(
        catalogue(), [[], []], None, [GROUP_1, {}], followed=[followed(1), None]
    )
    assert Newcomers.of(artifact) is None
    assert found.items == plain.items and found.degraded == "popular"


def test_scores_are_standardised_by_all_items() -> None:
    """The moments give the mean and the deviation of a user's scores without computing these."""
    rng = np.random.default_rng(1)
    items, users = (rng.normal(size=(n, 5)).astype(np.float32) for n in (300, 3))
    users[:, -1] = 1.0
    scores: Float32 = users @ items.T
    found = Moments.of(items).standardised(users, scores)
    expected = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    still = Moments.of(np.ones((4, 5), dtype=np.float32)).standardised(users, np.ones((3, 4), dtype=np.float32))
    assert not still.any()


def test_an_artifact_keeps_what_it_learnt(tmp_path: Path) -> None:
    """Weights and regression come back from the files; the regression alone is refused."""
    folder, artifact = tmp_path / "a", tiny_models.homophily_artifact()
    save_artifact(artifact, folder)
    loaded = load_artifact(folder)
    assert loaded.manifest.newcomers == artifact.manifest.newcomers and loaded.version == artifact.version
    one, two = (Pipeline(a).recommend(catalogue(), [[]], None, [GROUP_1])[0].items for a in (artifact, loaded))
    assert one == two
    plain = msgspec.json.decode((folder / "manifest.json").read_bytes())
    del plain["newcomers"]
    (folder / "manifest.json").write_bytes(msgspec.json.encode(plain))
    with pytest.raises(ArtifactError, match="newcomers"):
        load_artifact(folder)
