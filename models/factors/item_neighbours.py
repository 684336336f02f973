"""Items that go together: sparse cosine neighbours, and dense weights of a linear autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from models.base.types import Float32, Int64

#: Cells of ``X'X`` computed at a time: bounds the working memory of co-occurrence to about 100 MB.
BLOCK_CELLS: Final = 8_000_000
#: EASE holds one dense n_items x n_items matrix in float32, 0.9 GB at this limit, and its time
#: grows with the cube.
MAX_EASE_ITEMS: Final = 15_000
#: Side of a tile when a symmetric matrix is completed: small beside the matrix, large beside the
#: cost of a step.
TILE: Final = 1_024


def interaction_matrix(users: Int64, items: Int64, n_users: int, n_items: int, weights: Float32 | None = None) -> Any:
    """Return the user-item matrix as scipy CSR (n_users, n_items) of float32: ones, or weights.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction; a repeated pair counts once
    weights : (n,) float32, of each interaction; a repeated pair has its greatest weight, and an
        interaction of weight 0 is left out

    Raises
    ------
    ValueError
        When the arrays differ in length or a row lies outside its range.
    """
    if users.ndim != 1 or users.shape != items.shape:
        raise ValueError(f"users of shape {users.shape}, items of shape {items.shape}: both must be (n,)")
    for name, rows, limit in (("users", users, n_users), ("items", items, n_items)):
        if len(rows) and (rows.min() < 0 or rows.max() >= limit):
            raise ValueError(
                f"{name}: rows {rows.min()} to {rows.max()} must be from 0 to {limit - 1}; pass n_{name} of the log"
            )
    if weights is not None:
        order = np.lexsort((-weights, items, users))
        order = order[weights[order] > 0]
        u, i = users[order], items[order]
        first = np.append(np.ones(min(1, len(u)), dtype=np.bool_), (u[1:] != u[:-1]) | (i[1:] != i[:-1]))
        kept = order[first]
        return sparse.csr_matrix((weights[kept], (users[kept], items[kept])), shape=(n_users, n_items))
    ones = np.ones(len(users), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, (users, items)), shape=(n_users, n_items))
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _co_occurrences(matrix: Any) -> Iterator[tuple[int, Any]]:
    """Yield blocks of ``X'X`` as ``(first item, CSR of the block's rows)``.

    A block has at most :data:`BLOCK_CELLS` cells, which bounds memory.
    """
    by_item = matrix.T.tocsr()
    n_items = by_item.shape[0]
    step = max(1, BLOCK_CELLS // max(n_items, 1))
    for start in range(0, n_items, step):
        yield start, by_item[start : start + step] @ matrix


def item_neighbours(
    users: Int64,
    items: Int64,
    n_items: int,
    n_neighbours: int,
    shrinkage: float = 10.0,
    weights: Float32 | None = None,
) -> tuple[Int64, Float32]:
    """Return each item's most similar items by the cosine of their users.

    ``w_ij = c_ij / sqrt(n_i * n_j) * c_ij / (c_ij + shrinkage)``, where ``c_ij`` users had both
    items and ``n_i`` had ``i``. The first factor is the cosine of Sarwar, Karypis, Konstan and
    Riedl, Item-Based Collaborative Filtering Recommendation Algorithms, 2001. The second factor
    lowers pairs with few users (Bell and Koren, Improved Neighborhood-based Collaborative
    Filtering, 2007).

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction, in any order; a repeated pair counts once
    shrinkage : number of common users at which the cosine is halved; 0 gives the plain cosine
    weights : (n,) float32, of each interaction. With weights, ``c_ij`` is the sum of the products
        of a user's two weights, and ``n_i`` that of the squares

    Returns
    -------
    rows : (n_items, n_neighbours) int64, best first, ties by lower row, -1 where there are fewer,
        never the item itself
    weights : (n_items, n_neighbours) float32, 0 at -1

    Raises
    ------
    ValueError
        When an argument is out of range.
    """
    if n_neighbours < 1:
        raise ValueError(f"n_neighbours={n_neighbours}: must be at least 1")
    if not shrinkage >= 0.0:
        raise ValueError(f"shrinkage={shrinkage}: must be at least 0; 0 gives the plain cosine")
    matrix = interaction_matrix(users, items, int(users.max(initial=-1)) + 1, n_items, weights)
    squares = None if weights is None else matrix.data.astype(np.float64) ** 2
    n_users_of = np.bincount(matrix.indices, weights=squares, minlength=n_items).astype(np.float64)
    rows = np.full((n_items, n_neighbours), -1, dtype=np.int64)
    weights = np.zeros((n_items, n_neighbours), dtype=np.float32)
    for start, block in _co_occurrences(matrix):
        for item in range(start, start + block.shape[0]):
            part = slice(block.indptr[item - start], block.indptr[item - start + 1])
            others, counts = block.indices[part], block.data[part]
            others, counts = others[others != item], counts[others != item]
            cosines = counts / np.sqrt(n_users_of[item] * n_users_of[others])
            best, values = _best(others, (cosines * counts / (counts + shrinkage)).astype(np.float32), n_neighbours)
            rows[item, : len(best)], weights[item, : len(best)] = best, values
    return rows, weights


def _best(rows: Int64, weights: Float32, n: int) -> tuple[Int64, Float32]:
    """Return the ``n`` greatest weights with their rows, in order; ties go to the lower row."""
    if len(rows) > n:
        kept = weights >= np.partition(weights, -n)[-n]  # keeps all ties of the last place
        rows, weights = rows[kept], weights[kept]
    order = np.lexsort((rows, -weights))[:n]
    return rows[order], weights[order]


def ease_refusal(n_items: int) -> str:
    """Return why EASE cannot take so many items, empty where it can.

    The matrix of EASE has a row for each item.
    """
    return f"EASE takes at most {MAX_EASE_ITEMS}" if n_items > MAX_EASE_ITEMS else ""


def ease_weights(users: Int64, items: Int64, n_users: int, n_items: int, regularisation: float) -> Float32:
    """Return the item-to-item weights that best rebuild each user's items from the other items.

    ``B = argmin |X - XB|^2 + regularisation * |B|^2`` with a diagonal of zeros. In closed form
    ``B_ij = -P_ij / P_jj`` with ``P = (X'X + regularisation * I)^-1`` (Steck, Embarrassingly
    Shallow Autoencoders for Sparse Data, 2019, equation 8). A user's scores are the sum of the rows
    of the user's items.

    Parameters
    ----------
    users, items : (n,) int64, rows of each interaction, in any order; a repeated pair counts once
    regularisation : hundreds for dense logs; greater values trust co-occurrence less

    Returns
    -------
    (n_items, n_items) float32

    Raises
    ------
    ValueError
        When there are more than :data:`MAX_EASE_ITEMS` items, an argument is out of range, or
        float32 is not precise enough.

    Notes
    -----
    One dense matrix is inverted in place by its Cholesky factor: ``4 * n_items^2`` bytes and about
    ``n_items^3`` operations.
    """
    if refusal := ease_refusal(n_items):
        raise ValueError(f"n_items={n_items}: {refusal}; keep the most frequent items or use item_neighbours")
    if not 0.0 < regularisation < np.inf:
        raise ValueError(f"regularisation={regularisation}: must be above 0 and finite")
    matrix = interaction_matrix(users, items, n_users, n_items)
    if not n_items:
        return np.zeros((0, 0), dtype=np.float32)
    p = np.empty((n_items, n_items), dtype=np.float32, order="F")  # LAPACK copies any other order
    for start, block in _co_occurrences(matrix):
        # symmetric: a block of rows is one of columns
        p[:, start : start + block.shape[0]] = block.toarray().T
    diagonal = np.einsum("ii->i", p)  # a view
    diagonal += regularisation
    _invert(p)
    weights: Float32 = p.T  # symmetric; now a user's items are contiguous rows
    weights *= -1.0 / diagonal  # by columns
    diagonal[:] = 0.0
    return weights


def _invert(p: Float32) -> None:
    """Replace a symmetric positive definite matrix in Fortran order by its inverse."""
    _, info = lapack.spotrf(p, lower=1, overwrite_a=1, clean=0)
    if not info:
        _, info = lapack.spotri(p, lower=1, overwrite_c=1)
    if info:
        raise ValueError("regularisation: X'X is not positive definite in float32; use a greater one")
    _mirror(p)


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n, TILE):
        for j in range(0, i + 1, TILE):
            yield slice(i, i + TILE), slice(j, j + TILE)


def _mirror(p: Float32) -> None:
    """Copy the lower triangle to the upper one, tile by tile.

    A copy of the whole matrix would double the memory.
    """
    for below, right in _tiles(len(p)):
        tile = p[below, right]
        if below == right:
            p[below, right] = np.tril(tile) + np.tril(tile, -1).T
        else:
            p[right, below] = tile.T
