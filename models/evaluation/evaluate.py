"""Offline evaluation of the served pipeline, its sources and baselines, on the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np

from models.artifact.artifact import Artifact
from models.base.observer import Observer
from models.base.types import Behaviour, Bool, Float32, Int64
from models.evaluation.ablation import Ablation
from models.evaluation.baselines import BASELINES, OWN_ITEMS, Baseline, LearntEvents, fit_baselines
from models.evaluation.comparison import hit_tests, leads, moving_hit_rate
from models.evaluation.examples import drawn, example
from models.evaluation.followed import FollowedBefore
from models.evaluation.splits import Cases, histories_before
from models.features.columns import Row
from models.interactions import windows_before
from models.metrics.bootstrap import mean_interval
from models.metrics.probabilities import summarize_probabilities
from models.metrics.ranking import MISSED, coverage, intra_list_diversity, novelty, ranks_in, summarize, values_of_ranks
from models.popularity import DecayedCounts
from models.ranking.candidates import seen_rows
from models.ranking.catalogue import Catalogue, build_catalogue
from models.ranking.newcomers.social import Followed
from models.ranking.pipeline import Pipeline
from models.rules.repeats import Repeats

K: Final = 10
BATCH: Final = 128
#: Blocks of a prequential evaluation: the baselines learn a block after it was asked.
N_BLOCKS: Final = 20
#: The pipeline's sources of candidates; each is also evaluated as a model of its own.
SOURCES: Final = ("sequence", "mf", "next", "neighbours", "recent_popularity")
DEFAULT_BASELINES: Final = tuple(name for name in BASELINES if name not in ("recent_popularity", *OWN_ITEMS))


@dataclass(frozen=True)
class Inputs:
    """What is evaluated, and beside what.

    Parameters
    ----------
    vectors : the catalogue: item id to raw text embedding; items of the log without one get zeros
    item_features, user_features : id to features by name
    follows : user id to the ids of the users whom the user follows
    baselines : names from ``models.evaluation.baselines.BASELINES``; recent popularity is always
        there, as a source
    repeats : which items that the user had before lists may hold; None asks the artifact. Hidden
        items they never hold
    others : further models by name: catalogue and windows to scores, (n, n_items) float32
    left_out : baselines that the caller left out, with the reason
    """

    artifact: Artifact
    vectors: Mapping[str, Float32]
    item_features: Mapping[str, Row] = field(default_factory=dict)
    user_features: Mapping[str, Row] = field(default_factory=dict)
    follows: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baselines: Sequence[str] = DEFAULT_BASELINES
    repeats: Repeats | None = None
    others: Mapping[str, Callable[[Catalogue, Sequence[Sequence[Behaviour]]], Float32]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Ranked:
    """One model's answers so far: the target's rank (from 1) and the listed rows (-1 for none)."""

    ranks: list[Int64] = field(default_factory=list)
    rows: list[Int64] = field(default_factory=list)


@dataclass(frozen=True)
class _Batch:
    """Questions of about one time, with the catalogue of that time."""

    catalogue: Catalogue
    cases: slice
    windows: list[list[Behaviour]]
    left_out: list[set[str]]
    histories: list[Int64]
    targets: Int64
    now_ms: list[int]
    users: list[Row]
    followed: list[Followed | None] | None


def evaluate(inputs: Inputs, cases: Cases, *, seed: int, observer: Observer = Observer()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Return the content of a report.

    A list holds 10 items; rank, NDCG and MRR are cut there, so recall of the one target is the hit
    rate. Intervals are percentile bootstrap, 95 %, over users.

    Parameters
    ----------
    observer : told of the baselines fitted and the questions answered, with NDCG so far

    Returns
    -------
    dict ``models``, ``baselines_left_out`` (those that could not run, with the reason), ``lead``
        (of the pipeline over each other model), ``examples`` (a few cases), ``ablation`` (a source
        or feature silenced, fusion not fitted again), ``sigmoid``, ``cold``; for the prequential
        protocol also ``curves`` and ``mcnemar``.

    Raises
    ------
    ValueError
        When no question exists, or a baseline is unknown.
    """
    if not len(cases):
        raise ValueError("no user has enough events: nothing to evaluate")
    unknown = sorted(set(inputs.baselines) - set(BASELINES))
    if unknown:
        raise ValueError(f"baseline {unknown[0]!r}: must be one of {', '.join(BASELINES)}")
    return _Evaluation(inputs, cases, seed, observer).run()


