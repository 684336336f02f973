"""How good the served lists of newcomers are: users without events, and with their first ones.

For data without times. A seeded share of the users is hidden with all their events; an artifact is
trained on the others, and the pipeline that serves makes the lists. Training in turn hides some of
its users, to choose the weights of features and follows; the users asked here are never among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.base.types import Behaviour, Float32, Int64
from models.features.columns import Row
from models.interactions import Interactions
from models.ranking.catalogue import Catalogue
from models.ranking.lists import DEGRADED, RankedBatch
from models.ranking.newcomers.histories import FoldIn, followed_of, places_of
from models.ranking.newcomers.social import Followed
from models.ranking.pipeline import Pipeline, build_catalogue

K: Final = 10
HIDDEN_SHARE: Final = 0.2
#: Users asked at once.
BATCH: Final = 128
#: Events revealed at each point of the curve. Only items beyond the last of them are relevant, so
#: that all points ask the same question.
REVEALED: Final = (0, 1, 2, 5, 10)


@dataclass(frozen=True, eq=False)
class NewcomerData:
    """A log, and what is known of its users beside it, by user id.

    Parameters
    ----------
    hidden : rows of the users who are asked; the artifact must not know their events
    """

    log: Interactions
    user_features: Mapping[str, Row]
    follows: Mapping[str, Sequence[str]]
    hidden: Int64

    @property
    def rest(self) -> Interactions:
        """The events of the users who are not hidden."""
        return self.log.where(~np.isin(self.log.users, self.hidden))


@dataclass(frozen=True, eq=False)
class Asked:
    """Hidden users, an artifact of the others, and what is known of the hidden ones.

    Parameters
    ----------
    histories : per user, rows of the log's items in a seeded order, each once
    rows : per user, features by name
    followed : per user, the followed users who are not hidden
    """

    artifact: Artifact
    catalogue: Catalogue
    pipeline: Pipeline
    histories: list[Int64]
    rows: list[Row]
    followed: list[Followed | None]
    votes: list[Int64]

    @classmethod
    def of(cls, data: NewcomerData, artifact: Artifact, seed: int) -> Asked:
        """Prepare the questions about hidden users.

        Raises
        ------
        ValueError
            When the artifact has other items than the log, or in another order.
        """
        log, rest, hidden = data.log, data.rest, data.hidden
        if tuple(artifact.manifest.item_ids) != log.item_ids:
            raise ValueError("artifact: its items are not those of the log, in their order; train it on the log's rest")
        nothing = np.zeros(len(artifact.whitening.mean), dtype=np.float32)
        catalogue = build_catalogue(artifact, dict.fromkeys(log.item_ids, nothing), generation=1)
        rng = np.random.default_rng(seed)
        histories = [rng.permutation(np.unique(log.items[places])) for places in places_of(log.wishes(), hidden)]
        ids = [log.user_ids[user] for user in hidden]
        row_of = {user_id: row for row, user_id in enumerate(log.user_ids)}
        manifest = artifact.manifest
        fold_in = FoldIn(manifest.alpha, manifest.regularisation, artifact.sequence.config.max_length)
        factors = fold_in.users(artifact.factors.factors, rest, np.arange(len(log.user_ids), dtype=np.int64))
        n_events = np.bincount(rest.users, minlength=len(log.user_ids)).astype(np.int64)
        followed = followed_of(data.follows, ids, row_of, factors, n_events)
        rows: list[Row] = [data.user_features.get(user_id, {}) for user_id in ids]
        votes = [_votes(rest, [row_of[v] for v in data.follows.get(user_id, ()) if v in row_of]) for user_id in ids]
        return cls(artifact, catalogue, Pipeline(artifact, k=K), histories, rows, followed, votes)

    def part(self, users: Sequence[int]) -> Asked:
        """Return the questions of some of the users."""
        return replace(
            self,
            histories=[self.histories[i] for i in users],
            rows=[self.rows[i] for i in users],
            followed=[self.followed[i] for i in users],
            votes=[self.votes[i] for i in users],
        )

    def lists(
        self, revealed: Sequence[Int64], seen: Sequence[Int64], *, features: bool = True, follows: bool = True
    ) -> RankedBatch:
        """Return the served lists after these items, without those in ``seen``.

        Parameters
        ----------
        features, follows : whether the pipeline learns of them
        """
        ids = self.artifact.manifest.item_ids
        windows = [[Behaviour(ids[row], "view", 0) for row in had] for had in revealed]
        return self.pipeline.recommend(
            self.catalogue, windows, [{ids[row] for row in had} for had in seen],
            self.rows if features else None, followed=self.followed if follows else None,
        )  # fmt: skip


def hidden_users(log: Interactions, seed: int) -> Int64:
    """Return a seeded fifth of the users with events, rising.

    Raises
    ------
    ValueError
        When no user would be hidden, or none left.
    """
    users = np.unique(log.wishes().users)
    n = round(HIDDEN_SHARE * len(users))
    if not 0 < n < len(users):
        raise ValueError(f"users with events: {len(users)}, share {HIDDEN_SHARE} hides {n}; give more users")
    return np.sort(np.random.default_rng(seed).permutation(users)[:n])


def evaluate_newcomers(data: NewcomerData, artifact: Artifact, seed: int) -> dict[str, Any]:
    """Return how good the lists of hidden users are.

    Returns
    -------
    dict ``unseen``: method to metrics for users without events, all of whose items are relevant;
        ``curve``: number of revealed events to method to metrics, for users with more than ten
        items, asked about their items beyond the tenth, the first ten never listed; ``gain``: of
        the served list over popularity, NDCG, the mean and twice its standard error;
        ``curve_gain``: the same after so many events; ``sources``: users whose first list stands on
        features or follows; ``weights`` that training chose, and ``leans_until``; ``users``,
        ``curve_users``: how many are asked.
    """
    asked = Asked.of(data, artifact, seed)
    nothing = [np.zeros(0, dtype=np.int64)] * len(asked.histories)
    methods = _methods(data)
    values = {name: _measured(asked, nothing, nothing, asked.histories, how) for name, how in methods.items()}
    last = REVEALED[-1]
    many = asked.part([i for i, had in enumerate(asked.histories) if len(had) > last])
    first, rest = [had[:last] for had in many.histories], [had[last:] for had in many.histories]
    curve, curve_gain = {}, {}
    for n in REVEALED:
        revealed = [had[:n] for had in many.histories]
        found = {
            name: _measured(many, revealed, first, rest, methods[name])
            for name in ("popularity", "events alone", "served")
        }
        curve[n] = {name: _means(of_users) for name, of_users in found.items()}
        curve_gain[n] = {name: _gain(found[name], found["popularity"]) for name in ("events alone", "served")}
    manifest = asked.artifact.manifest
    names = ("social", "features", "strength", "scale")
    return {
        "unseen": {name: _means(found) for name, found in values.items()},
        "curve": curve,
        "curve_gain": curve_gain,
        "gain": _gain(values["served"], values["popularity"]),
        "sources": _n_first(asked),
        "weights": {name: getattr(manifest.newcomers, name, 0.0) for name in names},
        "leans_until": 0.0 if manifest.leans_until is UNSET else manifest.leans_until,
        "users": len(asked.histories),
        "curve_users": len(many.histories),
    }


def _gain(ours: Mapping[str, Float32], theirs: Mapping[str, Float32]) -> list[float]:
    """Return how far NDCG lies above another, the mean over users, and twice its standard error."""
    gain = ours["ndcg"] - theirs["ndcg"]
    return [float(gain.mean()), 2 * float(gain.std()) / len(gain) ** 0.5]


Method = Callable[[Asked, Sequence[Int64], Sequence[Int64]], RankedBatch]


def _methods(data: NewcomerData) -> dict[str, Method]:
    """Return what makes lists from questions, revealed items and items not to list, by name."""
    nothing = np.zeros(0, dtype=np.int64)
    found: dict[str, Method] = {
        "popularity": lambda asked, revealed, seen: asked.lists(
            [nothing] * len(revealed), seen, features=False, follows=False
        ),
        "events alone": lambda asked, revealed, seen: asked.lists(revealed, seen, features=False, follows=False),
        "served": lambda asked, revealed, seen: asked.lists(revealed, seen),
    }
    if data.follows:
        found["friends' vote"] = lambda asked, _, seen: _voted(asked, seen)
        found["served, follows alone"] = lambda asked, revealed, seen: asked.lists(revealed, seen, features=False)
    if data.user_features:
        found["served, features alone"] = lambda asked, revealed, seen: asked.lists(revealed, seen, follows=False)
    return found


def _measured(
    asked: Asked, revealed: Sequence[Int64], seen: Sequence[Int64], relevant: Sequence[Int64], method: Method
) -> dict[str, Float32]:
    """Return hit, NDCG and recall at 10 of each user, (n,) float32 each."""
    discounts = 1.0 / np.log2(np.arange(2, K + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    of_row, hits = _rows_of(asked), np.zeros((len(relevant), K))
    for start in range(0, len(relevant), BATCH):
        part = slice(start, start + BATCH)
        chosen = asked.part(range(*part.indices(len(relevant))))
        lists = method(chosen, revealed[part], seen[part])
        for i, truth in enumerate(relevant[part]):
            listed = lists.rows[i, : lists.lengths[i]]
            hits[start + i, : len(listed)] = np.isin(listed, of_row[truth])
    n_relevant = np.array([len(truth) for truth in relevant])
    return {
        "hr": hits.any(axis=1).astype(np.float32),
        "ndcg": (hits @ discounts / ideal[np.minimum(n_relevant, K)]).astype(np.float32),
        "recall": (hits.sum(axis=1) / n_relevant).astype(np.float32),
    }


def _means(values: Mapping[str, Float32]) -> dict[str, float]:
    return {f"{name}@{K}": float(found.mean()) for name, found in values.items()}


def _rows_of(asked: Asked) -> Int64:
    """Return the catalogue's row of each of the artifact's items."""
    return asked.catalogue.rows_of(asked.artifact.manifest.item_ids)


def _n_first(asked: Asked) -> int:
    nothing = [np.zeros(0, dtype=np.int64)] * len(asked.histories)
    return int((asked.lists(nothing, nothing).degraded == DEGRADED.index("newcomer")).sum())


def _votes(log: Interactions, followed: Sequence[int]) -> Int64:
    """Return how many of the followed users have each item, (n_items,) int64."""
    pairs = [np.unique(log.items[places]) for places in places_of(log, np.array(sorted(followed), dtype=np.int64))]
    return np.bincount(np.concatenate([np.zeros(0, dtype=np.int64), *pairs]), minlength=len(log.item_ids))


def _voted(asked: Asked, seen: Sequence[Int64]) -> RankedBatch:
    """Return lists by the number of followed users who have an item, ties by popularity."""
    n, rows, popularity = len(seen), _rows_of(asked), asked.artifact.recent_popularity
    lists = RankedBatch.blank(asked.catalogue.item_ids, K, np.zeros((n, 1), np.float32), np.zeros((n, 1), np.float32))
    for i, had in enumerate(seen):
        votes = asked.votes[i].astype(np.float64)
        votes[had] = -np.inf
        best = np.lexsort((-popularity, -votes))[:K]
        lists.rows[i, : len(best)], lists.lengths[i] = rows[best], len(best)
    return lists
