"""The features by which fusion ranks candidates, and where the sources place them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.fusion import FEATURES
from models.ranking.catalogue import Catalogue
from models.sequence.model import PackedWindows


class Counts(NamedTuple):
    """Scores of each candidate from item-to-item tables, (n, c) float32 each."""

    last: Float32
    following: Float32
    neighbouring: Float32


def features_of(
    catalogue: Catalogue,
    packed: PackedWindows,
    rows: Int64,
    valid: Bool,
    vectors: Float32,
    mf_users: Float32,
    counts: Counts,
) -> Float32:
    """Return the features of candidates, (n, c, len(FEATURES)) float32.

    Parameters
    ----------
    rows, valid : (n, c), as in ``models.ranking.candidates.Candidates``
    vectors : (n, dim + 1) float32, the last entry is 1
    mf_users : (n, f + 1) float32, the last entry is 1
    """
    retrieval, similarity = _vector_products(catalogue, packed, rows, vectors)
    mf = np.matmul(catalogue.factors[rows], mf_users[:, :, None])[..., 0]
    text_similarity, newest_text_similarity = _text_products(catalogue, packed, rows)
    by_name = {
        "retrieval_score": retrieval,
        "retrieval_share": _log_shares(retrieval, valid),
        "retrieval_rank": np.log1p(_ranks(retrieval, valid)),
        "mf_logit": mf,
        "mf_rank": np.log1p(_ranks(mf, valid)),
        "next_share": np.log(counts.last + 1e-3),
        "next_score": np.log(counts.following + 1e-3),
        "neighbour_score": np.log(counts.neighbouring + 1e-3),
        "recent_popularity": catalogue.recent_popularity[rows],
        "popularity": catalogue.popularity[rows],
        "similarity": similarity,
        "text_similarity": text_similarity,
        "newest_text_similarity": newest_text_similarity,
        "is_new": catalogue.is_new[rows],
        "window_length": np.log1p(packed.lengths)[:, None],
    }
    # a feature's values side by side
    planes = np.empty((len(FEATURES), *rows.shape), dtype=np.float32)
    for plane, name in zip(planes, FEATURES, strict=True):
        plane[:] = by_name[name]
    return planes.transpose(1, 2, 0)


def places_of(scores: Float32, valid: Bool, columns: Int64) -> Int64:
    """Return the places of some candidates by falling score, (n, k) int64 from 1.

    Ties keep the order of the columns. Of a candidate that is not valid the place means nothing.

    Parameters
    ----------
    scores, valid : (n, c)
    columns : (n, k) int64
    """
    known = np.where(valid, scores, -np.inf)[:, None, :]  # [n, 1, c]
    own = np.take_along_axis(scores, columns, axis=1)[:, :, None]  # [n, k, 1]
    is_before = np.arange(scores.shape[1]) < columns[:, :, None]
    places: Int64 = 1 + ((known > own) | ((known == own) & is_before)).sum(axis=2)
    return places


def _vector_products(
    catalogue: Catalogue, packed: PackedWindows, rows: Int64, vectors: Float32
) -> tuple[Float32, Float32]:
    """Return retrieval's scores, and the greatest cosine to an item of the window, (n, c) each.

    One product gives both, because to read the candidates' vectors costs more than to multiply
    them. Padding repeats the newest item, which does not change the greatest cosine.
    """
    newest = np.maximum(packed.lengths - 1, 0)
    window = packed.rows[np.arange(len(rows))[:, None], np.minimum(np.arange(packed.rows.shape[1]), newest[:, None])]
    others = np.zeros((len(rows), window.shape[1] + 1, vectors.shape[1]), dtype=np.float32)
    others[:, :-1, :-1] = catalogue.unit[window]
    others[:, -1] = vectors
    products = np.matmul(others, catalogue.vectors[rows].transpose(0, 2, 1))  # [n, window + 1, c]
    cosines = products[:, :-1].max(axis=1) / catalogue.norms[rows]
    return products[:, -1], np.where(packed.lengths[:, None] > 0, cosines, np.float32(0.0))


def _text_products(catalogue: Catalogue, packed: PackedWindows, rows: Int64) -> tuple[Float32, Float32]:
    """Return each text's cosine to the window's mean text and to its newest text, (n, c) each."""
    mask = (np.arange(packed.rows.shape[1]) < packed.lengths[:, None]).astype(np.float32)
    texts = catalogue.text_unit[packed.rows]  # [n, window, text_dim]
    mean = np.matmul(mask[:, None, :], texts)[:, 0]
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    newest = texts[np.arange(len(rows)), np.maximum(packed.lengths - 1, 0)] * (packed.lengths > 0)[:, None]
    products = np.matmul(np.stack([mean, newest], axis=1), catalogue.text_unit[rows].transpose(0, 2, 1))
    return products[:, 0], products[:, 1]


def _log_shares(scores: Float32, valid: Bool) -> Float32:
    """Return the log softmax over the valid candidates, (n, c) float32; 0 elsewhere."""
    masked = np.where(valid, scores, -np.inf)
    greatest = np.max(masked, axis=1, keepdims=True, initial=-1e30)
    sums = np.exp(masked - greatest).sum(axis=1, keepdims=True)
    return np.where(valid, masked - greatest - np.log(np.maximum(sums, 1e-30)), 0.0).astype(np.float32)


def _ranks(scores: Float32, valid: Bool) -> Int64:
    """Return each candidate's rank by falling score, (n, c) int64 from 1; ties keep row order."""
    order = np.argsort(-np.where(valid, scores, -np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    ranks[np.arange(len(order))[:, None], order] = np.arange(1, order.shape[1] + 1)
    return ranks
