"""The evaluation of users without events: nothing leaks, and helpful sources win."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from models.artifact.artifact import Artifact
from models.evaluation.newcomers import REVEALED, Asked, NewcomerData, evaluate_newcomers, hidden_users
from tests.support.tiny_models import HOMOPHILY_PRESET, homophily_data, homophily_log, train_tiny

pytestmark = pytest.mark.model


@cache
def data() -> NewcomerData:
    """Return users of four groups, a fifth of them hidden."""
    whole = homophily_data()
    return NewcomerData(whole.log, whole.user_features, whole.follows, hidden_users(whole.log, 1))


@cache
def artifact() -> Artifact:
    """Return an artifact of the others."""
    whole = homophily_data()
    return train_tiny(data=replace(whole, log=data().rest), preset=HOMOPHILY_PRESET)


@cache
def found() -> dict[str, Any]:
    """Return the evaluation."""
    return evaluate_newcomers(data(), artifact(), 1)


def test_first_lists_beat_popularity_where_features_and_follows_tell() -> None:
    """Clearly so, and the users' first lists say what they stand on."""
    ndcg = {name: one["ndcg@10"] for name, one in found()["unseen"].items()}
    assert ndcg["served"] > ndcg["popularity"] + 0.15
    assert ndcg["events alone"] == ndcg["popularity"]
    gain, error = found()["gain"]
    assert gain == pytest.approx(ndcg["served"] - ndcg["popularity"], abs=1e-6) and gain > error > 0
    assert found()["sources"] == found()["users"] == 32


def test_all_points_of_the_curve_ask_the_same() -> None:
    """Popularity is the same at each point, and events help."""
    curve = found()["curve"]
    assert tuple(curve) == REVEALED
    assert len({one["popularity"]["ndcg@10"] for one in curve.values()}) == 1
    assert curve[0]["served"]["ndcg@10"] > curve[0]["events alone"]["ndcg@10"]


def test_what_hidden_users_did_changes_no_first_list() -> None:
    """Other items of the hidden users change neither the artifact nor their first lists."""
    log = data().log
    is_hidden = np.isin(log.users, data().hidden)
    items = np.where(is_hidden, (log.items + 7) % len(log.item_ids), log.items)
    changed = replace(data(), log=replace(log, items=items))
    nothing = [np.zeros(0, dtype=np.int64)] * len(data().hidden)
    one, other = (Asked.of(each, artifact(), 1).lists(nothing, nothing) for each in (data(), changed))
    assert np.array_equal(one.rows, other.rows)


def test_too_few_users_are_named() -> None:
    """Nobody can be hidden of one."""
    with pytest.raises(ValueError, match="users with events: 1"):
        hidden_users(homophily_log(n_users=1), 1)
