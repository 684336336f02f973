"""Cases for fusion: in time order, with past popularity and the next item's place."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Float32
from models.interactions import Interactions, windows_before
from models.ranking.candidates import gather, user_side
from models.ranking.catalogue import Catalogue, build_catalogue
from models.training import fusion_cases as fusion_training
from models.training.fusion_cases import best_threshold, collect, measure, questions
from tests.support.tiny_models import (
    artifact,
    catalogue,
    featured_artifact,
    featured_data,
    tiny_log,
    user_features,
)

pytestmark = pytest.mark.model

POSITIONS = [40, 90, 91, 200, 300, 359]


@pytest.fixture(autouse=True)
def trained() -> None:
    """Train the artifacts that tests share before a test patches how training asks."""
    catalogue()
    featured_artifact()


def asked(log: Interactions, positions: list[int], shown: Catalogue | None = None) -> list[fusion_training.Questions]:
    """Return the questions of a log."""
    return list(questions(shown or catalogue(), log, positions, 10, user_features(log.user_ids)))


def changed_from(log: Interactions, position: int) -> Interactions:
    """Return the log with every item from a position on replaced by one item."""
    items = log.items.copy()
    items[position:] = 7
    return Interactions(log.user_ids, log.item_ids, log.users, items, log.types, log.ts_ms)


def test_popularity_counts_earlier_events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch's popularity depends on events before its first question only."""
    monkeypatch.setattr(fusion_training, "BATCH", 2)
    log = tiny_log()
    before = asked(log, POSITIONS)
    assert [batch.n_done for batch in before] == [2, 4, 6]
    for number, first in enumerate((40, 91, 300)):
        for start, is_equal in ((first, True), (first - 3, False)):
            after = asked(changed_from(log, start), POSITIONS)[number].catalogue
            same = np.array_equal(after.recent_popularity, before[number].catalogue.recent_popularity)
            assert same == is_equal


def test_popularity_is_that_of_the_log_by_hand() -> None:
    """Popularity by hand: no earlier event is last, most decayed events first."""
    log = tiny_log()
    (batch,) = asked(log, [30, 35])
    ages = (log.ts_ms[30] - log.ts_ms[:30]) / (7 * 86_400_000)
    counts = np.bincount(log.items[:30], weights=0.5**ages, minlength=24)
    rows = [log.item_ids.index(item_id) for item_id in batch.catalogue.item_ids]
    assert counts[rows[batch.catalogue.popular_rows[0]]] == pytest.approx(counts.max())
    ordered = counts[rows][batch.catalogue.popular_rows]
    assert (np.diff(ordered) <= 1e-9).all()


def test_questions_hold_window_history_target_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the same event, in time order."""
    monkeypatch.setattr(fusion_training, "BATCH", 4)
    log = tiny_log()
    batches = asked(log, POSITIONS)
    windows, seen, targets = windows_before(log, POSITIONS, 10)
    assert [window for batch in batches for window in batch.windows] == windows
    assert [had for batch in batches for had in batch.seen] == seen
    assert [target for batch in batches for target in batch.targets] == targets
    users = [row for batch in batches for row in batch.users]
    assert users == [user_features(log.user_ids)[log.user_ids[log.users[p]]] for p in POSITIONS]


def test_cases_are_what_serving_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded to one width, users and items with their features, and the target's own column."""
    monkeypatch.setattr(fusion_training, "BATCH", 2)
    data, model = featured_data(), featured_artifact()
    shown = build_catalogue(model, data.vectors, 0, features=data.item_features)
    told: list[int] = []
    found = collect(model, iter(asked(data.log, POSITIONS, shown)), told.append)
    assert found is not None
    assert told == [2, 4, 6]
    assert found.users.shape == (6, 16 + 1 + 1)
    assert found.items.shape == (24, 16 + 1 + 3)
    row = 0
    for batch in asked(data.log, POSITIONS, shown):
        served = gather(model, batch.catalogue, batch.windows, batch.seen, 100)
        np.testing.assert_allclose(
            found.users[row : row + 2], user_side(model, served.user_vectors, batch.users), atol=1e-6
        )
        for i, target in enumerate(batch.targets):
            width = served.rows.shape[1]
            np.testing.assert_array_equal(found.rows[row, :width], served.rows[i])
            np.testing.assert_array_equal(found.valid[row, :width], served.valid[i])
            assert not found.valid[row, width:].any()
            np.testing.assert_allclose(found.features[row, :width], served.features[i], atol=1e-6)
            column = int(found.targets[row])
            if target in batch.seen[i]:
                assert column == -1
            else:
                assert shown.item_ids[int(found.rows[row, column])] == target
                assert bool(found.valid[row, column])
            row += 1


def test_a_target_that_is_no_candidate_is_marked() -> None:
    """An item that the catalogue lacks, and one that the user has had."""
    log = tiny_log()
    shown = build_catalogue(artifact(), {i: np.ones(16, dtype=np.float32) for i in ("i00", "i01")}, 0)
    found = collect(artifact(), iter(asked(log, POSITIONS, shown)))
    assert found is not None
    _, seen, targets = windows_before(log, POSITIONS, 10)
    expected = [target in ("i00", "i01") and target not in had for target, had in zip(targets, seen, strict=True)]
    assert (found.targets >= 0).tolist() == expected


def test_no_questions_are_no_error() -> None:
    """Neither cases nor metrics."""
    assert collect(artifact(), iter(asked(tiny_log(), []))) is None
    assert measure(artifact(), iter(asked(tiny_log(), []))) == {}


def test_metrics_of_the_served_lists_beside_popularity() -> None:
    """Counted, within their limits, and those of popularity by hand."""
    log = tiny_log()
    positions = list(range(300, 360))
    found = measure(artifact(), iter(asked(log, positions)))
    assert found["n"] == 60
    assert all(0 <= value <= 1 for name, value in found.items() if name != "n")
    hits = 0
    for batch in asked(log, positions):
        for had, target in zip(batch.seen, batch.targets, strict=True):
            ranked = [batch.catalogue.item_ids[row] for row in batch.catalogue.popular_rows]
            hits += target in [item for item in ranked if item not in had][:10]
    assert found["recent_popularity_hr@10"] == pytest.approx(hits / 60)


@pytest.mark.parametrize(
    ("probabilities", "labels", "expected"),
    [
        ([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0], 0.8),
        ([0.9, 0.8, 0.3, 0.1], [0, 0, 0, 1], 0.1),
        ([0.5, 0.5, 0.2], [1, 0, 0], 0.5),
        ([0.6, 0.2], [0, 0], 0.5),
        ([], [], 0.5),
    ],
)
def test_the_best_threshold_by_hand(probabilities: list[float], labels: list[int], expected: float) -> None:
    """The greatest F1 by hand; ties are decided alike; 0.5 without a positive."""
    p: Float32 = np.array(probabilities, dtype=np.float32)
    assert best_threshold(p, np.array(labels, dtype=bool)) == pytest.approx(expected)
