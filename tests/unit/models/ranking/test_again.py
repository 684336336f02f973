"""Lists that may hold items of the user's window: which ones, and what fusion is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.artifact.artifact import Artifact
from models.base.experts import EXPERTS, blend_weights, without
from models.base.types import Behaviour, Float32
from models.ranking.candidates import gather
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.pipeline import Pipeline, RankedBatch
from models.rules.repeats import ALL_REPEATS, NO_REPEATS, Repeats, read_repeats
from models.training.train import TrainingOptions
from tests.support import tiny_models

pytestmark = pytest.mark.model

HOUR_MS = 3_600_000
ITEMS = [f"i{row:02}" for row in range(24)]


@cache
def repeating() -> Artifact:
    """Return an artifact whose lists may hold every item that the user had."""
    return tiny_models.train_tiny(options=TrainingOptions(seed=1, repeats=ALL_REPEATS))


@cache
def shown() -> Catalogue:
    return build_catalogue(repeating(), tiny_models.text_vectors(ITEMS), 1)


def behaviours(*events: tuple[str, str, float]) -> list[Behaviour]:
    """Return a window of ``(item, type, hours)``."""
    return [Behaviour(item, kind, tiny_models.T0 + int(hours * HOUR_MS)) for item, kind, hours in events]


def listed(batch: RankedBatch) -> list[set[str]]:
    return [{item.item_id for item in ranked.items} for ranked in batch]


@st.composite
def windows(draw: st.DrawFn) -> list[Behaviour]:
    item, kind = st.sampled_from(ITEMS[:9]), st.sampled_from(["view", "click", "purchase"])
    events = draw(st.lists(st.tuples(item, kind, st.integers(0, 60)), max_size=10))
    return behaviours(*sorted(events, key=lambda event: event[2]))


POLICIES = ["never", "always", "after 10h", "always, purchase=after 30h", "after 5h, click=never", "never, view=always"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(POLICIES), st.booleans())
def test_a_list_holds_no_item_that_the_policy_hides(
    asked: list[list[Behaviour]], text: str, knows_repeats: bool
) -> None:
    """And of a catalogue smaller than a list it holds every other item."""
    policy = read_repeats(text)
    artifact = repeating() if knows_repeats else tiny_models.artifact()
    catalogue = shown() if knows_repeats else tiny_models.catalogue()
    made = Pipeline(artifact, k=24).recommend(catalogue, asked, repeats=policy)
    for window, items in zip(asked, listed(made), strict=True):
        hidden = set()
        for one in window:
            ms = policy.hides_ms(one.type)
            if window[-1].ts_ms - one.ts_ms < ms:
                hidden.add(one.item_id)
        assert items == set(ITEMS) - hidden


def plain_steps(window: Sequence[Behaviour], item: str) -> dict[str, float]:
    """Return what fusion is told of what followed the window's newest items in training."""
    artifact = repeating()
    row_of = {item_id: row for row, item_id in enumerate(artifact.manifest.item_ids)}
    recent = artifact.recent_popularity.astype(np.float64)
    popular = float(recent[row_of[item]] / recent.sum())
    # of the newest item first: how often it was left for another one, and for this one
    steps, to_item, weights = [], [], [1.0, 0.5, 0.25][: len(window)]
    for one in reversed(window[-3:]):
        row = row_of[one.item_id]
        found = dict(zip(artifact.next_rows[row].tolist(), artifact.next_weights[row].tolist(), strict=True))
        steps.append(float(artifact.popularity[row]))
        to_item.append(found.get(row_of[item], 0.0))
    n_all = float(np.dot(weights, steps))
    share_of_all = float(np.dot(weights, to_item)) / sum(weights)
    return {
        "step": float(np.log((steps[0] * to_item[0] + 5 * popular) / (steps[0] + 5) + 1e-4)),
        "trail": float(np.log((n_all * share_of_all + 5 * popular) / (n_all + 5) + 1e-4)),
        "lift": float(np.log((steps[0] * to_item[0] + 0.1) / (steps[0] * popular + 0.1))),
    }


