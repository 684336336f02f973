"""Implicit alternating least squares, weighted on all pairs, regularised by frequency (iALS).

Rendle, Krichene, Zhang and Koren, Revisiting the Performance of iALS on Item Recommendation
Benchmarks, 2021. The objective is::

    sum over observed (u, i) of (1 - x_u'y_i)^2
    + unobserved_weight * sum over all (u, i) of (x_u'y_i)^2
    + regularisation * (sum over u of c_u |x_u|^2  +  sum over i of c_i |y_i|^2)

with ``c_u = (items of u + unobserved_weight * n_items) ^ frequency_exponent``, and ``c_i``
likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.base.types import AnyArray, Bool, Float32, Int64
from models.factors.item_neighbours import interaction_matrix

_Group = tuple[Int64, Int64, Float32 | None]

#: Numbers gathered at a time: 8 MB of float32, about a core's cache.
CHUNK_CELLS: Final = 2_000_000


@dataclass(frozen=True)
class AlsConfig:
    """Sizes and weights of iALS.

    Parameters
    ----------
    dim : factors of a user and of an item
    n_sweeps : each solves all items, then all users
    unobserved_weight : weight of the square score of every pair (alpha_0 in the paper)
    regularisation : of factors (lambda in the paper)
    frequency_exponent : 1 regularises a row in proportion to its data, 0 all rows alike (nu in the
        paper)

    Raises
    ------
    ValueError
        When a value is out of range.
    """

    dim: int = 64
    n_sweeps: int = 16
    unobserved_weight: float = 0.1
    regularisation: float = 0.003
    frequency_exponent: float = 1.0

    def __post_init__(self) -> None:
        for name in ("dim", "n_sweeps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("unobserved_weight", "regularisation"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name}={getattr(self, name)}: must be above 0 and finite, or a solution is not unique"
                )
        if not 0.0 <= self.frequency_exponent <= 1.0:
            raise ValueError(f"frequency_exponent={self.frequency_exponent}: must be from 0 to 1")


@dataclass(frozen=True)
class AlsFactors:
    """Fitted factors; rows without interactions are zeros.

    Parameters
    ----------
    users : (n_users, dim) float32
    items : (n_items, dim) float32
    """

    users: Float32
    items: Float32


def fit_als(
    users: Int64,
    items: Int64,
    n_users: int,
    n_items: int,
    config: AlsConfig,
    seed: int,
    on_sweep: Callable[[int], None] = lambda _sweep: None,
    weights: Float32 | None = None,
) -> AlsFactors:
    """Fit user and item factors to interactions.

    A sweep solves the items first and the users last, so the returned users are the exact solution
    for the returned items, as :func:`fold_in_als` gives it. The start is ``N(0, (0.1 /
    sqrt(dim))^2)``, as in the paper.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction, in any order; a repeated pair counts once
    seed : of the start; the same input and seed give the same factors
    on_sweep : called with the number of each sweep, from 0
    weights : (n,) float32, of the first term of each interaction; of a repeated pair the greatest

    Raises
    ------
    ValueError
        When the arrays differ in length or a row lies outside its range.
    """
    matrix = interaction_matrix(users, items, n_users, n_items, weights)
    is_weighted = weights is not None
    of_users = list(_groups(matrix, config.dim, is_weighted=is_weighted))
    of_items = list(_groups(matrix.T.tocsr(), config.dim, is_weighted=is_weighted))
    start = np.random.default_rng(seed).standard_normal((n_users, config.dim), dtype=np.float32)
    user_factors = start * np.float32(0.1 / config.dim**0.5)
    item_factors = np.zeros((n_items, config.dim), dtype=np.float32)
    for sweep in range(config.n_sweeps):
        _solve_side(item_factors, of_items, user_factors, config)
        _solve_side(user_factors, of_users, item_factors, config)
        on_sweep(sweep)
    return AlsFactors(user_factors, item_factors)


def fold_in_als(
    item_factors: Float32, gram: Float32, rows: Int64, mask: Bool, *, n_items: int, config: AlsConfig
) -> Float32:
    """Return users' factors from their items: the exact solution for fixed item factors.

    Parameters
    ----------
    item_factors : (n, dim) float32
    gram : (dim, dim) float32, ``Y'Y`` of the items that the factors were fitted on
    rows : (n_users, length) int64, each user's items as rows of ``item_factors``; a repeated item
        counts once
    mask : (n_users, length) bool, False for padding
    n_items : number of items that the factors were fitted on; the regularisation depends on it

    Returns
    -------
    (n_users, dim) float32
        Zeros for a user without items.
    """
    missing = len(item_factors)
    held = np.sort(np.where(mask, rows, missing), axis=1)
    held[:, 1:][held[:, 1:] == held[:, :-1]] = missing  # sorting put repeats side by side
    basis = _Basis.of(item_factors, gram, n_items, config)
    result = np.zeros((len(rows), item_factors.shape[1]), dtype=np.float32)
    for part in _chunks(held.shape, basis.factors.shape[1]):
        result[part] = basis.solve(held[part])
    return result


@dataclass(frozen=True)
class _Basis:
    """One side's factors in the basis of their Gram matrix: the cost of all pairs is diagonal.

    The last row of ``factors`` (n + 1, dim) is zeros; padding points at it.
    """

    factors: Float32
    vectors: Float32
    values: AnyArray
    n_fitted: int
    config: AlsConfig

    @classmethod
    def of(cls, factors: Float32, gram: Float32, n_fitted: int, config: AlsConfig) -> _Basis:
        values, vectors = np.linalg.eigh(gram.astype(np.float64))
        rotated = np.zeros((len(factors) + 1, factors.shape[1]), dtype=np.float32)
        rotated[:-1] = factors @ vectors.astype(np.float32)
        return cls(rotated, vectors.astype(np.float32), np.maximum(values, 0.0), n_fitted, config)

    def solve(self, rows: Int64, weights: Float32 | None = None) -> Float32:
        """Return ``x = (Y'Y + D)^-1 Y'1`` per row.

        ``D`` is the diagonal of unobserved pairs and regularisation. With ``Z = Y D^(-1/2)`` this
        is ``D^(-1/2) (Z'Z + I)^-1 Z'1 = D^(-1/2) Z' (ZZ' + I)^-1 1``: a well-conditioned system of
        the size of ``dim`` or of the history, whichever is smaller. Weights ``W`` multiply ``Y``
        and the vector of ones by ``W^(1/2)``.
        """
        config, (n, length), dim = self.config, rows.shape, self.factors.shape[1]
        counts = (rows < len(self.factors) - 1).sum(axis=1)
        frequency = (counts + config.unobserved_weight * self.n_fitted) ** config.frequency_exponent
        diagonal = config.unobserved_weight * self.values + config.regularisation * frequency[:, None]  # [n, dim]
        scale = (diagonal**-0.5).astype(np.float32)
        z = self.factors[rows]  # [n, length, dim]
        z *= scale[:, None]
        wanted = np.ones((n, length, 1), dtype=np.float32) if weights is None else np.sqrt(weights)[..., None]
        if weights is not None:
            z *= wanted
        zt = z.transpose(0, 2, 1)
        if length < dim:
            solved = zt @ np.linalg.solve(
                z @ zt + np.eye(length, dtype=np.float32), wanted
            )  # [n, dim, 1]; padding has weight 1 on a row of zeros
        else:
            right = z.sum(axis=1)[..., None] if weights is None else zt @ wanted
            solved = np.linalg.solve(zt @ z + np.eye(dim, dtype=np.float32), right)
        found: Float32 = (solved[..., 0] * scale) @ self.vectors.T
        return found


def _solve_side(own: Float32, groups: list[_Group], other: Float32, config: AlsConfig) -> None:
    """Replace one side's factors by the exact solution for the other side's."""
    basis = _Basis.of(other, other.T @ other, len(other), config)
    own[:] = 0.0
    for members, rows, weights in groups:
        own[members] = basis.solve(rows, weights)


def _groups(matrix: Any, dim: int, *, is_weighted: bool) -> Iterator[_Group]:
    """Yield rows of a CSR matrix of like length: members (n,), rows and weights (n, length).

    Rows are padded with ``matrix.shape[1]``. Weights are None unless ``is_weighted``.
    """
    lengths = np.diff(matrix.indptr).astype(np.int64)
    padded = _round_up(lengths)
    for length in np.unique(padded[lengths > 0]):
        alike = np.flatnonzero((padded == length) & (lengths > 0))
        for part in _chunks((len(alike), int(length)), dim):
            members = alike[part]
            places = np.arange(length)
            there = places < lengths[members, None]
            rows = np.full((len(members), length), matrix.shape[1], dtype=np.int64)
            entries = (matrix.indptr[members, None] + places)[there]
            rows[there] = matrix.indices[entries]
            weights = None
            if is_weighted:
                weights = np.ones(rows.shape, dtype=np.float32)
                weights[there] = matrix.data[entries]
            yield members, rows, weights


def _round_up(lengths: Int64) -> Int64:
    """Return lengths rounded up to eighths of the next lower power of two.

    There are few such lengths, and padding adds at most an eighth.
    """
    exponent = np.floor(np.log2(np.maximum(lengths, 1))).astype(np.int64)
    step = np.maximum(1 << exponent, 8) // 8
    rounded: Int64 = -(-lengths // step) * step
    return rounded


def _chunks(shape: tuple[int, ...], dim: int) -> Iterator[slice]:
    """Yield slices of the first axis that gather at most :data:`CHUNK_CELLS` numbers."""
    step = max(1, CHUNK_CELLS // max(shape[1] * dim, 1))
    return (slice(start, start + step) for start in range(0, shape[0], step))