class _Evaluation:
    def __init__(self, inputs: Inputs, cases: Cases, seed: int, observer: Observer) -> None:
        inputs = replace(inputs, artifact=inputs.artifact.beside(cases.log.kinds))
        self._inputs, self._cases, self._seed, self._observer = inputs, cases, seed, observer
        log, artifact = cases.log, inputs.artifact
        nothing = np.zeros(artifact.whitening.mean.shape[0], dtype=np.float32)
        items = {item_id: inputs.vectors.get(item_id, nothing) for item_id in log.item_ids} | dict(inputs.vectors)
        self._catalogue = build_catalogue(artifact, items, generation=1, features=inputs.item_features)
        self._row_of = np.array([self._catalogue.row_of[item_id] for item_id in log.item_ids])
        self._pipeline = Pipeline(artifact, k=K)
        self._followed = FollowedBefore(artifact, self._catalogue, log, inputs.follows, self._row_of)
        self._repeats = artifact.repeats if inputs.repeats is None else inputs.repeats
        self._ranked: dict[str, _Ranked] = {}
        self._left_out = dict(inputs.left_out)
        self._ablation = Ablation(artifact, len(cases), seed)
        self._new_ranks: dict[str, list[Int64]] = {"content": [], "recent_popularity": []}
        self._probabilities: list[Float32] = []
        self._labels: list[Bool] = []
        self._gain = 0.0
        self._shown = drawn(cases, seed)
        self._examples: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Answer all questions, batch by batch, and summarise."""
        for block in self._blocks():
            baselines = self._fit_baselines(block.start)
            for batch in self._batches(block):
                self._ask_pipeline(batch)
                scores_of = self._pipeline.score_all(batch.catalogue, batch.windows)
                for name, scores in scores_of.items():
                    self._add_scores(name, scores, batch)
                self._rank_new(batch, scores_of)
                for name, score in self._inputs.others.items():
                    self._add_scores(name, score(batch.catalogue, batch.windows), batch)
                for baseline in baselines:
                    self._add_scores(baseline.name, baseline.scores(batch.histories, batch.now_ms), batch)
                self._tell(batch.cases.stop)
        result: dict[str, Any] = {
            "models": {name: self._summary(found) for name, found in self._ranked.items()},
            "ablation": self._ablation.summary(),
            "examples": self._examples,
            "baselines_left_out": self._left_out,
        }
        ranks = self._all_ranks()
        ours = ranks.pop("pipeline")
        result["lead"] = leads(ours, ranks, self._cases.users, K, self._seed)
        probabilities = np.concatenate(self._probabilities)
        if len(probabilities):  # a user who has had the whole catalogue has no candidates
            threshold = self._inputs.artifact.manifest.metrics.get("threshold", 0.5)
            result["sigmoid"] = summarize_probabilities(probabilities, np.concatenate(self._labels), threshold)
        result["cold"] = self._cold()
        if self._cases.protocol == "prequential":
            result["curves"] = {name: moving_hit_rate(found, K) for name, found in self._all_ranks().items()}
            result["mcnemar"] = hit_tests(ours, ranks, K)
        return result

    def _all_ranks(self) -> dict[str, Int64]:
        return {name: np.concatenate(found.ranks) for name, found in self._ranked.items()}

    def _tell(self, n_done: int) -> None:
        """Tell how many questions are answered, and NDCG of the lists so far."""
        self._gain += float(values_of_ranks(self._ranked["pipeline"].ranks[-1], K)["ndcg@10"].sum())
        self._observer.on_progress("evaluating", n_done, len(self._cases))
        self._observer.on_scalar("ndcg@10", self._gain / n_done, n_done)

    def _blocks(self) -> Iterator[slice]:
        n = len(self._cases)
        size = n if self._cases.protocol != "prequential" else max(1, -(-n // N_BLOCKS))
        for start in range(0, n, size):
            yield slice(start, min(start + size, n))

    def _fit_baselines(self, first_case: int) -> list[Baseline]:
        cases, log = self._cases, self._cases.log
        known = cases.learnt.copy()
        if cases.protocol == "prequential":
            known[: cases.positions[first_case]] = True
        known &= log.is_positive
        learnt = log.where(known)
        rows, n_users, n_items = self._row_of[learnt.items], len(log.user_ids), len(self._catalogue.item_ids)
        events = LearntEvents(learnt.users, rows, learnt.ts_ms, n_users, n_items, learnt.weights)
        names = [name for name in self._inputs.baselines if name not in (*SOURCES, *self._left_out)]
        tell = partial(self._observer.on_progress, "fitting baselines")
        fitted, left_out = fit_baselines(names, events, tell)
        self._left_out |= left_out
        # of a later block of a prequential evaluation: the earlier ones do not stand alone
        for name in left_out:
            self._ranked.pop(name, None)
        return fitted

    def _batches(self, block: slice) -> Iterator[_Batch]:
        """Yield batches in time order.

        A batch's popularity counts the events before its first question: the learnt ones for
        leave-one-out, all for a split by time.
        """
        cases, log, row_of = self._cases, self._cases.log, self._catalogue.row_of
        max_length = self._inputs.artifact.sequence.config.max_length
        positions = cases.positions[block].tolist()
        windows, seen, targets = windows_before(log, positions, max_length, self._repeats)
        hidden = [log.hidden_at(position) for position in positions]
        histories = histories_before(log.users, self._row_of[log.items], positions, log.is_positive)
        is_counted = cases.learnt if cases.protocol == "loo" else np.ones(len(log), dtype=np.bool_)
        counts, done = DecayedCounts(), 0
        for start in range(0, len(positions), BATCH):
            part, first = slice(start, start + BATCH), positions[start]
            new = np.flatnonzero(is_counted[done:first]) + done
            done = max(done, first)
            log.where(new).count_by(counts.add)
            now = self._catalogue.with_popularity(counts.scores(self._catalogue.item_ids, int(log.ts_ms[first])))
            user_ids = [log.user_ids[user] for user in log.users[positions[part]].tolist()]
            yield _Batch(
                now,
                slice(block.start + start, min(block.start + start + BATCH, block.stop)),
                windows[part],
                [had | hid for had, hid in zip(seen[part], hidden[part], strict=True)],
                histories[part],
                np.array([row_of[item] for item in targets[part]]),
                log.ts_ms[positions[part]].tolist(),
                [self._inputs.user_features.get(user_id, {}) for user_id in user_ids],
                self._followed.of(user_ids, first),
            )

    def _ask_pipeline(self, batch: _Batch) -> None:
        known = self._pipeline.known(batch.users, batch.followed, len(batch.windows))
        found = self._pipeline.candidates(
            batch.catalogue, batch.windows, batch.left_out, known=known, repeats=self._repeats
        )
        probabilities = self._pipeline.probabilities(batch.catalogue, found, batch.users)
        lists = self._pipeline.rank(batch.catalogue, found, probabilities)
        self._add("pipeline", ranks_in(lists.rows, batch.targets), lists.rows)
        for case in sorted(self._shown.intersection(range(batch.cases.start, batch.cases.stop))):
            i, ids = case - batch.cases.start, batch.catalogue.item_ids
            user_id = self._cases.log.user_ids[self._cases.users[case]]
            had, listed = (
                [ids[row] for row in batch.histories[i]],
                [ids[row] for row in lists.rows[i, : lists.lengths[i]]],
            )
            self._examples.append(example(user_id, had, listed, ids[batch.targets[i]]))
        is_target = found.rows == batch.targets[:, None]
        self._probabilities.append(probabilities[found.valid])
        self._labels.append(is_target[found.valid])
        self._ablation.add(batch.cases, batch.catalogue, found, batch.users, is_target & found.valid)

    def _add_scores(self, name: str, scores: Float32, batch: _Batch) -> None:
        """Rank the whole catalogue; ties count against the target."""
        scores = np.array(scores, dtype=np.float32)
        for i, rows in enumerate(seen_rows(batch.catalogue, batch.windows, batch.left_out, self._repeats)):
            scores[i, rows] = -np.inf
        own = scores[np.arange(len(scores)), batch.targets]
        ranks = (scores >= own[:, None]).sum(axis=1)
        ranks[~np.isfinite(own)] = MISSED
        k = min(K, scores.shape[1])
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(
            best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable"), axis=1
        )
        is_shown = np.isfinite(np.take_along_axis(scores, best, axis=1))
        self._add(name, ranks, np.where(is_shown, best, -1))

    def _rank_new(self, batch: _Batch, scores_of: Mapping[str, Float32]) -> None:
        """Rank new targets among the new items only, by their text and by events since training.

        Ties count against the target.
        """
        is_new = batch.catalogue.is_new
        for name, source in (("content", "sequence"), ("recent_popularity", "recent_popularity")):
            scores = scores_of[source]
            own = scores[np.arange(len(scores)), batch.targets]
            ranks = (scores[:, is_new] >= own[:, None]).sum(axis=1)
            self._new_ranks[name].append(np.where(is_new[batch.targets], ranks, MISSED))

    def _add(self, name: str, ranks: Int64, rows: Int64) -> None:
        found = self._ranked.setdefault(name, _Ranked())
        found.ranks.append(ranks)
        found.rows.append(rows)

    def _summary(self, found: _Ranked) -> dict[str, Any]:
        ranks, rows = np.concatenate(found.ranks), np.concatenate(found.rows)
        users, values = self._cases.users, values_of_ranks(ranks, K)
        lists = [[str(row) for row in one if row >= 0] for one in rows.tolist()]
        n_items = len(self._catalogue.item_ids)
        counts = np.bincount(self._row_of[self._cases.train.wishes().items], minlength=n_items)
        summary: dict[str, Any] = summarize(ranks, K) | {"recall@10": float(values["hr@10"].mean())}
        for name in ("hr@10", "ndcg@10"):
            summary[f"{name}_ci"] = list(mean_interval(values[name], seed=self._seed, clusters=users))
        return summary | {
            "coverage": coverage(lists, n_items),
            "novelty": novelty(lists, {str(row): count for row, count in enumerate(counts.tolist())}),
            "diversity": intra_list_diversity(self._catalogue.text_unit, rows),
        }

    def _cold(self) -> list[dict[str, Any]]:
        """Return each model's metrics on cold cases: new items, new users, short histories."""
        log, positions = self._cases.log, self._cases.positions
        learnt = self._cases.train.wishes()
        is_known_item = np.bincount(learnt.items, minlength=len(log.item_ids)) > 0
        is_known_user = np.bincount(learnt.users, minlength=len(log.user_ids)) > 0
        n_before = np.array(
            [len(history) for history in histories_before(log.users, log.items, positions.tolist(), log.is_positive)]
        )
        is_new_item, is_new_user = ~is_known_item[log.items[positions]], ~is_known_user[log.users[positions]]
        first = np.full(len(log.item_ids), len(log), dtype=np.int64)
        first[log.items[::-1]] = np.arange(len(log))[::-1]  # the earliest write stays
        is_first = first[log.items[positions]] == positions
        subsets = {
            "new items": is_new_item,
            "new items, no event yet": is_new_item & is_first,
            "new users": is_new_user,
            "new users, 1 event": is_new_user & (n_before == 1),
            "new users, 2 to 5 events": is_new_user & (n_before >= 2) & (n_before <= 5),
        }
        ranks = self._all_ranks()
        among_new = {name: np.concatenate(found) for name, found in self._new_ranks.items()}
        table = []
        for what, subset in subsets.items():
            asked = [(what, ranks)] + (
                [(f"{what}, among new items", among_new)] if what.startswith("new items") else []
            )
            for cases, models in asked if subset.any() else ():
                for name, values in models.items():
                    row: dict[str, Any] = {"cases": cases, "n": int(subset.sum()), "model": name}
                    table.append(row | summarize(values[subset], K))
        return table
