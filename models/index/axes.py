"""Vectors on two axes, for people: their principal components, and a sample that stays as it is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.base.types import Bool, Float32, Float64, Int64

#: Draws the same rows each time.
SEED = 20_261_201


class Axes(NamedTuple):
    """The two directions in which vectors differ most.

    Parameters
    ----------
    mean : (dim,) float64
    directions : (2, dim) float64, orthogonal, of unit length; zeros where vectors do not differ
    shares : of the variance of the vectors, that along each direction, 0 to 1
    """

    mean: Float64
    directions: Float64
    shares: tuple[float, float]

    def places(self, vectors: Float32) -> Float64:
        """Return where vectors lie on the axes, (n, 2) float64."""
        found: Float64 = (vectors - self.mean) @ self.directions.T
        return found


def principal_axes(vectors: Float32) -> Axes:
    """Return the first two principal components of vectors.

    Each direction points to where its greatest entry is positive, so that equal vectors give equal
    axes.

    Parameters
    ----------
    vectors : (n, dim) float32; fewer than two give axes of zeros

    References
    ----------
    Hotelling, Analysis of a complex of statistical variables into principal components, 1933. From
    the eigenvectors of the covariance, as ``dim`` is much smaller than ``n``.
    """
    dim = vectors.shape[1]
    mean = vectors.mean(axis=0, dtype=np.float64) if len(vectors) else np.zeros(dim)
    directions, shares = np.zeros((2, dim)), [0.0, 0.0]
    if len(vectors) > 1:
        centred = vectors - mean
        values, columns = np.linalg.eigh(centred.T @ centred)
        total = float(values.clip(0).sum())
        for place in range(min(2, dim) if total > 0 else 0):
            axis = columns[:, -1 - place]
            directions[place] = axis * np.sign(axis[np.abs(axis).argmax()])
            shares[place] = max(0.0, float(values[-1 - place])) / total
    return Axes(mean, directions, (shares[0], shares[1]))


def sampled_rows(is_wanted: Bool, n: int) -> Int64:
    """Return at most ``n`` of the wanted rows, drawn by chance, rising, (m,) int64.

    A row's lot does not depend on the other rows: where rows are added, most of the sample stays.

    Parameters
    ----------
    is_wanted : (n_rows,) bool
    """
    rows = np.flatnonzero(is_wanted)
    if len(rows) <= n:
        return rows
    lots = np.random.default_rng(SEED).random(len(is_wanted))[rows]
    return np.sort(rows[np.argpartition(lots, n)[:n]])
