"""Ablation: a part without influence shows no change; a deciding part shows one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.artifact.artifact import Artifact
from models.base.scalar_features import FEATURES
from models.base.types import Bool
from models.evaluation import ablation
from models.evaluation.ablation import FEATURES_OF, Ablation
from models.fusion import popularity_fusion
from models.metrics.ranking import summarize
from models.ranking.candidates import Candidates, gather
from models.ranking.collecting import POPULAR
from tests.support.tiny_models import artifact, catalogue, window

pytestmark = pytest.mark.model

WINDOWS = [window(f"i{i:02}", f"i{(i + 3) % 24:02}") for i in range(8)]
TARGETS = [f"i{(i + 5) % 24:02}" for i in range(8)]


def popular_artifact() -> Artifact:
    """Return the artifact with a fusion that uses only recent popularity."""
    return replace(artifact(), fusion=popularity_fusion(17, 17))


def found_and_targets() -> tuple[Candidates, Bool]:
    """Return the candidates of the windows, and which of them come next."""
    found = gather(artifact(), catalogue(), WINDOWS, None, 100)
    wanted = np.array([catalogue().row_of[item_id] for item_id in TARGETS])
    return found, (found.rows == wanted[:, None]) & found.valid


def ablated(model: Artifact, n_cases: int = 8, **options: Any) -> dict[str, dict[str, Any]]:
    """Return the summary of all windows, in two batches."""
    found, is_target = found_and_targets()
    run = Ablation(model, n_cases, options.get("seed", 1))
    for part in (slice(0, 3), slice(3, 8)):
        chosen = replace(
            found,
            rows=found.rows[part],
            counts=found.counts[part],
            bits=found.bits[part],
            planes=found.planes[part],
            user_vectors=found.user_vectors[part],
        )
        run.add(part, catalogue(), chosen, [{}] * len(chosen.rows), is_target[part])
    return run.summary()


def test_only_what_decides_changes_anything() -> None:
    """Without recent popularity all candidates tie, and the target is behind 21 others."""
    rows = ablated(popular_artifact())
    unchanged = rows["nothing"]["ndcg@10"]
    assert unchanged > 0
    for name in FEATURES:
        expected = 0.0 if name == "recent_popularity" else unchanged
        assert rows[f"feature {name}"]["ndcg@10"] == pytest.approx(expected), name
    low, high = rows["feature recent_popularity"]["ndcg@10_change_ci"]
    assert low <= high < 0
    assert rows["feature mf_rank"]["ndcg@10_change_ci"] == [0.0, 0.0]
    for what in ("user vector and features", "item vector and features"):
        assert rows[what]["ndcg@10"] == pytest.approx(unchanged)


def test_a_sources_candidates_and_features_go_with_it() -> None:
    """Candidates of another source stay; popular items lose their score here."""
    rows = ablated(popular_artifact())
    for name in FEATURES_OF:
        if name != "popular":
            assert rows[f"source {name}"]["hr@10"] == rows["nothing"]["hr@10"]
    assert rows["source popular"]["hr@10"] == 0.0


def test_a_candidate_of_one_source_is_lost_with_it() -> None:
    """A target brought only by popularity is missed without it."""
    found, is_target = found_and_targets()
    alone = np.where(is_target, found.bits & POPULAR, found.bits)
    run = Ablation(artifact(), 8, 1)
    run.add(slice(0, 8), catalogue(), replace(found, bits=alone), [{}] * 8, is_target)
    rows = run.summary()
    assert rows["source popular"]["mrr@10"] == 0.0
    assert rows["source mf"]["mrr@10"] > 0.0


def test_nothing_is_the_order_of_logits_by_hand() -> None:
    """Ranks count valid candidates, ties before the target; an absent target is missed."""
    found, is_target = found_and_targets()
    is_target[2] = False
    run = Ablation(popular_artifact(), 8, 1)
    run.add(slice(0, 8), catalogue(), found, [{}] * 8, is_target)
    popularity = catalogue().recent_popularity
    ranks = []
    for i, target in enumerate(TARGETS):
        rows = found.rows[i, found.valid[i]]
        own = popularity[catalogue().row_of[target]]
        ranks.append(1_000 if i == 2 else int((popularity[rows] >= own - 1e-6).sum()))
    nothing = run.summary()["nothing"]
    for name, value in summarize(np.array(ranks)).items():
        assert nothing[name] == pytest.approx(value)


def test_a_sample_of_many_cases_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample has at most the limit of cases, fixed by the seed."""
    monkeypatch.setattr(ablation, "MAX_CASES", 2)
    found = [ablated(popular_artifact(), seed=seed) for seed in (1, 1, 2, 3, 4)]
    assert found[0] == found[1]
    assert any(other != found[0] for other in found[2:])
    assert all(len({row["ndcg@10"]} | {0.0}) <= 3 for row in found[0].values())


def test_without_cases_there_is_no_summary() -> None:
    """The summary is empty before the first batch and for batches outside the sample."""
    assert Ablation(artifact(), 0, 1).summary() == {}
