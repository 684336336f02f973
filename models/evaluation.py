"""Offline evaluation: full ranking over the catalogue, seen items masked, the served pipeline beside its parts and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.artifact import Artifact
from models.catalogue import Catalogue, build_catalogue
from models.cold_start import DecayedCounts
from models.interactions import Interactions, next_item_counts
from models.metrics import coverage, novelty, summarize
from models.recommend import Pipeline
from models.types import Behaviour, Float32

K: Final = 10
BATCH: Final = 128
MIN_EVENTS_LOO: Final = 3
#: A rank past every cut-off: the target is not in the list.
MISSED: Final = 1_000_000
MODELS: Final = ("pipeline", "sequence", "mf", "popularity", "recent_popularity", "markov1")


@dataclass(frozen=True)
class Cases:
    """What is asked and what came next. ``seen`` are all items the user had before; ``now_ms`` the time of the question.

    Seen items are masked, so a target that the user had before is missed by every model; :attr:`n_repeats` counts them.
    """

    windows: list[list[Behaviour]]
    seen: list[set[str]]
    targets: list[str]
    now_ms: list[int]
    train: Interactions
    users: set[int]

    @property
    def n_repeats(self) -> int:
        """Return how many targets their user had before."""
        return sum(target in had for target, had in zip(self.targets, self.seen, strict=True))

    def __len__(self) -> int:
        return len(self.targets)


def leave_one_out(log: Interactions, max_length: int) -> Cases:
    """Return each user's last event as target, for users with at least three; baselines learn from everything but the targets."""
    last = {int(user): i for i, user in enumerate(log.users)}
    n_events = np.bincount(log.users, minlength=len(log.user_ids))
    positions = {i for user, i in last.items() if n_events[user] >= MIN_EVENTS_LOO}
    kept = np.array([i not in positions for i in range(len(log))])
    train = Interactions(log.user_ids, log.item_ids, log.users[kept], log.items[kept], log.types[kept], log.ts_ms[kept])
    return _cases(log, positions, train, max_length)


def time_split(log: Interactions, share: float, max_length: int) -> Cases:
    """Return every event after the ``share`` quantile of time whose user has an earlier one; each is asked before it is learnt."""
    cut_ms = int(np.quantile(log.ts_ms, share))
    n_train = int(np.searchsorted(log.ts_ms, cut_ms, side="right"))
    return _cases(log, set(range(n_train, len(log))), log.part(0, n_train), max_length)


def shuffle_ties(log: Interactions, seed: int) -> Interactions:
    """Return the log with events of equal time in random order: some logs' order gives the answer away."""
    order = np.lexsort((np.random.default_rng(seed).random(len(log)), log.ts_ms))
    return Interactions(
        log.user_ids, log.item_ids, log.users[order], log.items[order], log.types[order], log.ts_ms[order]
    )


def _cases(log: Interactions, positions: set[int], train: Interactions, max_length: int) -> Cases:
    windows: dict[int, list[Behaviour]] = {}
    had: dict[int, set[str]] = {}
    cases = Cases([], [], [], [], train, set())
    for position in range(len(log)):
        user, event = int(log.users[position]), log.behaviour(position)
        window, seen = windows.setdefault(user, []), had.setdefault(user, set())
        if position in positions and window:
            cases.users.add(user)
            cases.windows.append(list(window))
            cases.seen.append(set(seen))
            cases.targets.append(event.item_id)
            cases.now_ms.append(event.ts_ms)
        window.append(event)
        del window[:-max_length]
        seen.add(event.item_id)
    return cases


