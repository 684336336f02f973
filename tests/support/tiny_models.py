"""Builders that tests of the models share.

They make a small log in which items follow a rule, its vectors, a small preset and a trained
artifact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from models.artifact.artifact import Artifact
from models.base.observer import Observer
from models.base.types import Behaviour, Float32
from models.base.vocabulary import EVENT_TYPES
from models.factors.als import AlsConfig
from models.factors.matrix_factorisation import FactorsConfig
from models.features.columns import Row
from models.interactions import Interactions
from models.ranking.pipeline import Catalogue, build_catalogue
from models.rules.repeats import ALL_REPEATS
from models.sequence.fit import SequenceTraining
from models.sequence.model import SequenceConfig
from models.text.encoder import FakeEncoder
from models.training import train as training
from models.training.train import NO_TEXT, Preset, TextSource, TrainingData, TrainingOptions

T0 = 1_600_000_000_000
N_ITEMS = 24
SOURCE = TextSource("fake", "fake-16", "1")
PRESET = Preset(
    SequenceConfig(dim=16, text_dim=8, max_length=10),
    SequenceTraining(epochs=2, refit_epochs=2, batch_size=16),
    FactorsConfig(dim=8, epochs=2, batch_size=256),
    n_fusion_events=200,
    fusion_epochs=2,
)


def tiny_log(n_users: int = 30, length: int = 12, n_items: int = N_ITEMS) -> Interactions:
    """Return a log in which an item is followed by one of the next three."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(n_users):
        item = user
        for step in range(length):
            item += int(rng.integers(1, 4))
            kind = EVENT_TYPES[int(rng.integers(3))]
            rows.append((f"u{user}", f"i{item % n_items:02}", kind, T0 + 3_600_000 * step + 1_000 * user))
    return Interactions.from_rows(sorted(rows, key=lambda row: row[3]))


def text_of(item_id: str) -> str:
    """Return an item's text: one word of its own, and one that it shares with every third item."""
    return f"item{item_id} group{int(item_id[1:]) % 3}"


def text_vectors(item_ids: Sequence[str]) -> dict[str, Float32]:
    """Return fake text embeddings of items."""
    return dict(zip(item_ids, FakeEncoder(16).encode([text_of(item_id) for item_id in item_ids]), strict=True))


def item_features(item_ids: Sequence[str]) -> dict[str, Row]:
    """Return a price and a category of items.

    Every fifth item has no price, every seventh no features at all.
    """
    rows: dict[str, Row] = {}
    for item_id in item_ids:
        number = int(item_id[1:])
        price = {} if number % 5 == 0 else {"price": float(number)}
        rows |= {} if number % 7 == 0 else {item_id: price | {"category": "odd" if number % 2 else "even"}}
    return rows


def user_features(user_ids: Sequence[str]) -> dict[str, Row]:
    """Return an age of users."""
    return {user_id: {"features.age": 20.0 + int(user_id[1:]) % 40} for user_id in user_ids}


def tiny_data(log: Interactions | None = None) -> TrainingData:
    """Return a log with fake text embeddings, without features."""
    log = tiny_log() if log is None else log
    return TrainingData(log, text_vectors(log.item_ids), SOURCE)


def train_tiny(
    log: Interactions | None = None,
    *,
    seed: int = 1,
    preset: Preset = PRESET,
    data: TrainingData | None = None,
    options: TrainingOptions | None = None,
    observer: Observer | None = None,
) -> Artifact:
    """Train on a log, or on ``data``, with the small preset."""
    data = data or tiny_data(log)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # the bytes of an artifact depend on the number of threads, and any test may be the first to ask
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "PRESETS", {"demo": preset})
            return training.train(data, options or TrainingOptions(seed=seed), observer or Observer())
    finally:
        torch.set_num_threads(n_threads)


@cache
def artifact() -> Artifact:
    """Return one artifact of the tiny log, trained once a session; callers must not change it."""
    return train_tiny()


def featured_data() -> TrainingData:
    """Return the tiny log with features of its items and users."""
    log = tiny_log()
    vectors = text_vectors(log.item_ids)
    return TrainingData(log, vectors, SOURCE, item_features(log.item_ids), user_features(log.user_ids))


@cache
def featured_artifact() -> Artifact:
    """Return an artifact with features of items and users, trained once a session.

    Callers must not change it.
    """
    return train_tiny(data=featured_data())


@cache
def catalogue() -> Catalogue:
    """Return its catalogue: the items of the log."""
    return build_catalogue(artifact(), text_vectors(artifact().manifest.item_ids), generation=1)


def window(*item_ids: str, step_ms: int = 60_000) -> list[Behaviour]:
    """Return a window of views, oldest first."""
    return [Behaviour(item_id, "view", T0 + step_ms * i) for i, item_id in enumerate(item_ids)]


def shown_ids(catalogue: Catalogue) -> list[str]:
    """Return the ids of the items that lists may show, by row."""
    return [catalogue.item_ids[row] for row in np.flatnonzero(catalogue.is_shown).tolist()]


N_GROUPS = 4
#: Factors that find the groups in a second.
HOMOPHILY_PRESET = replace(PRESET, factors=AlsConfig(dim=6, n_sweeps=5))


def homophily_log(n_users: int = 160, n_items: int = 60, seed: int = 6) -> Interactions:
    """Return users of four groups who like the items of their group."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"i{item:02}", "view", T0 + int(rng.integers(10**9)))
        for user in range(n_users)
        for item in range(n_items)
        if rng.random() < (0.6 if user % N_GROUPS == item % N_GROUPS else 0.05)
    ]
    return Interactions.from_rows(rows)


def homophily_data(log: Interactions | None = None) -> TrainingData:
    """Return them with what tells their group: a feature, and users of it whom they follow."""
    log = homophily_log() if log is None else log
    return TrainingData(log, {}, NO_TEXT, {}, homophily_features(log.user_ids), homophily_follows(log.user_ids))


def homophily_features(user_ids: Sequence[str]) -> dict[str, Row]:
    """Return the users' group as a feature."""
    return {user_id: {"features.group": f"g{int(user_id[1:]) % N_GROUPS}"} for user_id in user_ids}


def homophily_follows(user_ids: Sequence[str]) -> dict[str, list[str]]:
    """Return four users of the same group whom each follows."""
    n = len(user_ids)
    return {
        f"u{user}": [f"u{(user + step * N_GROUPS) % n}" for step in (1, 2, 3, 5)]
        for user in (int(user_id[1:]) for user_id in user_ids)
    }


@cache
def homophily_artifact() -> Artifact:
    """Return an artifact of users whose group tells what they like, trained once a session."""
    return train_tiny(data=homophily_data(), preset=HOMOPHILY_PRESET)


def returning_log() -> Interactions:
    """Return the same users, each of whom goes through a few items of the group again and again."""
    rng = np.random.default_rng(8)
    rows = []
    for user in range(120):
        own = [f"i{N_GROUPS * int(row) + user % N_GROUPS:02}" for row in rng.choice(15, 5, replace=False)]
        rows += [(f"u{user}", own[n % 5], "view", T0 + 86_400_000 * n + 1_000 * user) for n in range(12)]
    return Interactions.from_rows(rows)


def returning_artifact() -> Artifact:
    """Return an artifact of users who return, whose lists may hold items that they had."""
    options = TrainingOptions(seed=1, repeats=ALL_REPEATS)
    return train_tiny(data=homophily_data(returning_log()), preset=HOMOPHILY_PRESET, options=options)
