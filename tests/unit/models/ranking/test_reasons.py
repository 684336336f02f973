"""Reasons of listed items: ranks by hand, small and large catalogues, padding."""

from __future__ import annotations

import numpy as np
import pytest

from models.base.types import Float32, Int64
from models.ranking.catalogue import nearest as module
from models.ranking.catalogue.nearest import N_NEAREST, NearestItems
from models.ranking.catalogue.parts import unit_rows
from models.ranking.reasons import reasons

pytestmark = pytest.mark.model

NO_TABLE = np.full((200, 3), -1, dtype=np.int64)


def circle(n: int) -> Float32:
    """Return unit vectors on a half circle: an item's nearest are those with the next numbers."""
    angles = np.linspace(0.0, np.pi, n)
    return np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def reason(nearest: NearestItems, listed: int, window: list[int], table: Int64 = NO_TABLE) -> int:
    """Return the reason for one item."""
    rows, lengths = np.array([window], dtype=np.int64), np.array([len(window)], dtype=np.int64)
    trained = np.arange(200)
    return int(reasons(nearest, (table, NO_TABLE), trained, np.array([[listed]], dtype=np.int64), rows, lengths)[0, 0])


@pytest.mark.parametrize(("distance", "expected"), [(1, 100), (5, 100), (6, -1), (37, -1)])
def test_an_item_pulls_its_ten_nearest_in_and_no_other(distance: int, expected: int) -> None:
    """On the circle the ten nearest are five on each side."""
    nearest = NearestItems(circle(200))
    assert reason(nearest, 100 + distance, [100]) == expected
    assert reason(nearest, 100 - distance, [100]) == expected


@pytest.mark.parametrize(("n_items", "n_near"), [(4, 1), (10, 1), (24, 3), (100, 10), (200, 10)])
def test_near_is_a_tenth_of_a_small_catalogue(n_items: int, n_near: int) -> None:
    """Near are at least one and at most ten items."""
    nearest = NearestItems(circle(n_items))
    assert sum(reason(nearest, i, [0]) == 0 for i in range(1, n_items)) == n_near


def test_the_one_to_which_the_item_is_nearest_is_the_reason() -> None:
    """The smallest rank wins in any table; of equal ranks the greater cosine."""
    nearest = NearestItems(circle(200))
    assert reason(nearest, 100, [97, 102, 104, 10]) == 102
    table = NO_TABLE.copy()
    table[10, 1] = 100
    # second of its table, fifth or sixth by cosine
    assert reason(nearest, 100, [97, 10], table) == 10
    table[10, :] = 7, 8, 9
    assert reason(nearest, 100, [97, 10], table) == 97
    assert reason(nearest, 100, [10], table) == -1


def test_tables_count_as_far_as_ranks_do() -> None:
    """An eleventh entry of a table is no reason, as by cosine; -1 is no item."""
    table = np.full((200, 32), -1, dtype=np.int64)
    table[10, N_NEAREST - 1 : N_NEAREST + 1] = 100, 101
    nearest = NearestItems(circle(200))
    assert reason(nearest, 100, [10], table) == 10
    assert reason(nearest, 101, [10], table) == -1


def test_what_points_away_or_nowhere_is_no_reason() -> None:
    """An item without a vector has no reasons, nor does one that all others oppose."""
    nearest = NearestItems(np.array([[1, 0], [-1, 0], [0, 0]], dtype=np.float32))
    assert [reason(nearest, listed, [window]) for listed, window in ((1, 0), (2, 0), (0, 2))] == [-1, -1, -1]
    assert reason(NearestItems(circle(1)), 0, [0]) in (-1, 0)


def test_padding_is_no_reason_and_batches_do_not_matter() -> None:
    """A user's reasons do not depend on the batch or its order."""
    rng = np.random.default_rng(2)
    unit = unit_rows(rng.normal(size=(300, 8)).astype(np.float32))
    tables = rng.integers(-1, 300, size=(2, 300, 12))
    lengths = rng.integers(0, 20, size=40)
    window, trained = rng.integers(300, size=(40, 20)), np.arange(300)
    listed = np.stack([rng.permutation(300)[:10] for _ in range(40)])
    table = tables[0], tables[1]
    together = reasons(NearestItems(unit), table, trained, listed, window, lengths)
    assert 0.05 < (together >= 0).mean() < 0.95
    backwards = NearestItems(unit)
    for user in reversed(range(40)):
        alone = reasons(backwards, table, trained, listed[[user]], window[[user]], lengths[[user]])[0]
        assert alone.tolist() == together[user].tolist()
        assert set(alone.tolist()) <= {-1, *window[user, : lengths[user]].tolist()}
    others = np.where(np.arange(20) < lengths[:, None], window, 299 - window)
    assert (reasons(NearestItems(unit), table, trained, listed, others, lengths) == together).all()


def test_a_large_catalogue_is_judged_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """About ten items are near, whether or not an item is in the sample."""
    monkeypatch.setattr(module, "SAMPLE", 1_000)
    unit = unit_rows(np.random.default_rng(3).normal(size=(5_000, 16)).astype(np.float32))
    nearest = NearestItems(unit)
    rows = np.arange(100, dtype=np.int64)
    cosines = unit[rows] @ unit.T
    cosines[rows, rows] = -1.0
    kept = nearest.cosines_of(rows)[rows]
    is_near = (kept[:, None] > cosines[:, :, None] + module.TOLERANCE).sum(axis=2) < kept.shape[1]
    assert 7 <= is_near.sum(axis=1).mean() <= 13
    rank = (cosines[:, :, None] < np.sort(cosines, axis=1)[:, None, -40:]).sum(axis=2)
    assert (rank[is_near] < 40).mean() > 0.99


def test_a_bound_from_a_part_of_the_sample_changes_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """In full they are computed only where a listed item may be near."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(50, 8))
    unit = unit_rows((centres[rng.integers(50, size=3_000)] + 0.3 * rng.normal(size=(3_000, 8))).astype(np.float32))
    window, lengths = rng.integers(3_000, size=(200, 20)), rng.integers(1, 21, size=200)
    listed, trained = rng.integers(-1, 3_000, size=(200, 10)), np.full(3_000, -1, dtype=np.int64)
    table = np.full((1, 1), -1, dtype=np.int64)
    for sample in (3_000, 500, 4):
        monkeypatch.setattr(module, "SAMPLE", sample)
        bounded, full = NearestItems(unit), NearestItems(unit)
        full.cosines_of(np.arange(3_000))
        found = [reasons(nearest, (table, table), trained, listed, window, lengths) for nearest in (bounded, full)]
        assert (found[0] == found[1]).all() and (found[0] >= 0).any()
        asked = np.unique(window)
        if sample > 4:
            assert (bounded.cosines_of(asked[:0]) < full.cosines_of(asked[:0])).any()  # bounds were enough for some
        moved = bounded.moved(unit[::-1].copy(), np.arange(3_000)[::-1])
        mirrored = np.where(listed < 0, -1, 2_999 - listed)
        again = reasons(moved, (table, table), trained, mirrored, 2_999 - window, lengths)
        assert (np.where(again < 0, -1, 2_999 - again) == found[1]).all()
