"""The followed users of an evaluation are as serving knew them at the time."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from models.evaluation.evaluate import Inputs, evaluate
from models.evaluation.followed import FollowedBefore
from models.evaluation.splits import time_split
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.pipeline import Pipeline
from tests.support.tiny_models import homophily_artifact, homophily_features, homophily_follows, homophily_log

pytestmark = pytest.mark.model


@cache
def catalogue() -> Catalogue:
    """Return the catalogue of the log."""
    artifact = homophily_artifact()
    nothing = np.zeros(len(artifact.whitening.mean), dtype=np.float32)
    return build_catalogue(artifact, dict.fromkeys(artifact.manifest.item_ids, nothing), generation=1)


def test_only_events_before_the_question_count() -> None:
    """Factors are those that the pipeline gives a window of the events before."""
    log, artifact, shown = homophily_log(), homophily_artifact(), catalogue()
    rows = shown.rows_of(log.item_ids)
    before = FollowedBefore(artifact, shown, log, {"u0": ["u4", "u8", "stranger", "u0"]}, rows)
    position = len(log) // 3
    found = before.of(["u0", "u1"], position)
    assert found is not None and found[1] is None and found[0] is not None
    windows = [
        [log.behaviour(at) for at in range(position) if log.user_ids[log.users[at]] == user_id]
        for user_id in ("u4", "u8")
    ]
    lists = Pipeline(artifact).recommend(shown, windows)
    np.testing.assert_allclose(found[0].factors, lists.factors, atol=1e-5)
    assert found[0].n_events.tolist() == [len(window) for window in windows]
    assert before.of(["u0"], 0) == [None]
    assert FollowedBefore(artifact, shown, log, {}, rows).of(["u0"], position) is None


def test_an_evaluation_takes_features_and_follows() -> None:
    """Users without events before the split gain, as their lists do when they are served."""
    log = homophily_log()
    cases = time_split(log, 0.6)
    ids = log.user_ids
    plain = Inputs(homophily_artifact(), {}, baselines=())
    told = Inputs(homophily_artifact(), {}, {}, homophily_features(ids), homophily_follows(ids), baselines=())
    one, other = (evaluate(each, cases, seed=1)["models"]["pipeline"]["ndcg@10"] for each in (plain, told))
    assert other > one
