"""The lists that ``evaluate`` judges are those that a deployment must publish, item by item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.artifact.artifact import load_artifact
from models.evaluation.evaluate import Inputs, evaluate
from models.evaluation.splits import Cases, leave_one_out
from models.ranking.lists import RankedBatch
from models.ranking.pipeline import Catalogue, Pipeline
from models.rules.row_rules import Rules
from streams.contract.records import Recommendation
from streams.settings.load import load_settings
from streams.settings.record_limits import WindowBounds
from tests.support import tiny, tiny_models
from tests.support.builders import make_event, make_record
from tests.support.oracle import windows_of
from tools.oracle.expected import ListOracle

pytestmark = pytest.mark.model


def judged(cases: Cases, policy: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """Return the lists that an evaluation judges, scores by item, by user.

    Popularity is the artifact's, as a recommender has it without live popularity.
    """
    artifact = load_artifact(tiny.returning_artifact())
    batches: list[RankedBatch] = []
    real = Pipeline.rank

    def spy(self: Pipeline, *args: Any, **options: Any) -> RankedBatch:
        batches.append(real(self, *args, **options))
        return batches[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "rank", spy)
        patch.setattr(Catalogue, "with_popularity", lambda self, _scores: self)
        evaluate(Inputs(artifact, {}, baselines=(), repeats=Rules.of(policy).repeats), cases, seed=1)
    users = [cases.log.user_ids[user] for user in cases.users.tolist()]
    lists = [{item.item_id: item.score for item in one.items} for batch in batches for one in batch]
    return dict(zip(users, lists, strict=True))


def expected(cases: Cases, policy: str) -> dict[bytes, Recommendation]:
    """Return the lists that the events before the questions lead to, by user."""
    log = cases.train
    records = (
        make_record(
            make_event(f"e{position}", one.ts_ms, user_id=log.user_ids[log.users[position]], item_id=one.item_id),
            position,
        )
        for position in range(len(log))
        for one in [log.behaviour(position)]
    )
    max_length = tiny_models.PRESET.sequence.max_length
    windows = windows_of(records, WindowBounds(max_events=max_length), max_future_skew_ms=1_000).windows
    settings = load_settings({}).recommender
    return ListOracle(tiny.returning_artifact(), [], settings, rules=Rules.of(policy)).lists(windows)


@pytest.mark.parametrize("words", ["never", "after 3d", "always"])
def test_an_evaluation_judges_the_lists_that_must_be_published(
    words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    policy = f'[repeats]\ndefault = "{words}"\n'
    cases = leave_one_out(tiny_models.returning_log())
    found = judged(cases, policy, monkeypatch)
    wanted = expected(cases, policy)
    assert found.keys() == {key.decode() for key in wanted}
    for key, made in wanted.items():
        scores = {item.item_id: item.score for item in made.items}
        assert found[key.decode()] == pytest.approx(scores, rel=1e-5), (key, words)
        assert list(found[key.decode()]) == [item.item_id for item in made.items]
    had = {
        cases.log.user_ids[u]: {cases.log.item_ids[i] for i in cases.log.items[cases.log.users == u]}
        for u in np.unique(cases.users)
    }
    n_again = sum(bool(scores.keys() & had[user]) for user, scores in found.items())
    assert (n_again == 0) == (words == "never"), n_again
