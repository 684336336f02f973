"""Candidates of a batch of users, from all sources, and the features that fusion ranks them by."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from models.artifact import Artifact
from models.catalogue import Catalogue
from models.factors import fold_in
from models.fusion import FEATURES
from models.sequence import PackedWindows, pack
from models.types import Behaviour, Bool, Float32, Int64

#: The newest behaviours whose followers are candidates, and how much each counts.
NEXT_WEIGHTS: Final = np.array([1.0, 0.5, 0.25], dtype=np.float32)
N_MF: Final = 50
N_POPULAR: Final = 60


@dataclass(frozen=True)
class Candidates:
    """Candidates of ``n`` users, padded to ``c``.

    Parameters
    ----------
    rows : (n, c) int64 catalogue rows, each at most once per user
    valid : (n, c) bool, False for padding and for items the user has had
    features : (n, c, len(FEATURES)) float32
    ranks : source name to (n, c) int64 rank from 1 among the candidates; 0 where the source did not bring the item
    user_vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    """

    rows: Int64
    valid: Bool
    features: Float32
    ranks: dict[str, Int64]
    user_vectors: Float32
    factors: Float32
    packed: PackedWindows


def user_states(artifact: Artifact, catalogue: Catalogue, packed: PackedWindows) -> tuple[Float32, Float32]:
    """Return user vectors (n, dim + 1) with a last entry of 1, and folded-in factors (n, f), of packed windows."""
    mask = np.arange(packed.rows.shape[1]) < packed.lengths[:, None]
    if not len(catalogue.item_ids):
        n, dim, f = len(packed.lengths), artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        return np.zeros((n, dim + 1), dtype=np.float32), np.zeros((n, f), dtype=np.float32)
    device = artifact.device
    items = torch.from_numpy(catalogue.vectors[packed.rows][..., :-1]).to(device)
    with torch.inference_mode():
        states = artifact.sequence(
            items, torch.from_numpy(packed.types).to(device), torch.from_numpy(packed.gaps).to(device)
        )
        last = torch.from_numpy(np.maximum(packed.lengths - 1, 0)).to(device)
        newest = states[torch.arange(len(last), device=device), last].float().cpu().numpy()
    newest[packed.lengths == 0] = 0.0
    vectors = np.column_stack([newest, np.ones(len(newest), dtype=np.float32)]).astype(np.float32)
    factors = fold_in(
        catalogue.factors[packed.rows][..., :-1],
        mask,
        catalogue.gram,
        alpha=artifact.manifest.alpha,
        regularisation=artifact.manifest.regularisation,
    )
    return vectors, factors


def gather(
    artifact: Artifact,
    catalogue: Catalogue,
    windows: Sequence[Sequence[Behaviour]],
    extra_seen: Sequence[AbstractSet[str]] | None,
    n_candidates: int,
) -> Candidates:
    """Return the candidates of each window: retrieval, matrix factorisation, followers of the newest items, popular ones."""
    packed = pack(windows, catalogue.row_of, artifact.sequence.config.max_length)
    vectors, factors = user_states(artifact, catalogue, packed)
    mf_users = np.column_stack([factors, np.ones(len(factors), dtype=np.float32)])
    newest = _newest_rows(packed)
    followers = catalogue.next_rows[newest].reshape(len(newest), -1)  # [n, 3 * n_next]
    followers = np.where(np.repeat(newest >= 0, catalogue.next_rows.shape[1], axis=1), followers, -1)
    brought = {
        "retrieval": _retrieved(catalogue, vectors, np.where(packed.lengths > 0, n_candidates + packed.lengths, 0)),
        "mf": catalogue.factor_index.search(mf_users.astype(np.float32), N_MF)[0],
        "next": followers,
        "popular": np.broadcast_to(
            catalogue.popular_rows[:N_POPULAR], (len(newest), min(N_POPULAR, len(catalogue.item_ids)))
        ),
    }
    rows = np.sort(np.concatenate(list(brought.values()), axis=1), axis=1)
    valid = rows >= 0
    valid[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    seen = seen_rows(catalogue, windows, extra_seen)
    for i, had in enumerate(seen):
        valid[i] &= ~np.isin(rows[i], had)
    following = _next_scores(catalogue, packed, rows, followers)  # before padding becomes row 0, which is an item
    rows = np.maximum(rows, 0)
    features, ranks = _features(catalogue, packed, rows, valid, vectors, mf_users, following)
    return Candidates(rows, valid, features, ranks, vectors, factors, packed)


def _retrieved(catalogue: Catalogue, vectors: Float32, wanted: Int64) -> Int64:
    """Return the best rows of each user, as many as ``wanted`` (n,) says, -1 beyond: who else is in the batch must not matter.

    None are wanted without a window: all new items tie then, and which of them came first would be chance.
    """
    rows = catalogue.index.search(vectors, max(1, int(wanted.max())))[0]
    return np.where(np.arange(rows.shape[1]) < wanted[:, None], rows, -1)


def seen_rows(
    catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]], extra_seen: Sequence[AbstractSet[str]] | None
) -> list[Int64]:
    """Return, per user, the catalogue rows of all items the user has had."""
    row_of = catalogue.row_of
    result = []
    for i, window in enumerate(windows):
        ids = {behaviour.item_id for behaviour in window}
        if extra_seen is not None:
            ids |= extra_seen[i]
        result.append(np.array([row_of[item_id] for item_id in ids if item_id in row_of], dtype=np.int64))
    return result


def _newest_rows(packed: PackedWindows) -> Int64:
    """Return the rows of the newest behaviours, newest first, (n, 3) int64; -1 where the window is shorter."""
    columns = packed.lengths[:, None] - 1 - np.arange(len(NEXT_WEIGHTS))
    rows = packed.rows[np.arange(len(columns))[:, None], np.maximum(columns, 0)]
    return np.where(columns >= 0, rows, -1)


def _features(
    catalogue: Catalogue,
    packed: PackedWindows,
    rows: Int64,
    valid: Bool,
    vectors: Float32,
    mf_users: Float32,
    following: Float32,
) -> tuple[Float32, dict[str, Int64]]:
    mask = np.arange(packed.rows.shape[1]) < packed.lengths[:, None]
    retrieval = _products(catalogue.vectors[rows], vectors)
    mf = _products(catalogue.factors[rows], mf_users)
    recent = catalogue.recent_popularity[rows]
    similarity = np.matmul(catalogue.unit[rows], catalogue.unit[packed.rows].transpose(0, 2, 1))
    similarity = np.where(mask[:, None, :], similarity, -np.inf)
    mean_text = np.matmul(mask.astype(np.float32)[:, None, :], catalogue.text_unit[packed.rows])[:, 0]
    mean_text /= np.maximum(np.linalg.norm(mean_text, axis=1, keepdims=True), 1e-9)
    retrieval_rank, mf_rank = _ranks(retrieval, valid), _ranks(mf, valid)
    is_new = catalogue.is_new[rows]
    by_name = {
        "retrieval_score": retrieval,
        "retrieval_rank": np.log1p(retrieval_rank),
        "mf_logit": mf,
        "mf_rank": np.log1p(mf_rank),
        "next_score": np.log(following + 1e-3),
        "recent_popularity": recent,
        "popularity": catalogue.popularity[rows],
        "similarity": np.where(packed.lengths[:, None] > 0, similarity.max(axis=2), 0.0),
        "text_similarity": _products(catalogue.text_unit[rows], mean_text),
        "is_new": is_new.astype(np.float32),
        "window_length": np.broadcast_to(np.log1p(packed.lengths)[:, None], rows.shape),
    }
    features = np.stack([by_name[name] for name in FEATURES], axis=2).astype(np.float32)  # [n, c, f]
    ranks = {
        "retrieval": np.where(is_new, 0, retrieval_rank),
        "content": np.where(is_new, retrieval_rank, 0),
        "mf": np.where(is_new, 0, mf_rank),
        "next": np.where(following > 0, _ranks(following, valid), 0),
        "popular": _ranks(recent, valid),
    }
    return features, ranks


def _products(items: Float32, users: Float32) -> Float32:
    """Return each item's product with its user's vector: (n, c, dim) and (n, dim) to (n, c) float32."""
    products: Float32 = np.matmul(items, users[:, :, None])[..., 0]
    return products


def _next_scores(catalogue: Catalogue, packed: PackedWindows, rows: Int64, followers: Int64) -> Float32:
    """Return the weighted share with which each candidate followed the newest behaviours, (n, c) float32."""
    newest = _newest_rows(packed)
    weights = catalogue.next_weights[newest] * NEXT_WEIGHTS[None, :, None]  # [n, 3, n_next]
    weights = np.where(followers >= 0, weights.reshape(len(newest), -1), 0.0)
    scores = np.zeros(rows.shape, dtype=np.float32)
    for i in range(len(rows)):  # scatter by row: a dense comparison would be c times n_next
        positions = np.searchsorted(rows[i], followers[i])
        positions = np.minimum(positions, rows.shape[1] - 1)
        hit = rows[i, positions] == followers[i]
        np.add.at(scores[i], positions[hit], weights[i, hit])
    return scores


def _ranks(scores: Float32, valid: Bool) -> Int64:
    """Return each candidate's rank from 1 by falling score among the valid ones, (n, c) int64; ties keep row order."""
    order = np.argsort(-np.where(valid, scores, -np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :].repeat(len(order), axis=0), axis=1)
    return ranks
