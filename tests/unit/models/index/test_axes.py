"""Vectors on two axes."""

from __future__ import annotations

import numpy as np

from models.index.axes import principal_axes, sampled_rows


def test_the_axes_are_those_in_which_vectors_differ_most() -> None:
    """A cloud that is long in one direction, and less so in another, is turned into these two."""
    chance = np.random.default_rng(1)
    along = np.linalg.qr(chance.normal(size=(8, 8)))[0]
    stretched = chance.normal(size=(4_000, 8)) * [9, 4, 1, 1, 1, 1, 1, 1]
    axes = principal_axes((stretched @ along.T + 3.0).astype(np.float32))
    assert np.abs(axes.directions @ along[:, :2] - np.diag(np.diag(axes.directions @ along[:, :2]))).max() < 0.05
    assert np.allclose(axes.directions @ axes.directions.T, np.eye(2))
    assert abs(axes.shares[0] - 81 / 103) < 0.02 and abs(axes.shares[1] - 16 / 103) < 0.02
    places = axes.places((stretched @ along.T + 3.0).astype(np.float32))
    assert places.shape == (4_000, 2) and abs(places.mean()) < 1e-4 and 8 < places[:, 0].std() < 10
    assert (axes.directions.max(axis=1) >= -axes.directions.min(axis=1)).all()


def test_few_or_equal_vectors_have_no_direction() -> None:
    """Everything then lies in the middle."""
    for vectors in (np.zeros((0, 3)), np.ones((1, 3)), np.ones((5, 3))):
        axes = principal_axes(vectors.astype(np.float32))
        assert axes.shares == (0.0, 0.0)
        assert np.allclose(axes.places(vectors.astype(np.float32)), 0.0, atol=1e-6)


def test_a_sample_stays_when_rows_are_added() -> None:
    """Each row keeps its lot, so a point leaves only for one with a better lot."""
    wanted = np.ones(5_000, dtype=np.bool_)
    wanted[::7] = False
    before = sampled_rows(wanted[:4_500], 300)
    after = sampled_rows(wanted, 300)
    assert len(before) == len(after) == 300 and (np.diff(after) > 0).all() and wanted[after].all()
    assert len(np.intersect1d(before, after)) > 240
    assert sampled_rows(wanted[:100], 300).tolist() == np.flatnonzero(wanted[:100]).tolist()