def plain_features(window: Sequence[Behaviour], item: str) -> dict[str, float]:
    """Return what fusion is told of an item and a window, from the definitions."""
    items = [one.item_id for one in window]
    places = [len(items) - t for t, one in enumerate(items) if one == item]
    n_again = sum(one in items[:t] for t, one in enumerate(items))
    found = dict.fromkeys(repeating().manifest.features[15:-1], 0.0)

    def after(n_same: int) -> float:
        total = own = 0.0
        weight = 1.0
        for t in range(len(items) - 2, n_same - 2, -1):
            if items[t - n_same + 1 : t + 1] == items[len(items) - n_same :]:
                total, own = total + weight, own + weight * (items[t + 1] == item)
                weight *= 0.8
        return float(np.log((own / total if total else 0.0) + 1e-3))

    found |= {"again_next": after(1), "again_next_pair": after(2), "again_weight": float(np.log(1e-3))}
    found |= plain_steps(window, item)
    if places:
        newest = window[len(items) - min(places)]
        found |= {
            "again": 1.0,
            "again_count": float(np.log1p(len(places))),
            "again_place": float(np.log(min(places))),
            "again_newest": float(min(places) == 1),
            "again_age": float(np.log1p((window[-1].ts_ms - newest.ts_ms) / 1_000)),
            "again_weight": float(np.log(sum(1 / place for place in places) + 1e-3)),
            "again_habit": n_again / (len(items) - 1) if len(items) > 1 else 0.0,
            f"again as {newest.type}": 1.0,
        }
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(["always", "after 10h", "never"]))
def test_features_of_the_window_are_those_of_the_definitions(asked: list[list[Behaviour]], text: str) -> None:
    artifact = repeating()
    names = artifact.manifest.features
    found = gather(artifact, shown(), asked, None, 100, repeats=read_repeats(text))
    for u, window in enumerate(asked):
        for i in range(found.counts[u] if window else 0):
            row = found.rows[u, i]
            expected = plain_features(window, shown().item_ids[row])
            given_ = dict(zip(names[15:-1], found.features[u, i, 15:-1].tolist(), strict=True))
            assert given_ == pytest.approx(expected, abs=1e-5), (shown().item_ids[row], window)


def plain_blend(found: dict[str, Float32], n: int) -> dict[str, Float32]:
    """Return what each expert says of ``n`` candidates, from the features of all of them."""

    def part(values: Float32, offset: float) -> Float32:
        return np.where(values > np.log(offset) + 1e-4, np.exp(values) - offset, 0.0)

    def whole(values: Float32) -> Float32:
        return values / values.sum() if values.any() else values

    return {
        "step": part(found["step"], 1e-4),
        "trail": part(found["trail"], 1e-4),
        "next": part(found["next_share"], 1e-3),
        "neighbours": whole(part(found["neighbour_score"], 1e-3)),
        "retrieval": np.exp(found["retrieval_share"]),
        "popular": whole(part(found["recent_popularity"], 0.05)),
        "again": whole(part(found["again_weight"], 1e-3)),
        "again_count": whole(np.expm1(found["again_count"])),
        "again_newest": found["again_newest"],
        "again_next": part(found["again_next"], 1e-3),
        "again_next_pair": part(found["again_next_pair"], 1e-3),
        "even": np.full(n, 1.0 / n),
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(["always", "after 10h", "never"]))
def test_the_blend_is_the_weighted_mean_of_what_the_experts_say(asked: list[list[Behaviour]], text: str) -> None:
    artifact = repeating()
    names, blend = artifact.manifest.features, artifact.manifest.blend
    assert names[-1] == "blend"
    assert isinstance(blend, dict)
    assert sum(blend.values()) == pytest.approx(1.0)
    found = gather(artifact, shown(), asked, None, 100, repeats=read_repeats(text))
    for u in range(len(asked)):
        n = int(found.counts[u])
        if n:
            shares = plain_blend(dict(zip(names, found.planes[u, :, :n].astype(np.float64), strict=True)), n)
            mean = sum(weight * shares[name] for name, weight in blend.items())
            np.testing.assert_allclose(found.planes[u, -1, :n], np.log(mean + 1e-6), atol=2e-4)


