"""Fusion without gradients, compiled: the probability of each candidate to be the next item."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.base.compiled import compiled, gelu, row_products
from models.base.scalar_features import FEATURES
from models.base.types import Float32, Int64
from models.fusion import MAX_DEVIATIONS, N_HIDDEN, N_PROJECTED, FusionModel
from models.ranking.catalogue import Catalogue

#: The feature that is 1 for an item of the window, in an artifact that has it.
_AGAIN: Final = len(FEATURES)
_SHARE: Final = FEATURES.index("retrieval_share")
_LIMIT: Final = np.float32(MAX_DEVIATIONS)


class ServedFusion:
    """The weights of a fusion network as arrays. For one thread at a time.

    The hidden layer is linear in the item for a given user: each user has one matrix, and no
    candidate needs the joined input of user, item and their product.
    """

    def __init__(self, model: FusionModel) -> None:
        weights = {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
        first, n = weights["body.0.weight"], len(weights["feature_mean"])
        of_user = first[:, n : n + N_PROJECTED]
        self._of_item, self._of_both = first[:, -2 * N_PROJECTED : -N_PROJECTED], first[:, -N_PROJECTED:]
        self._user = np.ascontiguousarray(weights["user_projection.weight"].T), weights["user_projection.bias"]
        self._of_user, self._bias = np.ascontiguousarray(of_user.T), weights["body.0.bias"]
        # the last row is the shortcut, whose value no GELU bends
        # rows of the joined input: features, what is known of the item, 1
        self._n_features = n
        self._shared = np.zeros((N_HIDDEN + 1, n + N_PROJECTED + 1), dtype=np.float32)
        self._shared[:-1, :n] = first[:, :n]
        self._shared[-1, :n] = weights["shortcut.weight"][0]
        self._shared[-1, -1] = weights["shortcut.bias"][0] + weights["body.3.bias"][0]
        self._last = np.ascontiguousarray(weights["body.3.weight"][0])
        self._standard = np.ascontiguousarray(weights["feature_mean"]), np.ascontiguousarray(weights["feature_scale"])
        self._calibration = np.ascontiguousarray(weights["calibration"])

    def probabilities(
        self,
        catalogue: Catalogue,
        rows: Int64,
        counts: Int64,
        planes: Float32,
        users: Float32,
        is_cold: Any,
        lean: Float32,
    ) -> Float32:
        """Return each candidate's probability, (n, c) float32; 0 for padding.

        A candidate without events since training has retrieval's share: fusion learnt from logs, in
        which such an item did not exist yet, and would never list it. An item of the window has had
        an event, of the user. A user without a window gets shares of recent popularity: fusion is
        fitted to users with one, and orders candidates of others almost without regard to
        popularity.

        Parameters
        ----------
        rows : (n, c) int64, of which ``counts`` (n,) are candidates
        planes : (n, n_features, c) float32
        users : (n, user_width) float32
        is_cold : (n,) bool
        lean : (n,) float32, the weight of popularity in the logits, as
            :func:`models.ranking.newcomers.leaning.lean_weights` gives it. A candidate without
            events since training keeps its share of the list
        """
        user = row_products(users, self._user[0]) + self._user[1]
        matrices = np.tile(self._shared, (len(users), 1, 1))
        matrices[:, :-1, self._n_features : -1] = self._of_item + self._of_both * user[:, None, :]
        matrices[:, :-1, -1] = row_products(user, self._of_user) + self._bias
        found = np.zeros(rows.shape, dtype=np.float32)
        _score(
            rows, counts, planes, matrices, *self._standard, self._last, self._calibration,
            catalogue.known, catalogue.is_new, catalogue.is_blank, catalogue.counts.scores,
            catalogue.popular_shares, is_cold, lean, catalogue.recent_popularity, found,
        )  # fmt: skip
        return found


@compiled
def _log_softmax(logits: Any) -> None:
    greatest = np.float32(-np.inf)
    for i in range(len(logits)):
        greatest = max(greatest, logits[i])
    total = np.float32(0.0)
    for i in range(len(logits)):
        total += np.exp(logits[i] - greatest)
    shift = greatest + np.log(total)
    for i in range(len(logits)):
        logits[i] -= shift


@compiled
def _lift_unseen(logits: Any, shares: Any, is_unseen: Any) -> None:
    """Give unseen candidates their shares, relative to all others; nothing where there are none."""
    greatest, n = np.float32(-np.inf), 0
    for i in range(len(logits)):
        if not is_unseen[i]:
            greatest, n = max(greatest, logits[i]), n + 1
    if n == 0 or n == len(logits):
        return
    total = np.float32(0.0)
    for i in range(len(logits)):
        if not is_unseen[i]:
            total += np.exp(logits[i] - greatest)
    others = greatest + np.log(total)
    for i in range(len(logits)):
        if is_unseen[i]:
            logits[i] = shares[i] + others


@compiled
def _score(  # noqa: C901 (one pass, nothing between the loops is kept)
    rows: Any, counts: Any, planes: Any, matrices: Any, mean: Any, scale: Any, last: Any, calibration: Any,
    known: Any, is_new: Any, is_blank: Any, scores: Any, popular_shares: Any, is_cold: Any,
    lean: Any, recent: Any, found: Any,
) -> None:  # fmt: skip
    most, n_hidden, n_features = rows.shape[1], len(last), len(mean)
    n_inputs = n_features + N_PROJECTED + 1
    input_buffer = np.empty(n_inputs * most, np.float32)
    hidden_buffer = np.empty((n_hidden + 1) * most, np.float32)
    is_unseen = np.empty(most, np.bool_)
    for u in range(len(counts)):
        c = counts[u]
        if c == 0:
            continue
        if is_cold[u]:
            for i in range(c):
                found[u, i] = popular_shares[rows[u, i]]
            continue
        x = input_buffer[: n_inputs * c].reshape(n_inputs, c)
        for f in range(n_features):
            for i in range(c):
                value = (planes[u, f, i] - mean[f]) * scale[f]
                x[f, i] = min(max(value, -_LIMIT), _LIMIT)
        for i in range(c):
            row = rows[u, i]
            is_unseen[i] = is_new[row] and not is_blank[row] and scores[row] <= 0
            if n_features > _AGAIN and planes[u, _AGAIN, i] > 0:
                is_unseen[i] = False
            for j in range(N_PROJECTED):
                x[n_features + j, i] = known[row, j]
            x[n_inputs - 1, i] = np.float32(1.0)
        hidden = hidden_buffer[: (n_hidden + 1) * c].reshape(n_hidden + 1, c)
        np.dot(matrices[u], x, hidden)
        gelu(hidden_buffer[: n_hidden * c])
        logits = hidden[n_hidden]
        for h in range(n_hidden):
            for i in range(c):
                logits[i] += last[h] * hidden[h, i]
        if lean[u] > 0:
            for i in range(c):
                logits[i] = (np.float32(1.0) - lean[u]) * logits[i] + lean[u] * recent[rows[u, i]]
        _lift_unseen(logits, planes[u, _SHARE, :c], is_unseen[:c])
        _log_softmax(logits)
        for i in range(c):
            found[u, i] = np.float32(1.0) / (np.float32(1.0) + np.exp(-(calibration[0] * logits[i] + calibration[1])))
