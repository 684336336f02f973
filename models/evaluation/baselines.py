"""Baselines: each learns from training events and scores every item for given histories.

Baselines do not mask seen items: the evaluation does. Rows are those of the evaluated catalogue;
external ids do not occur.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from models.base.types import Bool, Float32, Int64
from models.factors.als import AlsConfig, fit_als, fold_in_als
from models.factors.item_neighbours import ease_refusal, ease_weights, item_neighbours
from models.interactions import next_item_counts
from models.popularity import HALF_LIFE_MS, MAX_SCORE_EXPONENT, DecayedCounts

#: Followers kept per item for ``markov1``, neighbours kept per item for ``item_knn``.
N_NEXT: Final = 200
N_NEIGHBOURS: Final = 100
#: Hundreds, as in the EASE paper's data sets.
EASE_REGULARISATION: Final = 300.0
#: Popularity orders the items that never followed, below all that did.
PADDING_WEIGHT: Final = 1e-3


@dataclass(frozen=True)
class LearntEvents:
    """The training events of a baseline, in time order.

    Parameters
    ----------
    users, items : (n,) int64, rows of users and of items
    ts_ms : (n,) int64, milliseconds since 1970, UTC
    weights : (n,) float32, how much each event counts; None counts each as 1
    """

    users: Int64
    items: Int64
    ts_ms: Int64
    n_users: int
    n_items: int
    weights: Float32 | None = None


class Baseline(Protocol):
    """A fitted baseline; its constructor takes :class:`LearntEvents`."""

    name: str

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return each item's score for each history, (n, n_items) float32.

        The caller may write on the array. Only the order of scores within a row has a meaning.

        Parameters
        ----------
        histories : for each question, the rows of all items that its user had, oldest first; may be
            empty
        now_ms : for each question, its time
        """
        ...


class Popularity:
    """How many training events an item has, by their weights."""

    name = "popularity"

    def __init__(self, events: LearntEvents) -> None:
        self.counts: Float32 = np.bincount(events.items, weights=events.weights, minlength=events.n_items).astype(
            np.float32
        )

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the same counts for everyone, (n, n_items) float32."""
        return np.tile(self.counts, (len(histories), 1))


class RecentPopularity:
    """Training events of an item, halved for each half-life between the event and the question.

    An event after a question counts more than 1. This does not occur where training ends before the
    first question.
    """

    name = "recent_popularity"

    def __init__(self, events: LearntEvents, half_life_ms: int = HALF_LIFE_MS) -> None:
        counts = DecayedCounts(half_life_ms=half_life_ms)
        weights = np.ones(len(events.items)) if events.weights is None else events.weights
        for item, ts, weight in zip(events.items.tolist(), events.ts_ms.tolist(), weights.tolist(), strict=True):
            counts.add(str(item), ts, weight)
        self._half_life_ms, self._at_ms = half_life_ms, int(events.ts_ms.max(initial=0))
        self._counts = counts.scores([str(item) for item in range(events.n_items)], self._at_ms)

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the decayed counts at each question's own time, (n, n_items) float32.

        See :meth:`models.popularity.DecayedCounts.scores`. All counts decay alike, so the counts
        are taken once and scaled per question, within the same limits.
        """
        peak = float(self._counts.max(initial=0.0))
        if peak <= 0.0:
            return np.zeros((len(histories), len(self._counts)), dtype=np.float32)
        ages = (self._at_ms - np.array(now_ms, dtype=np.float64)) / self._half_life_ms
        greatest = 2.0 ** np.clip(ages + math.log2(peak), -MAX_SCORE_EXPONENT, MAX_SCORE_EXPONENT)  # [n]
        return (greatest[:, None] * (self._counts / peak)).astype(np.float32)


class Markov1:
    """How often an item directly followed the user's last item; popularity orders the others."""

    name = "markov1"

    def __init__(self, events: LearntEvents) -> None:
        popularity = Popularity(events).counts
        self._padding: Float32 = popularity / max(float(popularity.sum()), 1.0) * PADDING_WEIGHT
        self._rows, self._shares = next_item_counts(
            events.users, events.items, events.n_items, min(events.n_items, N_NEXT), events.weights
        )

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the share of each follower of the last item, plus a little popularity.

        Returns
        -------
        (n, n_items) float32
        """
        result = np.tile(self._padding, (len(histories), 1))
        rows, mask = padded([history[-1:] for history in histories], len(self._padding))
        for i in np.flatnonzero(mask.any(axis=1)):
            known = self._rows[rows[i, 0]] >= 0
            result[i, self._rows[rows[i, 0]][known]] += self._shares[rows[i, 0]][known]
        return result


class ItemKNN:
    """Sum of an item's cosines to those of the user's items that have it among their nearest.

    Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004; similarities as in
    :func:`models.factors.item_neighbours.item_neighbours`.
    """

    name = "item_knn"

    def __init__(self, events: LearntEvents, n_neighbours: int = N_NEIGHBOURS) -> None:
        self._rows, self._weights = item_neighbours(
            events.users, events.items, events.n_items, n_neighbours, weights=events.weights
        )

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the sums, (n, n_items) float32; a repeated item of a history counts once."""
        n_items = len(self._rows)
        result = np.zeros((len(histories), n_items), dtype=np.float32)
        for i, had in enumerate(_distinct(histories, n_items)):
            rows, weights = self._rows[had].ravel(), self._weights[had].ravel()
            result[i] = np.bincount(rows[rows >= 0], weights=weights[rows >= 0], minlength=n_items)
        return result


