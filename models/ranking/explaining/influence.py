"""Which past items pulled an item into a list: the score that it would have without each.

The sequence model is a recurrence without attention, so no weights say which behaviour mattered.
Leaving one past item out and ranking again does, for the whole pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from models.base.types import Behaviour
from models.ranking.catalogue import Catalogue
from models.ranking.explaining.tracing import NOBODY, Person
from models.ranking.pipeline import Pipeline


@dataclass(frozen=True)
class Influence:
    """What a past item did for another item's score.

    Parameters
    ----------
    item_id : the past item; all its behaviours in the window together
    without : the other item's probability in the list of a window without it; None where the other
        item would not have been a candidate
    change : ``score - without``; all of the score where it would not have been a candidate
    """

    item_id: str
    without: float | None
    change: float


def influences(
    pipeline: Pipeline,
    catalogue: Catalogue,
    window: Sequence[Behaviour],
    extra_seen: AbstractSet[str],
    row: int,
    score: float,
    person: Person = NOBODY,
    past: Sequence[str] | None = None,
) -> list[Influence]:
    """Return what each past item did for the item of a row, the greatest change first.

    The past item stays one that the user has had. Without its only past item a window is empty, and
    the score is the item's share of popularity.

    Parameters
    ----------
    score : the item's probability in the list of the whole window
    person : what is known of the user beside the window
    past : the past items in question, of the window; None for all
    """
    item_ids = list(dict.fromkeys(behaviour.item_id for behaviour in window) if past is None else past)
    if not item_ids:
        return []
    windows = [[each for each in window if each.item_id != item_id] for item_id in item_ids]
    target = catalogue.item_ids[row]
    seen = [extra_seen | ({item_id} - {target}) for item_id in item_ids]
    n_windows = len(windows)
    found = pipeline.candidates(catalogue, windows, seen, known=person.known(pipeline, n_windows))
    probabilities = pipeline.probabilities(catalogue, found, person.rows(n_windows))
    made = []
    for i, item_id in enumerate(item_ids):
        n = int(found.counts[i])
        at = int(np.searchsorted(found.rows[i, :n], row))
        without = float(probabilities[i, at]) if at < n and found.rows[i, at] == row else None
        made.append(Influence(item_id, without, score - (without or 0.0)))
    return sorted(made, key=lambda one: -one.change)
