"""Shared builders for tests of the models: a small log with a rule in it, its vectors, a small preset, a trained artifact."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from models import training
from models.artifact import Artifact
from models.encoder import FakeEncoder
from models.factors import FactorsConfig
from models.interactions import Interactions
from models.recommend import Catalogue, build_catalogue
from models.sequence import SequenceConfig
from models.sequence_training import SequenceTraining
from models.training import Preset, TextSource, TrainingOptions
from models.types import Behaviour, Float32

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
            kind = ("click", "view", "purchase")[int(rng.integers(3))]
            rows.append((f"u{user}", f"i{item % n_items:02}", kind, T0 + 3_600_000 * step + 1_000 * user))
    return Interactions.from_rows(sorted(rows, key=lambda row: row[3]))


def text_of(item_id: str) -> str:
    """Return an item's text: one word of its own, and one that it shares with every third item."""
    return f"item{item_id} group{int(item_id[1:]) % 3}"


def text_vectors(item_ids: Sequence[str]) -> dict[str, Float32]:
    """Return fake text embeddings of items."""
    return dict(zip(item_ids, FakeEncoder(16).encode([text_of(item_id) for item_id in item_ids]), strict=True))


def train_tiny(log: Interactions | None = None, *, seed: int = 1, preset: Preset = PRESET) -> Artifact:
    """Train on a log with the small preset."""
    log = log or tiny_log()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "PRESETS", {"demo": preset})
        return training.train(log, text_vectors(log.item_ids), SOURCE, TrainingOptions(seed=seed))


@cache
def artifact() -> Artifact:
    """Return one artifact of the tiny log, trained once a session; callers must not change it."""
    return train_tiny()


@cache
def catalogue() -> Catalogue:
    """Return its catalogue: the items of the log."""
    return build_catalogue(artifact(), text_vectors(artifact().manifest.item_ids), generation=1)


def window(*item_ids: str, step_ms: int = 60_000) -> list[Behaviour]:
    """Return a window of views, oldest first."""
    return [Behaviour(item_id, "view", T0 + step_ms * i) for i, item_id in enumerate(item_ids)]
