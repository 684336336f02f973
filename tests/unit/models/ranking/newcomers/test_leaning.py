"""Lists of users with few events lean on popularity, as far as training found that it helps."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.artifact.artifact import Artifact, ArtifactError, load_artifact, save_artifact
from models.features.columns import Row
from models.ranking.explaining.contributions import LEANING
from models.ranking.explaining.tracing import Trace, traced
from models.ranking.newcomers.known import Known
from models.ranking.newcomers.leaning import lean_weights
from models.ranking.newcomers.priors import Prior
from models.ranking.pipeline import Pipeline
from models.training.leaning import leaning_until
from tests.support import tiny_models
from tests.support.tiny_models import window
from tests.unit.models.ranking.newcomers.test_first_lists import GROUP_1, catalogue, followed, weighted

pytestmark = pytest.mark.model


def learnt() -> Artifact:
    """Return the artifact of groups, whose features and follows have weights."""
    return weighted(tiny_models.homophily_artifact(), 4.0, 4.0)


def test_weights_fall_with_events() -> None:
    """From near 1 to 0 in equal steps; no events are none to lean with."""
    found = lean_weights(np.array([0, 1, 2, 3, 4, 5]), 4.0)
    np.testing.assert_allclose(found, [0.0, 0.75, 0.5, 0.25, 0.0, 0.0])
    np.testing.assert_allclose(lean_weights(np.array([1, 2, 9]), 1.0), 0.0)


def test_one_event_far_from_the_end_leaves_the_popular_list() -> None:
    """And more events leave it; the score stays a probability."""
    shown, far = catalogue(), Pipeline(leaning_until(learnt(), 10_000.0), k=10)
    popular = [shown.item_ids[row] for row in shown.popular_rows[:11].tolist()]
    leant = far.recommend(shown, [window("i01")])[0]
    assert [item.item_id for item in leant.items] == [item_id for item_id in popular if item_id != "i01"][:10]
    assert leant.degraded == "none" and all(0 < item.score < 1 for item in leant.items)
    own = Pipeline(learnt(), k=10).recommend(shown, [window("i01")])[0]
    assert [item.item_id for item in own.items] != [item.item_id for item in leant.items]


def test_a_user_of_whom_more_is_known_does_not_lean() -> None:
    """What is known stands beside the events there, unless it is worth none."""
    shown, far = catalogue(), leaning_until(learnt(), 10_000.0)
    told, own = (
        Pipeline(one, k=10).recommend(shown, [window("i02")], None, [GROUP_1], followed=[followed(1)])[0]
        for one in (far, learnt())
    )
    assert told.items == own.items
    prior = Prior(np.zeros((3, 2), dtype=np.float32), np.array([True, False, True]))
    known, counts = Known(prior, prior, prior), np.array([1, 1, 0])
    np.testing.assert_allclose(lean_weights(counts, 2.0, known, 4.0), [0.0, 0.5, 0.0])
    np.testing.assert_allclose(lean_weights(counts, 2.0, known, 0.0), [0.5, 0.5, 0.0])


def test_longer_windows_and_artifacts_of_before_do_not_change() -> None:
    """Bit for bit: from the number of events on, without events, and without the field."""
    windows = [window("i01", "i05", "i09"), [], window(*(f"i{n:02}" for n in range(9))), window("i01")]
    plain = Pipeline(learnt(), k=10).recommend(catalogue(), windows)
    leant = Pipeline(leaning_until(learnt(), 3.0), k=10).recommend(catalogue(), windows)
    for i in (0, 1, 2):
        assert plain[i].items == leant[i].items
    assert plain[3].items != leant[3].items
    without = Pipeline(leaning_until(learnt(), 0.0), k=10).recommend(catalogue(), windows)
    assert all(one.items == other.items for one, other in zip(plain, without, strict=True))


def test_a_list_that_leans_has_the_same_bits_in_every_batch() -> None:
    """Alone and beside 60 others, of whom more is known or not."""
    pipeline = Pipeline(leaning_until(learnt(), 5.0), k=10)
    windows = [window(*(f"i{n + step:02}" for step in range(n % 7))) for n in range(50)]
    rows: list[Row] = [{"features.group": f"g{n % 3}"} if n % 4 else {} for n in range(50)]
    friends = [followed(n % 4) if n % 5 < 2 else None for n in range(50)]
    together = pipeline.recommend(catalogue(), windows, None, rows, followed=friends)
    for n in (0, 1, 2, 3, 8, 17, 42, 49):
        alone = pipeline.recommend(catalogue(), [windows[n]], None, [rows[n]], followed=[friends[n]])[0]
        assert alone.items == together[n].items


def trace_of(until: float, *item_ids: str) -> Trace:
    """Return the trace of a window in a pipeline that leans."""
    artifact = leaning_until(learnt(), until)
    pipeline = Pipeline(artifact, k=5, n_candidates=100)
    return traced(pipeline, artifact, catalogue(), window(*item_ids), frozenset(), 100)


def test_an_explanation_gives_the_score_and_names_the_leaning() -> None:
    """Within 1e-6 of what is served; its part and the others sum to the logit."""
    trace = trace_of(5.0, "i03", "i09")
    np.testing.assert_allclose(trace.calibrated.probabilities, trace.probabilities, atol=1e-6)
    logits = trace.explainer.logits()
    for column in range(len(trace.rows)):
        fused = trace.explainer.explain(column)
        assert fused.logit == pytest.approx(logits[column], abs=1e-9)
        assert sum(fused.of_group.values()) == pytest.approx(fused.logit - fused.baseline, abs=1e-9)
        assert LEANING in fused.of_group
    parts = [trace.explainer.explain(column).of_group[LEANING] for column in range(len(trace.rows))]
    assert max(parts) > 0.1 > -0.1 > min(parts)


def test_an_explanation_of_a_longer_window_names_none() -> None:
    trace = trace_of(2.0, "i03", "i09")
    assert trace.lean == 0.0 and LEANING not in trace.explainer.explain(0).of_group
    np.testing.assert_allclose(trace.calibrated.probabilities, trace.probabilities, atol=1e-6)


def test_an_artifact_keeps_until_when_lists_lean(tmp_path: Path) -> None:
    """It is part of the version, and a value below 0 is refused."""
    artifact = leaning_until(tiny_models.homophily_artifact(), 5.0)
    save_artifact(artifact, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.manifest.leans_until == 5.0
    assert loaded.version != tiny_models.homophily_artifact().version
    path = tmp_path / "a" / "manifest.json"
    plain = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(plain | {"leans_until": -5.0}))
    with pytest.raises(ArtifactError, match="leans_until"):
        load_artifact(tmp_path / "a")
