"""Presets, options and data of a training, and its observer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from models.base.types import Float32
from models.factors.als import AlsConfig
from models.factors.matrix_factorisation import FactorsConfig
from models.features.columns import Row
from models.interactions import Interactions
from models.rules.repeats import NO_REPEATS, Repeats
from models.sequence.fit import SequenceTraining
from models.sequence.model import SequenceConfig
from models.training.log_slices import Cut


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    Parameters
    ----------
    minutes : bounds the fit of the sequence model; its learning rate falls to 0 in that time
    cut : how the log is cut into slices: by ``time``, or by the ``last`` event of each user as
        leave-one-out protocols do
    imputation : what fills missing features
    checkpoints : a folder from which an interrupted training continues; None keeps none
    is_ordered : whether the log's events have times. Without them, the sequence model and what
        follows what are not fitted, and ``cut`` must be ``last``
    left_out : ``last`` when the caller removed each user's last event for an evaluation; the
        artifact records it
    repeats : which items that the user has had lists may hold; the artifact records it, and serves
        so
    """

    preset: Literal["demo", "best"] = "demo"
    seed: int = 1
    device: str = "cpu"
    minutes: float | None = None
    cut: Cut = "time"
    imputation: str = "median"
    checkpoints: Path | None = None
    left_out: Literal["none", "last"] = "none"
    is_ordered: bool = True
    repeats: Repeats = NO_REPEATS


@dataclass(frozen=True)
class TextSource:
    """The origin of the text embeddings; the artifact stores it and refuses any other.

    All fields are empty for a model that takes no text.
    """

    encoder_name: str
    encoder_version: str
    text_version: str
    encoder_sha256: str = ""


#: The source of a model that knows items by their ids alone.
NO_TEXT: Final = TextSource("", "", "")


@dataclass(frozen=True)
class Preset:
    """Sizes of a training."""

    sequence: SequenceConfig
    sequence_training: SequenceTraining
    factors: FactorsConfig | AlsConfig
    n_fusion_events: int
    fusion_epochs: int


PRESETS: Final = {
    "demo": Preset(SequenceConfig(), SequenceTraining(), FactorsConfig(), 3_000, 10),
    "best": Preset(
        SequenceConfig(text_dim=128, max_length=100, n_layers=2, input_dropout=0.3),
        SequenceTraining(epochs=20, refit_epochs=3),
        AlsConfig(),
        20_000,
        20,
    ),
}


@dataclass(frozen=True)
class TrainingData:
    """What the artifact is trained on.

    Parameters
    ----------
    vectors : item id to raw text embedding, (d_text,) float32; items without one get zeros
    item_features, user_features : id to features by name (``models.features.columns.item_row`` and
        ``user_row``)
    follows : user id to the ids of the users whom the user follows
    """

    log: Interactions
    vectors: Mapping[str, Float32]
    source: TextSource
    item_features: Mapping[str, Row] = field(default_factory=dict)
    user_features: Mapping[str, Row] = field(default_factory=dict)
    follows: Mapping[str, Sequence[str]] = field(default_factory=dict)