def evaluate(
    artifact: Artifact,
    vectors: Mapping[str, Float32],
    cases: Cases,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[str, dict[str, float]]:
    """Return hit rate, NDCG and MRR (all cut at 10), coverage and novelty of each model in :data:`MODELS`.

    Parameters
    ----------
    vectors : the catalogue: item id to raw text embedding; items of the log without one get zeros

    Raises
    ------
    ValueError
        When there is nothing to evaluate.
    """
    if not len(cases):
        raise ValueError("no user has enough events: nothing to evaluate")
    dim = artifact.whitening.mean.shape[0]
    items = {item_id: vectors.get(item_id, np.zeros(dim, dtype=np.float32)) for item_id in cases.train.item_ids}
    catalogue = build_catalogue(artifact, items | dict(vectors), generation=1)
    baselines = _Baselines(cases.train, catalogue)
    pipeline = Pipeline(artifact, k=K)
    lists: dict[str, list[list[str]]] = {name: [] for name in MODELS}
    for start in range(0, len(cases), BATCH):
        part = slice(start, start + BATCH)
        windows, seen = cases.windows[part], cases.seen[part]
        now = catalogue.with_popularity(baselines.recent_scores(cases.now_ms[start]))
        ranked = pipeline.recommend(now, windows, seen)
        lists["pipeline"] += [[item.item_id for item in one.items] for one in ranked]
        scores = pipeline.score_all(now, windows) | baselines.scores(windows, cases.now_ms[part])
        for name, values in scores.items():
            lists[name] += list(_top(values, catalogue, seen))
        on_progress(min(start + BATCH, len(cases)), len(cases))
    counts = dict(
        zip(cases.train.item_ids, np.bincount(cases.train.items, minlength=len(cases.train.item_ids)), strict=True)
    )
    return {name: _metrics(lists[name], cases.targets, len(catalogue.item_ids), counts) for name in MODELS}


def _metrics(
    lists: Sequence[Sequence[str]], targets: Sequence[str], n_items: int, counts: Mapping[str, float]
) -> dict[str, float]:
    ranks = [one.index(t) + 1 if t in one else MISSED for one, t in zip(lists, targets, strict=True)]
    found = summarize(np.array(ranks), K)
    return found | {"coverage": coverage(lists, n_items), "novelty": novelty(lists, counts)}


def _top(scores: Float32, catalogue: Catalogue, seen: Sequence[set[str]]) -> Iterator[list[str]]:
    """Yield the K best unseen items of each row of scores; ties go to the lower row."""
    for row, had in zip(scores, seen, strict=True):
        order = np.argsort(-row, kind="stable")[: K + len(had)]
        yield [catalogue.item_ids[i] for i in order if catalogue.item_ids[i] not in had][:K]


class _Baselines:
    """Popularity, recent popularity and next-item counts, from the training part alone."""

    def __init__(self, train: Interactions, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._counts = DecayedCounts()
        self._counts.add_all((train.item_ids[item], int(ts)) for item, ts in zip(train.items, train.ts_ms, strict=True))
        row_of = np.array([catalogue.row_of[item_id] for item_id in train.item_ids])
        n = len(catalogue.item_ids)
        self._popularity = np.bincount(row_of[train.items], minlength=n).astype(np.float32)
        self._next_rows, self._next_shares = next_item_counts(train.users, row_of[train.items], n, n_next=min(n, 200))

    def recent_scores(self, now_ms: int) -> Float32:
        """Return decayed counts over the catalogue, (n_items,) float32."""
        return self._counts.scores(self._catalogue.item_ids, now_ms)

    def scores(self, windows: Sequence[Sequence[Behaviour]], now_ms: Sequence[int]) -> dict[str, Float32]:
        """Return each baseline's scores, (n, n_items) float32; next-item counts are padded with popularity."""
        n, total = len(windows), max(float(self._popularity.sum()), 1.0)
        padding = self._popularity / total * 1e-3
        markov = np.tile(padding, (n, 1))
        for i, window in enumerate(windows):
            row = self._catalogue.row_of.get(window[-1].item_id)
            if row is not None:
                known = self._next_rows[row] >= 0
                markov[i, self._next_rows[row][known]] += self._next_shares[row][known]
        recent = self.recent_scores(now_ms[0])
        return {
            "popularity": np.broadcast_to(self._popularity, (n, len(padding))),
            "recent_popularity": np.broadcast_to(recent, (n, len(padding))),
            "markov1": markov.astype(np.float32),
        }
