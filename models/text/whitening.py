"""Whitening: text embeddings rotated and scaled so that no direction dominates.

An embedding of zeros stands for an item without text. It stays zeros, and takes no part in the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.compiled import row_products
from models.base.types import Float32

#: Directions with less than this share of the largest variance are noise; whitening drops them.
MIN_VARIANCE_SHARE: Final = 1e-6


@dataclass(frozen=True)
class Whitening:
    """A fitted whitening.

    Parameters
    ----------
    mean : (d,) float32
    matrix : (d, k) float32
    """

    mean: Float32
    matrix: Float32

    def apply(self, x: Float32) -> Float32:
        """Return embeddings (n, d) whitened, (n, k) float32; rows of zeros stay zeros.

        A row does not depend on the others.
        """
        whitened: Float32 = row_products(x - self.mean, self.matrix)
        whitened[~x.any(axis=1)] = 0.0
        return whitened


def fit_whitening(x: Float32, dim: int) -> Whitening:
    """Fit a whitening that keeps the ``dim`` directions of greatest variance.

    Where the data has fewer directions, the remaining columns are zero, so the width is always
    ``dim``. Without any text all columns are zero.

    Parameters
    ----------
    x : (n, d) float32; rows of zeros are left out
    dim : columns of the result

    References
    ----------
    Su, Cao, Liu and Ou, Whitening Sentence Representations for Better Semantics and Faster
    Retrieval, 2021.
    """
    x = x[x.any(axis=1)]
    if not len(x):
        return Whitening(np.zeros(x.shape[1], dtype=np.float32), np.zeros((x.shape[1], dim), dtype=np.float32))
    mean = x.mean(axis=0, dtype=np.float64)
    centred = x.astype(np.float64) - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(x))  # ascending
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    # an eigenvector's sign is arbitrary: the largest entry becomes positive, so equal data gives
    # equal arrays
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    is_kept = values > max(float(values[0]) * MIN_VARIANCE_SHARE, 1e-12)
    matrix = np.zeros((x.shape[1], dim))
    matrix[:, : vectors.shape[1]] = np.where(is_kept, vectors / np.sqrt(np.where(is_kept, values, 1.0)), 0.0)
    return Whitening(mean.astype(np.float32), matrix.astype(np.float32))
