"""Candidates of a batch of users, from all sources, and the features by which fusion ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from models.artifact.artifact import Artifact
from models.factors.matrix_factorisation import fold_in
from models.features.columns import Row
from models.fusion import FEATURES
from models.ranking.catalogue import Catalogue
from models.sequence.model import PackedWindows, pack
from models.types import Behaviour, Bool, Float32, Int64

#: Weights of the newest behaviours, newest first: their followers are candidates.
NEXT_WEIGHTS: Final = np.array([1.0, 0.5, 0.25], dtype=np.float32)
#: The neighbours of this many newest behaviours are candidates; each counts this share of the one
#: after it.
N_NEIGHBOURS_OF: Final = 10
NEIGHBOUR_DECAY: Final = 0.8
N_MF: Final = 50
N_POPULAR: Final = 60


@dataclass(frozen=True)
class Candidates:
    """Candidates of ``n`` users, padded to ``c``.

    Parameters
    ----------
    rows : (n, c) int64 catalogue rows, each at most once per user
    valid : (n, c) bool, False for padding and for items that the user has had
    features : (n, c, len(FEATURES)) float32
    ranks : source name to (n, c) int64, rank from 1 among the candidates by that source's score
    given : source name to (n, c) bool, whether the source brought the item
    user_vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    packed : the windows
    """

    rows: Int64
    valid: Bool
    features: Float32
    ranks: dict[str, Int64]
    given: dict[str, Bool]
    user_vectors: Float32
    factors: Float32
    packed: PackedWindows


def user_states(artifact: Artifact, catalogue: Catalogue, packed: PackedWindows) -> tuple[Float32, Float32]:
    """Return user vectors and folded-in factors of packed windows.

    Returns
    -------
    vectors : (n, dim + 1) float32, the last entry is 1
    factors : (n, f) float32
    """
    mask = np.arange(packed.rows.shape[1]) < packed.lengths[:, None]
    if not len(catalogue.item_ids):
        n, dim, f = len(packed.lengths), artifact.sequence.config.dim, catalogue.factors.shape[1] - 1
        return np.zeros((n, dim + 1), dtype=np.float32), np.zeros((n, f), dtype=np.float32)
    newest = artifact.sequence.user_vectors(packed, catalogue.vectors[:, :-1])
    vectors = np.column_stack([newest, np.ones(len(newest), dtype=np.float32)]).astype(np.float32)
    factors = fold_in(
        catalogue.factors[packed.rows][..., :-1],
        mask,
        catalogue.gram,
        alpha=artifact.manifest.alpha,
        regularisation=artifact.manifest.regularisation,
    )
    return vectors, factors


def user_side(artifact: Artifact, vectors: Float32, features: Sequence[Row] | None) -> Float32:
    """Return fusion's input for users: vector, 1, features without missing values.

    Parameters
    ----------
    vectors : (n, dim + 1) float32, from :func:`user_states`
    features : per user, by name; None where nothing is known of any user

    Returns
    -------
    (n, dim + 1 + user features) float32
    """
    rows = features if features is not None else [{}] * len(vectors)
    encoded = artifact.user_features.encode(rows, np.zeros((len(vectors), 0), dtype=np.float32))
    return np.concatenate([vectors, encoded], axis=1)


def gather(
    artifact: Artifact,
    catalogue: Catalogue,
    windows: Sequence[Sequence[Behaviour]],
    extra_seen: Sequence[AbstractSet[str]] | None,
    n_candidates: int,
    *,
    mask_seen: bool = True,
) -> Candidates:
    """Return the candidates of each window.

    Sources are retrieval, matrix factorisation, followers and neighbours of the window's items, and
    popular items. A window without an item of the catalogue has only popular candidates.

    Parameters
    ----------
    extra_seen : per user, ids of further items that the user has had
    n_candidates : rows from retrieval
    mask_seen : whether items that the user has had are not valid
    """
    packed = pack(windows, catalogue.row_of, artifact.sequence.config.max_length)
    vectors, factors = user_states(artifact, catalogue, packed)
    mf_users = np.column_stack([factors, np.ones(len(factors), dtype=np.float32)])
    followers, neighbours = followers_of(catalogue, packed), neighbours_of(catalogue, packed)
    brought = {
        "retrieval": _retrieved(catalogue, vectors, np.where(packed.lengths > 0, n_candidates + packed.lengths, 0)),
        "mf": np.where(
            packed.lengths[:, None] > 0, catalogue.factor_index.search(mf_users.astype(np.float32), N_MF)[0], -1
        ),
        "next": followers[0],
        "neighbours": neighbours[0],
        "popular": np.broadcast_to(
            catalogue.popular_rows[:N_POPULAR], (len(windows), min(N_POPULAR, len(catalogue.item_ids)))
        ),
    }
    rows = np.sort(np.concatenate(list(brought.values()), axis=1), axis=1)
    valid = rows >= 0
    valid[:, 1:] &= rows[:, 1:] != rows[:, :-1]
    for i, had in enumerate(seen_rows(catalogue, windows, extra_seen) if mask_seen else ()):
        valid[i] &= ~np.isin(rows[i], had)
    rows, valid = _compact(rows, valid, len(catalogue.item_ids))
    # before padding becomes row 0, which is an item
    given = {name: _is_among(rows, source) for name, source in brought.items()}
    n_last = catalogue.next_rows.shape[1]
    counts = _Counts(
        _sums(rows, followers[0][:, :n_last], followers[1][:, :n_last]),
        _sums(rows, *followers),
        _sums(rows, *neighbours),
    )
    rows = np.where(valid, rows, 0)
    features, ranks = _features(catalogue, packed, rows, valid, vectors, mf_users, counts)
    return Candidates(rows, valid, features, ranks, given, vectors, factors, packed)


def _retrieved(catalogue: Catalogue, vectors: Float32, wanted: Int64) -> Int64:
    """Return ``wanted`` (n,) best rows per user, padded with -1.

    So a user's result does not depend on the rest of the batch. A user without a window wants none:
    all new items have equal scores there, and chance would choose among them.
    """
    rows = catalogue.index.search(vectors, max(1, int(wanted.max())))[0]
    return np.where(np.arange(rows.shape[1]) < wanted[:, None], rows, -1)


def seen_rows(
    catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]], extra_seen: Sequence[AbstractSet[str]] | None
) -> list[Int64]:
    """Return, per user, the catalogue rows of all items that the user has had."""
    row_of = catalogue.row_of
    result = []
    for i, window in enumerate(windows):
        ids = {behaviour.item_id for behaviour in window}
        if extra_seen is not None:
            ids |= extra_seen[i]
        result.append(np.array([row_of[item_id] for item_id in ids if item_id in row_of], dtype=np.int64))
    return result


class _Counts(NamedTuple):
    """Scores of each candidate from item-to-item tables, (n, c) float32 each."""

    last: Float32
    following: Float32
    neighbouring: Float32


def followers_of(catalogue: Catalogue, packed: PackedWindows) -> tuple[Int64, Float32]:
    """Return the followers of the newest behaviours, newest first.

    Returns
    -------
    rows : (n, m) int64, -1 for none
    weights : (n, m) float32, shares, decayed by the behaviour's age
    """
    return _entries(catalogue.next_rows, catalogue.next_weights, packed, NEXT_WEIGHTS)


def neighbours_of(catalogue: Catalogue, packed: PackedWindows) -> tuple[Int64, Float32]:
    """Return the neighbours of the newest behaviours, as :func:`followers_of` does."""
    decay = NEIGHBOUR_DECAY ** np.arange(N_NEIGHBOURS_OF, dtype=np.float32)
    return _entries(catalogue.neighbour_rows, catalogue.neighbour_weights, packed, decay)


def dense(entries: tuple[Int64, Float32], n_items: int) -> Float32:
    """Return the sums of the weights of entries over the whole catalogue, (n, n_items) float32."""
    sums = np.zeros((len(entries[0]), n_items), dtype=np.float32)
    for total, rows, weights in zip(sums, *entries, strict=True):
        total += np.bincount(rows[rows >= 0], weights=weights[rows >= 0], minlength=n_items)
    return sums


def _entries(table: Int64, weights: Float32, packed: PackedWindows, decay: Float32) -> tuple[Int64, Float32]:
    """Return a table's entries for the newest behaviours, newest first.

    Rows and decayed weights, (n, len(decay) * m), -1 for none.
    """
    columns = packed.lengths[:, None] - 1 - np.arange(min(len(decay), packed.rows.shape[1]))
    newest = packed.rows[np.arange(len(columns))[:, None], np.maximum(columns, 0)]
    is_there = (columns >= 0)[:, :, None]
    rows = np.where(is_there, table[newest] if len(table) else -1, -1)  # [n, behaviours, m]
    values = np.where(rows >= 0, (weights[newest] if len(table) else 0.0) * decay[: columns.shape[1], None], 0.0)
    return rows.reshape(len(rows), -1), values.reshape(len(rows), -1).astype(np.float32)


def _features(
    catalogue: Catalogue,
    packed: PackedWindows,
    rows: Int64,
    valid: Bool,
    vectors: Float32,
    mf_users: Float32,
    counts: _Counts,
) -> tuple[Float32, dict[str, Int64]]:
    mask = np.arange(packed.rows.shape[1]) < packed.lengths[:, None]
    retrieval = _products(catalogue.vectors[rows], vectors)
    mf = _products(catalogue.factors[rows], mf_users)
    recent = catalogue.recent_popularity[rows]
    similarity = np.matmul(catalogue.unit[rows], catalogue.unit[packed.rows].transpose(0, 2, 1))
    similarity = np.where(mask[:, None, :], similarity, -np.inf)
    mean_text = np.matmul(mask.astype(np.float32)[:, None, :], catalogue.text_unit[packed.rows])[:, 0]
    mean_text /= np.maximum(np.linalg.norm(mean_text, axis=1, keepdims=True), 1e-9)
    newest_text = catalogue.text_unit[packed.rows[np.arange(len(rows)), np.maximum(packed.lengths - 1, 0)]]
    newest_text = newest_text * (packed.lengths > 0)[:, None]
    retrieval_rank, mf_rank = _ranks(retrieval, valid), _ranks(mf, valid)
    is_new = catalogue.is_new[rows]
    by_name = {
        "retrieval_score": retrieval,
        "retrieval_share": _log_shares(retrieval, valid),
        "retrieval_rank": np.log1p(retrieval_rank),
        "mf_logit": mf,
        "mf_rank": np.log1p(mf_rank),
        "next_share": np.log(counts.last + 1e-3),
        "next_score": np.log(counts.following + 1e-3),
        "neighbour_score": np.log(counts.neighbouring + 1e-3),
        "recent_popularity": recent,
        "popularity": catalogue.popularity[rows],
        "similarity": np.where(packed.lengths[:, None] > 0, similarity.max(axis=2), 0.0),
        "text_similarity": _products(catalogue.text_unit[rows], mean_text),
        "newest_text_similarity": _products(catalogue.text_unit[rows], newest_text),
        "is_new": is_new.astype(np.float32),
        "window_length": np.broadcast_to(np.log1p(packed.lengths)[:, None], rows.shape),
    }
    features = np.stack([by_name[name] for name in FEATURES], axis=2).astype(np.float32)  # [n, c, f]
    ranks = {
        "retrieval": retrieval_rank,
        "mf": mf_rank,
        "next": _ranks(counts.following, valid),
        "neighbours": _ranks(counts.neighbouring, valid),
        "popular": _ranks(recent, valid),
    }
    return features, ranks


def _products(items: Float32, users: Float32) -> Float32:
    """Return each item's product with its user's vector, (n, c, dim) x (n, dim) to (n, c)."""
    products: Float32 = np.matmul(items, users[:, :, None])[..., 0]
    return products


def _compact(rows: Int64, valid: Bool, beyond: int) -> tuple[Int64, Bool]:
    """Return rows and validity with the valid candidates first, as narrow as possible.

    Valid rows rise; then comes ``beyond``. Sources agree on many items and users have had some, so
    less than half often remains.
    """
    width = max(1, int(valid.sum(axis=1).max(initial=0)))
    order = np.argsort(~valid, axis=1, kind="stable")[:, :width]
    valid = np.take_along_axis(valid, order, axis=1)
    return np.where(valid, np.take_along_axis(rows, order, axis=1), beyond), valid


def _is_among(rows: Int64, entries: Int64) -> Bool:
    """Return whether each candidate is one of its user's entries, (n, c) bool.

    Rows must rise within a user.
    """
    return _sums(rows, entries, np.ones(entries.shape, dtype=np.float32)) > 0


def _sums(rows: Int64, entries: Int64, weights: Float32) -> Float32:
    """Return the sum of the weights of each candidate's entries, (n, c) float32.

    Rows must rise within a user.
    """
    sums = np.zeros(rows.shape, dtype=np.float32)
    for i in range(len(rows)):  # by row: a dense comparison would take c times the entries
        positions = np.minimum(np.searchsorted(rows[i], entries[i]), rows.shape[1] - 1)
        hit = (rows[i, positions] == entries[i]) & (entries[i] >= 0)
        sums[i] = np.bincount(positions[hit], weights=weights[i, hit], minlength=rows.shape[1])
    return sums


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
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :].repeat(len(order), axis=0), axis=1)
    return ranks
