"""Makes the cases from which fusion learns: the candidates before each later event of a log.

Popularity is that of the time of the event, not of the end of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from models.artifact.artifact import Artifact
from models.base.types import AnyArray, Behaviour, Bool, Float32
from models.features.columns import Row
from models.fusion import FusionData
from models.interactions import Interactions, windows_before
from models.metrics.ranking import MISSED, summarize
from models.popularity import DecayedCounts
from models.ranking.candidates import gather, user_side
from models.ranking.catalogue import Catalogue
from models.ranking.pipeline import Pipeline
from models.rules.repeats import NO_REPEATS, Repeats

BATCH: Final = 64
N_CANDIDATES: Final = 100


@dataclass(frozen=True)
class Questions:
    """Questions of about one time: windows, next items, and the catalogue of that time.

    Parameters
    ----------
    windows, seen : per user, the behaviours before the question, and the items that may not come
        back
    targets : per user, the next item's id
    users : per user, features by name
    n_done : questions asked so far, with this batch
    """

    catalogue: Catalogue
    windows: list[list[Behaviour]]
    seen: list[set[str]]
    targets: list[str]
    users: list[Row]
    n_done: int


def questions(
    catalogue: Catalogue,
    log: Interactions,
    positions: Sequence[int],
    max_length: int,
    user_features: Mapping[str, Row],
    repeats: Repeats = NO_REPEATS,
) -> Iterator[Questions]:
    """Yield questions in time order.

    The popularity of a batch counts only events before its first question.

    Parameters
    ----------
    positions : of the events to predict, rising
    max_length : behaviours of a window
    repeats : which items may come back
    """
    windows, seen, targets = windows_before(log, positions, max_length, repeats)
    counts, next_position = DecayedCounts(), 0
    for start in range(0, len(positions), BATCH):
        part = slice(start, start + BATCH)
        first = positions[start]
        log.where(slice(next_position, max(next_position, first))).count_by(counts.add)
        next_position = max(next_position, first)
        now = catalogue.with_popularity(counts.scores(catalogue.item_ids, int(log.ts_ms[first])))
        users = [user_features.get(log.user_ids[log.users[p]], {}) for p in positions[part]]
        yield Questions(now, windows[part], seen[part], targets[part], users, min(start + BATCH, len(positions)))


def collect(
    artifact: Artifact, asked: Iterator[Questions], on_progress: Callable[[int], None] = lambda _done: None
) -> FusionData | None:
    """Return the candidates of all questions as one block, None without questions."""
    features, rows, valid, users, targets = [], [], [], [], []
    catalogue = None
    for batch in asked:
        catalogue = batch.catalogue
        found = gather(artifact, batch.catalogue, batch.windows, batch.seen, N_CANDIDATES)
        target_rows = np.array([batch.catalogue.row_of.get(item, -1) for item in batch.targets])
        is_target = (found.rows == target_rows[:, None]) & found.valid
        targets.append(np.where(is_target.any(axis=1), is_target.argmax(axis=1), -1))
        features.append(found.features)
        rows.append(found.rows)
        valid.append(found.valid)
        users.append(user_side(artifact, found.user_vectors, batch.users))
        on_progress(batch.n_done)
    if catalogue is None:
        return None
    width = max(block.shape[1] for block in rows)
    return FusionData(
        features=torch.from_numpy(_joined(features, width)),
        rows=torch.from_numpy(_joined(rows, width)),
        valid=torch.from_numpy(_joined(valid, width)),
        users=torch.from_numpy(np.concatenate(users)),
        items=torch.from_numpy(catalogue.side),
        targets=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
    )


def measure(artifact: Artifact, asked: Iterator[Questions]) -> dict[str, float]:
    """Return hit rate, NDCG and MRR of the served lists and of recent popularity.

    Empty without questions.

    ``threshold`` is the probability at which a decision "next item" has the greatest F1.
    """
    pipeline = Pipeline(artifact, k=10, n_candidates=N_CANDIDATES)
    ranks: list[int] = []
    popular_ranks: list[int] = []
    pairs: list[tuple[Float32, Bool]] = []
    for batch in asked:
        found = gather(artifact, batch.catalogue, batch.windows, batch.seen, N_CANDIDATES)
        probabilities = pipeline.probabilities(batch.catalogue, found, batch.users)
        target_rows = np.array([batch.catalogue.row_of.get(item, -1) for item in batch.targets])
        pairs.append((probabilities[found.valid], (found.rows == target_rows[:, None])[found.valid]))
        lists = pipeline.rank(batch.catalogue, found, probabilities)
        for ranked, had, target in zip(lists, batch.seen, batch.targets, strict=True):
            ranks.append(_rank([item.item_id for item in ranked.items], target))
            popular = (batch.catalogue.item_ids[r] for r in batch.catalogue.popular_rows[: 10 + len(had)])
            popular_ranks.append(_rank([item for item in popular if item not in had][:10], target))
    if not ranks:
        return {}
    ours, theirs = summarize(np.array(ranks)), summarize(np.array(popular_ranks))
    threshold = best_threshold(np.concatenate([p for p, _ in pairs]), np.concatenate([y for _, y in pairs]))
    others = {f"recent_popularity_{name}": value for name, value in theirs.items()}
    return ours | others | {"threshold": threshold, "n": float(len(ranks))}


def best_threshold(probabilities: Float32, labels: Bool) -> float:
    """Return the probability at which F1 of ``probability >= threshold`` is greatest.

    0.5 where no label is positive.

    Parameters
    ----------
    probabilities, labels : (n,), in the same order
    """
    order = np.argsort(-probabilities, kind="stable")
    hits = np.cumsum(labels[order])
    if not len(hits) or not hits[-1]:
        return 0.5
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    # equal probabilities are decided alike
    is_last = np.append(np.diff(probabilities[order]) < 0, True)
    return float(probabilities[order][np.argmax(np.where(is_last, f1, -1.0))])


def _joined(blocks: list[AnyArray], width: int) -> AnyArray:
    """Return blocks (n, c, ...) as one array, padded with zeros to ``width`` candidates."""
    total = sum(len(block) for block in blocks)
    out = np.zeros((total, width, *blocks[0].shape[2:]), dtype=blocks[0].dtype)
    start = 0
    for block in blocks:
        out[start : start + len(block), : block.shape[1]] = block
        start += len(block)
    return out


def _rank(listed: list[str], target: str) -> int:
    return listed.index(target) + 1 if target in listed else MISSED