def test_a_source_that_is_left_out_has_no_say_in_the_blend() -> None:
    """The ablation of an evaluation leaves out a source's experts with its features."""
    weights = blend_weights(dict.fromkeys(EXPERTS, 0.1))
    left = {source: without(weights, source) for source in ("again", "next", "retrieval", "mf")}
    dropped = {
        source: [name for name, w in zip(EXPERTS, found, strict=True) if not w] for source, found in left.items()
    }
    assert dropped["again"] == ["again", "again_count", "again_newest", "again_next", "again_next_pair"]
    assert dropped["next"] == ["step", "trail", "next"]
    assert (dropped["retrieval"], dropped["mf"]) == (["retrieval"], [])


def test_items_of_the_window_are_candidates_of_the_source_again() -> None:
    window = behaviours(("i03", "view", 0), ("i05", "view", 1), ("i03", "click", 2), ("i07", "view", 3))
    made = Pipeline(repeating(), k=24).recommend(shown(), [window])[0]
    again = {item.item_id: item.sources["again"] for item in made.items if "again" in item.sources}
    assert again == {"i07": (1, 1.0), "i03": (2, 2.0), "i05": (3, 1.0)}


def test_an_artifact_that_never_repeats_may_be_told_to() -> None:
    """Its fusion knows nothing of the window, but the window's items may be listed."""
    window = behaviours(("i03", "view", 0), ("i05", "view", 1))
    artifact, catalogue = tiny_models.artifact(), tiny_models.catalogue()
    plain = Pipeline(artifact, k=24).recommend(catalogue, [window])
    told = Pipeline(artifact, k=24).recommend(catalogue, [window], repeats=ALL_REPEATS)
    assert {"i03", "i05"} & listed(plain)[0] == set()
    assert {"i03", "i05"} <= listed(told)[0]
    assert all("again" not in item.sources for item in plain[0].items)


def test_an_artifact_serves_by_the_policy_that_it_was_trained_with() -> None:
    window = behaviours(("i03", "view", 0), ("i05", "view", 1))
    assert {"i03", "i05"} <= listed(Pipeline(repeating(), k=24).recommend(shown(), [window]))[0]
    masked = Pipeline(repeating(), k=24).recommend(shown(), [window], repeats=NO_REPEATS)
    assert {"i03", "i05"} & listed(masked)[0] == set()


def test_extra_seen_items_stay_out_where_all_may_come_back() -> None:
    window = behaviours(("i03", "view", 0), ("i05", "view", 1))
    made = Pipeline(repeating(), k=24).recommend(shown(), [window], [{"i03", "i09"}])
    assert {"i03", "i09"} & listed(made)[0] == set()
    assert "i05" in listed(made)[0]


def test_hidden_rows_of_the_catalogue_do_not_come_back() -> None:
    """An item that is off sale stays in windows and is in no list."""
    catalogue = build_catalogue(repeating(), tiny_models.text_vectors(ITEMS), 1, hidden={"i03"})
    window = behaviours(("i03", "view", 0), ("i05", "view", 1))
    made = Pipeline(repeating(), k=24).recommend(catalogue, [window])
    assert listed(made)[0] == set(ITEMS) - {"i03"}


@pytest.mark.parametrize("policy", [Repeats(), read_repeats("after 3d"), ALL_REPEATS])
def test_an_empty_window_and_no_windows_are_served(policy: Repeats) -> None:
    pipeline = Pipeline(repeating(), k=3)
    assert list(pipeline.recommend(shown(), [], repeats=policy)) == []
    assert pipeline.recommend(shown(), [[]], repeats=policy).lengths.tolist() == [3]
