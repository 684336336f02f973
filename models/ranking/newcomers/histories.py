"""Users of a log: their events, and their factors as serving folds them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.base.types import Float32, Int64, weights_of
from models.factors.folding import folded_in
from models.factors.matrix_factorisation import gram
from models.interactions import Interactions
from models.ranking.newcomers.social import MAX_FOLLOWED, Followed

#: Users folded in at once.
CHUNK: Final = 256


@dataclass(frozen=True)
class FoldIn:
    """How serving folds users in: confidence, regularisation, and the newest events that count."""

    alpha: float
    regularisation: float
    max_length: int

    def users(self, factors: Float32, log: Interactions, users: Int64) -> Float32:
        """Return the factors of users from their newest wishes, (n, f) float32.

        Parameters
        ----------
        factors : (n_items, f) float32
        users : (n,) int64, rows of the log's users
        """
        wishes = log.wishes()
        newest = [places[-self.max_length :] for places in places_of(wishes, users)]
        weights = weights_of(log.kinds)
        rows, confidence = [wishes.items[one] for one in newest], [weights[wishes.types[one]] for one in newest]
        return self.histories(factors, rows, confidence)

    def histories(self, factors: Float32, rows: Sequence[Int64], weights: Sequence[Float32]) -> Float32:
        """Return the factors of users from rows of items and their weights, (n, f) float32."""
        found = np.zeros((len(rows), factors.shape[1]), dtype=np.float32)
        gram_matrix = gram(factors)
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            lengths = np.array([len(had) for had in rows[part]], dtype=np.int64)
            padded = np.zeros((len(lengths), max(1, int(lengths.max(initial=0)))), dtype=np.int64)
            confidence = np.zeros(padded.shape, dtype=np.float32)
            for i, (had, weight) in enumerate(zip(rows[part], weights[part], strict=True)):
                padded[i, : len(had)], confidence[i, : len(had)] = had, weight
            folded = folded_in(
                factors, padded, lengths, confidence, gram_matrix,
                alpha=self.alpha, regularisation=self.regularisation,
            )  # fmt: skip
            found[part] = folded[:, :-1]
        return found


def places_of(log: Interactions, users: Int64) -> Iterator[Int64]:
    """Yield the places of each user's events, rising."""
    order = np.argsort(log.users, kind="stable")
    begins = np.searchsorted(log.users[order], users)
    ends = np.searchsorted(log.users[order], users, side="right")
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        yield order[begin:end]


def followed_of(
    follows: Mapping[str, Sequence[str]], user_ids: Sequence[str], row_of: Mapping[str, int], factors: Float32,
    n_events: Int64,
) -> list[Followed | None]:  # fmt: skip
    """Return the followed users of users, None for nobody known.

    Parameters
    ----------
    row_of : user id to row of ``factors``, (n_users, f) float32, and of ``n_events``, (n_users,)
    """
    found: list[Followed | None] = []
    for user_id in user_ids:
        rows = [
            row_of[other] for other in follows.get(user_id, ())[:MAX_FOLLOWED] if other in row_of and other != user_id
        ]
        rows = [row for row in rows if n_events[row] > 0]
        found.append(Followed(factors[rows], n_events[rows]) if rows else None)
    return found
