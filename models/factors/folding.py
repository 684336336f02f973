"""Fold-in of many users at once, compiled: what ``matrix_factorisation.fold_in`` defines."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.base.compiled import compiled
from models.base.types import Float32, Int64


def folded_in(
    factors: Float32,
    rows: Int64,
    lengths: Int64,
    weights: Float32,
    gram_matrix: Float32,
    *,
    alpha: float,
    regularisation: float,
) -> Float32:
    """Return users' factors and a last entry of 1, (n, dim + 1) float32; zeros without items.

    Parameters
    ----------
    factors : (n_rows, at least dim) float32, the items' factors
    rows : (n, length) int64, each user's items
    lengths : (n,) int64, how many of them count
    weights : (n, length) float32, confidence in each item
    gram_matrix : (dim, dim) float32
    """
    users = np.zeros((len(rows), len(gram_matrix) + 1), dtype=np.float32)
    users[:, -1] = 1.0
    scales = np.float32(alpha), np.float32(regularisation)
    _fold_in(factors, rows, lengths, weights, np.ascontiguousarray(gram_matrix), *scales, users)
    return users


@compiled
def _fold_in(
    factors: Any, rows: Any, lengths: Any, weights: Any, gram: Any, alpha: Any, regularisation: Any, users: Any
) -> None:
    dim = len(gram)
    y_buffer, w_buffer = np.empty(rows.shape[1] * dim, np.float32), np.empty(rows.shape[1] * dim, np.float32)
    left = np.empty((dim, dim), np.float32)
    for i in range(len(lengths)):
        n, x = lengths[i], users[i]
        if n == 0:
            continue
        y, weighted = y_buffer[: n * dim].reshape(n, dim), w_buffer[: n * dim].reshape(n, dim)
        for t in range(n):
            row, scale = rows[i, t], alpha * weights[i, t]
            for j in range(dim):
                value = factors[row, j]
                y[t, j] = value
                weighted[t, j] = scale * value
                x[j] += value + scale * value
        np.dot(weighted.T, y, left)
        for j in range(dim):
            for k in range(dim):
                left[j, k] += gram[j, k]
            left[j, j] += regularisation
        _solve(left, x)


@compiled
def _solve(a: Any, x: Any) -> None:
    """Replace the first entries of x by the solution of ``a y = x``, by Cholesky's factor.

    Parameters
    ----------
    a : (dim, dim) float32, symmetric and positive definite
    """
    dim, lower = len(a), np.linalg.cholesky(a)
    for i in range(dim):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]
    for i in range(dim - 1, -1, -1):
        x[i] /= lower[i, i]
        value = x[i]
        for k in range(i):
            x[k] -= value * lower[i, k]
