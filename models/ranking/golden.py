"""Makes an artifact's golden windows, and checks that it gives their lists on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from models.artifact.artifact import Artifact, with_golden
from models.artifact.golden import MAX_ITEMS, Golden
from models.base.types import Behaviour, Float32
from models.features.columns import Row
from models.interactions import Interactions
from models.metrics.same_lists import list_difference
from models.ranking.catalogue import build_catalogue
from models.ranking.pipeline import Pipeline

N_WINDOWS: Final = 64
#: Of these, windows that the models know little or nothing of.
N_COLD: Final = 16
N_ITEMS: Final = 300
K: Final = 10
N_CANDIDATES: Final = 100
#: Items that only the golden catalogue has: a text, and no event.
N_NEW: Final = 8


def add_golden(
    artifact: Artifact, log: Interactions, vectors: Mapping[str, Float32], features: Mapping[str, Row]
) -> Artifact:
    """Return the artifact with golden windows of the log that it was trained on.

    The windows have lengths from 1 to the most that the model takes. A quarter is cold: no window,
    unknown items alone, and new items that have a text and no event.

    Parameters
    ----------
    vectors : raw text embedding of each item, (dim,) float32; an item without one has zeros
    features : features of each item
    """
    windows = _windows(log, artifact.sequence.config.max_length)
    ids = _item_ids(artifact, windows)
    dim = len(artifact.whitening.mean)
    nothing = np.zeros(dim, dtype=np.float32)
    raw = [np.asarray(vectors.get(item_id, nothing), dtype="<f4") for item_id in ids]
    new = [f"golden new item {number}" for number in range(N_NEW)]
    raw += [raw[number % len(ids)] for number in range(N_NEW)]
    rows = [dict(features.get(item_id, {})) for item_id in ids] + [{} for _ in new]
    golden = Golden(
        k=K,
        n_candidates=N_CANDIDATES,
        dim=dim,
        item_ids=ids + new,
        vectors=np.stack(raw).astype("<f4").tobytes(),
        features=[
            {name: list(v) if isinstance(v, Sequence) and not isinstance(v, str) else v for name, v in row.items()}
            for row in rows
        ],
        windows=[[(one.item_id, one.type, one.ts_ms) for one in window] for window in [*windows, *_cold(windows, new)]],
        ids=[],
        scores=[],
    )
    for found in golden_lists(artifact, golden):
        golden.ids.append([item_id for item_id, _ in found])
        golden.scores.append([score for _, score in found])
    return with_golden(artifact, golden)


def golden_difference(artifact: Artifact) -> str:
    """Return the first golden list that this artifact does not give here, and how it differs.

    The text is empty where all are given, up to rounding, and for an artifact without any.
    """
    golden = artifact.golden
    if golden is None:
        return ""
    for number, found in enumerate(golden_lists(artifact, golden)):
        expected = list(zip(golden.ids[number], golden.scores[number], strict=True))
        if why := list_difference(found, expected):
            n = len(golden.windows[number])
            return f"golden window {number + 1} of {len(golden.windows)}, {n} behaviours long: {why}"
    return ""


def golden_lists(artifact: Artifact, golden: Golden) -> list[list[tuple[str, float]]]:
    """Return the list of each golden window, as this machine makes it."""
    own = replace(artifact, kinds=artifact.manifest.kinds)
    features = dict(zip(golden.item_ids, golden.features, strict=True))
    catalogue = build_catalogue(own, golden.items(), 0, features)
    windows = [[Behaviour(*each) for each in window] for window in golden.windows]
    lists = Pipeline(own, k=golden.k, n_candidates=golden.n_candidates).recommend(catalogue, windows)
    return [
        [(lists.item_ids[row], score) for row, score in zip(rows[:length], scores[:length], strict=True)]
        for rows, scores, length in zip(lists.rows.tolist(), lists.scores.tolist(), lists.lengths.tolist(), strict=True)
    ]


def _windows(log: Interactions, max_length: int) -> list[list[Behaviour]]:
    """Return the newest behaviours of users spread over the log, in lengths from 1 to the most."""
    wanted = N_WINDOWS - N_COLD
    lengths = np.unique(np.geomspace(1, max_length, 12).round().astype(int)).tolist()
    order = np.argsort(log.users, kind="stable")
    users, starts = np.unique(log.users[order], return_index=True)
    ends = np.append(starts[1:], len(order))
    chosen = np.linspace(0, len(users) - 1, wanted).round().astype(int).tolist()
    windows = []
    for number, user in enumerate(chosen):
        positions = order[starts[user] : ends[user]].tolist()
        windows.append([log.behaviour(position) for position in positions[-lengths[number % len(lengths)] :]])
    return windows


def _item_ids(artifact: Artifact, windows: Sequence[Sequence[Behaviour]]) -> list[str]:
    """Return the items of the windows, and the most popular ones."""
    popular = [artifact.manifest.item_ids[row] for row in np.argsort(-artifact.popularity, kind="stable").tolist()]
    had = [behaviour.item_id for window in windows for behaviour in window]
    return list(dict.fromkeys([*popular[: N_ITEMS // 2], *had, *popular]))[: MAX_ITEMS - N_NEW][
        : max(N_ITEMS, len(set(had)))
    ]


def _cold(windows: Sequence[Sequence[Behaviour]], new: Sequence[str]) -> list[list[Behaviour]]:
    """Return windows of users and items that training has not seen."""
    found: list[list[Behaviour]] = [[]]
    for number in range(1, N_COLD):
        window = list(windows[number % len(windows)])
        if number % 3 == 0:  # items that nobody knows
            found.append([one._replace(item_id=f"golden unknown item {i}") for i, one in enumerate(window)])
        elif number % 3 == 1:  # items that are new
            found.append([one._replace(item_id=new[(number + i) % len(new)]) for i, one in enumerate(window[-3:])])
        else:  # known items, and a new one last
            found.append([*window, window[-1]._replace(item_id=new[number % len(new)])])
    return found
