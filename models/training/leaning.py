"""Learns until how many events lists lean on popularity, on users whom it hides.

The parts are fitted to the events of the other users alone. The hidden users reveal their first
items, and the pipeline that serves is asked for the others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from msgspec import UNSET

from models.artifact.artifact import Artifact
from models.base.types import Float32, Int64
from models.interactions import Interactions
from models.ranking.candidates import Candidates
from models.ranking.catalogue import Catalogue
from models.ranking.newcomers.histories import places_of
from models.ranking.pipeline import Pipeline
from models.training.clear_gain import clearly_best, is_clear

#: Share of the users who are hidden, and how many at most.
HIDDEN_SHARE: Final = 0.2
MAX_HIDDEN: Final = 1_000
#: With fewer hidden users chance would choose.
MIN_HIDDEN: Final = 20
#: Events until which lists may lean; 0 for never.
UNTIL: Final = (0.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
#: Events that hidden users reveal.
REVEALED: Final = (1, 2, 3, 5, 10, 15)
#: Users asked at once.
BATCH: Final = 128
K: Final = 10


def hidden_users(log: Interactions, seed: int) -> Int64:
    """Return a seeded share of the users with two or more items, rising; empty where too few."""
    wishes, n_items = log.wishes(), len(log.item_ids)
    pairs = np.unique(wishes.users.astype(np.int64) * n_items + wishes.items)
    users = np.flatnonzero(np.bincount(pairs // n_items, minlength=len(log.user_ids)) > 1).astype(np.int64)
    n = min(MAX_HIDDEN, int(HIDDEN_SHARE * len(users)))
    chosen = np.sort(np.random.default_rng(seed).permutation(users)[:n])
    return chosen if n >= MIN_HIDDEN else chosen[:0]


def best_until(artifact: Artifact, catalogue: Catalogue, log: Interactions, hidden: Int64, seed: int) -> float:
    """Return until how many events lists lean on popularity; 0 where that does not help clearly.

    Of those that are not clearly worse than the best it is the longest: to lean too long costs less
    than a list below popularity.

    Parameters
    ----------
    artifact : of the other users
    hidden : rows of the log's users who are asked
    """
    gains = gains_of(artifact, catalogue, log, hidden, seed)
    best = clearly_best(gains, 0.0)
    return max(until for until in UNTIL if until >= best and not is_clear(gains[best] - gains[until])) if best else 0.0


def gains_of(
    artifact: Artifact, catalogue: Catalogue, log: Interactions, hidden: Int64, seed: int
) -> dict[float, Float32]:
    """Return by each of :data:`UNTIL` the mean gain in NDCG over 0 of each user, (n,) float32."""
    rng, wishes = np.random.default_rng(seed), log.wishes()
    histories = [rng.permutation(_each_once(wishes, places)) for places in places_of(wishes, hidden)]
    pipelines = {until: Pipeline(leaning_until(artifact, until)) for until in UNTIL}
    totals = {until: np.zeros(len(hidden), dtype=np.float32) for until in UNTIL}
    n_asked = np.zeros(len(hidden), dtype=np.float32)
    for n in REVEALED:
        users = [user for user, had in enumerate(histories) if len(had) > n]
        for start in range(0, len(users), BATCH):
            part = users[start : start + BATCH]
            windows = [[wishes.behaviour(place) for place in histories[user][:n]] for user in part]
            relevant = _rows(catalogue, wishes, [histories[user][n:] for user in part])
            found = pipelines[0.0].candidates(catalogue, windows)
            for until, pipeline in pipelines.items():
                totals[until][part] += _ndcg(found, pipeline.probabilities(catalogue, found), relevant)
            n_asked[part] += 1
    times: Float32 = np.maximum(n_asked, 1).astype(np.float32)
    return {until: (found - totals[0.0]) / times for until, found in totals.items()}


def leaning_until(artifact: Artifact, until: float) -> Artifact:
    """Return the artifact with another number of events until which its lists lean; 0 for none."""
    manifest = copy.copy(artifact.manifest)
    manifest.leans_until = until or UNSET
    return replace(artifact, manifest=manifest)


def _each_once(log: Interactions, places: Int64) -> Int64:
    """Return the places of the first event of each item."""
    return places[np.unique(log.items[places], return_index=True)[1]]


def _rows(catalogue: Catalogue, log: Interactions, places: Sequence[Int64]) -> list[Int64]:
    return [catalogue.rows_of([log.item_ids[item] for item in log.items[one].tolist()]) for one in places]


def _ndcg(found: Candidates, probabilities: Float32, relevant: Sequence[Int64]) -> Float32:
    """Return the NDCG at 10 of each user's best candidates, (n,) float32."""
    order = np.argsort(np.where(found.valid, -probabilities, np.inf), axis=1, kind="stable")[:, :K]
    discounts = 1.0 / np.log2(np.arange(2, K + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])
    values = np.zeros(len(relevant), dtype=np.float32)
    for user, truth in enumerate(relevant):
        best = order[user][found.valid[user, order[user]]]
        hits = np.isin(found.rows[user, best], truth)
        values[user] = discounts[: len(best)] @ hits / ideal[min(len(truth), K)]
    return values