class EASE:
    """The user's items times the weights of a linear autoencoder.

    The model knows yes and no alone: an event of weight 0 is no, one of any other weight yes. See
    :func:`models.factors.item_neighbours.ease_weights`.
    """

    name = "ease"

    def __init__(self, events: LearntEvents, regularisation: float = EASE_REGULARISATION) -> None:
        users, items = events.users, events.items
        if events.weights is not None:
            users, items = users[events.weights > 0], items[events.weights > 0]
        self._weights = ease_weights(users, items, events.n_users, events.n_items, regularisation)

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the sum of the weight rows of the user's items; a repeated item counts once.

        Returns
        -------
        (n, n_items) float32
        """
        result = np.zeros((len(histories), len(self._weights)), dtype=np.float32)
        for i, had in enumerate(_distinct(histories, len(self._weights))):
            result[i] = self._weights[had].sum(axis=0)
        return result


class IALS:
    """Scalar product of item factors and folded-in user factors (:mod:`models.factors.als`)."""

    name = "ials"

    def __init__(self, events: LearntEvents, config: AlsConfig | None = None, seed: int = 0) -> None:
        self._config = config or AlsConfig()
        self._factors = fit_als(
            events.users, events.items, events.n_users, events.n_items, self._config, seed, weights=events.weights
        ).items
        self._gram = self._factors.T @ self._factors

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return the products, (n, n_items) float32; zeros for a user whose items are all new."""
        n_items = len(self._factors)
        rows, mask = padded(histories, n_items)
        users = fold_in_als(self._factors, self._gram, rows, mask, n_items=n_items, config=self._config)
        scores: Float32 = users @ self._factors.T
        return scores


class LastAgain:
    """The user's items again, the one that they had last first."""

    name = "last_again"

    def __init__(self, events: LearntEvents) -> None:
        self._n_items = events.n_items

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return 1 / place of an item's newest event, from the end of the history; 0 for others."""
        result = np.zeros((len(histories), self._n_items), dtype=np.float32)
        for scores, history in zip(result, histories, strict=True):
            scores[history] = 1.0 / np.arange(len(history), 0, -1)  # the newest write stays
        return result


class MostAgain:
    """The user's items again, the one that they had most often first; of equals the newer one."""

    name = "most_again"

    def __init__(self, events: LearntEvents) -> None:
        self._last = LastAgain(events)

    def scores(self, histories: Sequence[Int64], now_ms: Sequence[int]) -> Float32:
        """Return how often an item is in the history, plus less than 1 for how late; 0 for none."""
        result = self._last.scores(histories, now_ms) * np.float32(0.5)
        for scores, history in zip(result, histories, strict=True):
            scores += np.bincount(history, minlength=len(scores))
        return result


#: Every baseline by name; call with :class:`LearntEvents`, and its own keywords where it has any.
BASELINES: Final[dict[str, Callable[..., Baseline]]] = {
    kind.name: kind for kind in (Popularity, RecentPopularity, Markov1, ItemKNN, EASE, IALS, LastAgain, MostAgain)
}
#: Those that know the user's own items alone: where lists leave these out, they say nothing.
OWN_ITEMS: Final = (LastAgain.name, MostAgain.name)


def refusal(name: str, n_items: int) -> str:
    """Return why a baseline cannot learn from so many items, empty where it can."""
    return ease_refusal(n_items) if name == EASE.name else ""


def fit_baselines(
    names: Sequence[str], events: LearntEvents, on_progress: Callable[[int, int], None]
) -> tuple[list[Baseline], dict[str, str]]:
    """Fit baselines; leave out each that cannot be fitted, because the others are of use.

    Parameters
    ----------
    on_progress : called with the number of baselines done, and of all

    Returns
    -------
    fitted : in the order of ``names``
    left_out : by name, why a baseline was left out
    """
    fitted: list[Baseline] = []
    left_out: dict[str, str] = {}
    for done, name in enumerate(names):
        on_progress(done, len(names))
        why = refusal(name, events.n_items)
        try:
            if not why:
                fitted.append(BASELINES[name](events))
        except ValueError as exc:
            why = str(exc)
        except MemoryError:
            why = "there is not enough memory for it"
        if why:
            left_out[name] = why
    on_progress(len(names), len(names))
    return fitted, left_out


def padded(histories: Sequence[Int64], n_items: int) -> tuple[Int64, Bool]:
    """Return histories as arrays.

    Returns
    -------
    rows : (n, longest) int64, 0 where a history has ended
    mask : (n, longest) bool, True for an item of the history

    Raises
    ------
    ValueError
        When a row is not from 0 to ``n_items - 1``.
    """
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    rows = np.zeros(mask.shape, dtype=np.int64)
    if lengths.any():
        rows[mask] = np.concatenate(histories)
        if rows.min() < 0 or rows.max() >= n_items:
            raise ValueError(f"histories: item rows {rows.min()} to {rows.max()} must be from 0 to {n_items - 1}")
    return rows, mask


def _distinct(histories: Sequence[Int64], n_items: int) -> list[Int64]:
    rows, mask = padded(histories, n_items)
    return [np.unique(row[there]) for row, there in zip(rows, mask, strict=True)]
