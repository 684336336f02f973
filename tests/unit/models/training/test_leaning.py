"""Training learns until how many events lists lean on popularity, on users whom it hides."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.base.scalar_features import FEATURES
from models.fusion import popularity_fusion
from models.interactions import Interactions
from models.ranking.catalogue import Catalogue, build_catalogue
from models.training.clear_gain import clearly_best
from models.training.leaning import UNTIL, best_until, gains_of, hidden_users
from models.training.train import NO_TEXT, TrainingData, TrainingOptions
from tests.support import tiny_models
from tests.support.tiny_models import HOMOPHILY_PRESET, homophily_log, train_tiny

pytestmark = pytest.mark.model

WITHOUT_TIMES = TrainingOptions(cut="last", is_ordered=False)


@cache
def alike_log() -> Interactions:
    """Return users who all like the same items, some items much more than others."""
    rng = np.random.default_rng(2)
    rows = [
        (f"u{user}", f"i{item:02}", "view", 0)
        for user in range(160)
        for item in range(60)
        if rng.random() < 0.9 / (1 + item / 6)
    ]
    return Interactions.from_rows([rows[at] for at in rng.permutation(len(rows)).tolist()])


def ranking_by(feature: str, sign: float) -> Artifact:
    """Return an artifact of those users that ranks by one feature, or by its opposite."""
    artifact = replace(tiny_artifact())
    widths = artifact.fusion.user_projection.in_features, artifact.fusion.item_projection.in_features
    fusion = popularity_fusion(*widths)
    with torch.no_grad():
        fusion.shortcut.weight[0] = 0.0
        fusion.shortcut.weight[0, FEATURES.index(feature)] = sign
    return replace(artifact, fusion=fusion)


@cache
def tiny_artifact() -> Artifact:
    """Return an artifact of those users."""
    return train_tiny(data=TrainingData(alike_log(), {}, NO_TEXT), preset=HOMOPHILY_PRESET, options=WITHOUT_TIMES)


@cache
def shown() -> Catalogue:
    """Return its catalogue."""
    nothing = np.zeros(len(tiny_artifact().whitening.mean), dtype=np.float32)
    return build_catalogue(tiny_artifact(), dict.fromkeys(alike_log().item_ids, nothing), 0)


def test_lists_lean_longest_where_events_mislead() -> None:
    """A network that ranks rare items first gives way as long as it may, to the gain of all."""
    artifact, hidden = ranking_by("recent_popularity", -1.0), hidden_users(alike_log(), 1)
    gains = gains_of(artifact, shown(), alike_log(), hidden, 1)
    assert tuple(gains) == UNTIL and not gains[0.0].any()
    assert gains[20.0].mean() > gains[2.0].mean() + 0.1 > 0.1
    assert best_until(artifact, shown(), alike_log(), hidden, 1) == UNTIL[-1]


def test_lists_do_not_lean_where_events_tell_what_popularity_does() -> None:
    """A network that ranks by popularity gains nothing."""
    hidden = hidden_users(alike_log(), 1)
    assert best_until(ranking_by("recent_popularity", 1.0), shown(), alike_log(), hidden, 1) == 0.0


def test_a_gain_by_chance_is_not_clear() -> None:
    """The best of many settings for some users must be good for the others, too."""
    rng = np.random.default_rng(3)
    chance = {n: rng.normal(size=200).astype(np.float32) for n in range(1, 40)} | {0: np.zeros(200, dtype=np.float32)}
    assert max(values.mean() for values in chance.values()) > 0.1
    assert clearly_best(chance, 0) == 0
    assert clearly_best(chance | {50: np.full(200, 0.5, dtype=np.float32)}, 0) == 50
    assert clearly_best({0: np.zeros(0, dtype=np.float32), 1: np.zeros(0, dtype=np.float32)}, 0) == 0


def test_training_writes_what_it_learnt_into_the_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of users whose events the parts that are judged do not know."""
    seen: list[tuple[Artifact, Interactions, np.ndarray]] = []

    def found(artifact: Artifact, _catalogue: Catalogue, log: Interactions, hidden: np.ndarray, _seed: int) -> float:
        seen.append((artifact, log, hidden))
        return 5.0

    monkeypatch.setattr("models.training.train.best_until", found)
    data = TrainingData(alike_log(), {}, NO_TEXT)
    artifact = train_tiny(data=data, preset=HOMOPHILY_PRESET, options=WITHOUT_TIMES)
    assert artifact.manifest.leans_until == 5.0
    judged, log, hidden = seen[0]
    rest = log.where(~np.isin(log.users, hidden))
    assert len(hidden) == 32 and np.array_equal(judged.popularity, np.bincount(rest.items, minlength=len(log.item_ids)))


def test_a_log_with_times_teaches_short_windows_as_they_were() -> None:
    """No list of such an artifact leans, nor one of too few users."""
    assert tiny_models.homophily_artifact().manifest.leans_until is UNSET
    assert not len(hidden_users(homophily_log(n_users=40), 1))
    few = TrainingData(homophily_log(n_users=40), {}, NO_TEXT)
    assert train_tiny(data=few, preset=HOMOPHILY_PRESET, options=WITHOUT_TIMES).manifest.leans_until is UNSET
