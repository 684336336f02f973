"""Training learns which of features and follows help newcomers, on users whom it hides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from msgspec import UNSET

from models.artifact.manifest import NewcomerWeights
from models.training.newcomer_weights import About, hidden_users
from tests.support import tiny_models
from tests.support.tiny_models import HOMOPHILY_PRESET, homophily_data, homophily_follows, train_tiny

pytestmark = pytest.mark.model


def test_sources_that_tell_get_weight() -> None:
    """Where users like what their group likes, features and follows both tell of it."""
    data = homophily_data()
    by_features = train_tiny(data=replace(data, follows={}), preset=HOMOPHILY_PRESET).manifest.newcomers
    by_follows = train_tiny(data=replace(data, user_features={}), preset=HOMOPHILY_PRESET).manifest.newcomers
    assert isinstance(by_features, NewcomerWeights) and isinstance(by_follows, NewcomerWeights)
    assert by_features.features > 0 and by_features.social == 0
    assert by_follows.social > 0 and by_follows.features == 0


def test_sources_that_tell_nothing_get_none() -> None:
    """Follows and features at random do not beat popularity clearly."""
    data, rng = homophily_data(), np.random.default_rng(9)
    ids = list(data.log.user_ids)
    follows = {user_id: rng.choice(ids, 4).tolist() for user_id in ids}
    features = {user_id: {"features.group": f"g{int(rng.integers(4))}"} for user_id in ids}
    artifact = train_tiny(data=replace(data, follows=follows, user_features=features), preset=HOMOPHILY_PRESET)
    found = artifact.manifest.newcomers
    assert isinstance(found, NewcomerWeights) and (found.social, found.features) == (0.0, 0.0)
    assert not [name for name in artifact.tensors if name.startswith("newcomers")]


def test_an_artifact_without_users_is_as_before() -> None:
    """Neither a field nor a tensor, and nobody is hidden where few users are known."""
    assert tiny_models.artifact().manifest.newcomers is UNSET
    data = homophily_data()
    few = {user_id: homophily_follows(data.log.user_ids)[user_id] for user_id in ("u1", "u2")}
    assert (
        train_tiny(data=replace(data, user_features={}, follows=few), preset=HOMOPHILY_PRESET).manifest.newcomers
        is UNSET
    )


def test_hidden_users_are_some_of_those_with_events_and_something_known() -> None:
    """A seeded fifth; another seed hides others."""
    log = tiny_models.homophily_log()
    about = About(
        tiny_models.homophily_artifact().user_features, {}, {f"u{i}": ["u0"] for i in range(100)} | {"x": ["u1"]}
    )
    first, again, other = (hidden_users(log, about, seed) for seed in (1, 1, 2))
    assert len(first) == 20 and np.array_equal(first, again) and not np.array_equal(first, other)
    assert all(log.user_ids[user] in about.follows for user in first)
