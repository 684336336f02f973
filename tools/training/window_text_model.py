"""A model of an evaluation that reads the window as text. It scores the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Behaviour, Float32
from models.evaluation.window_text import WindowTextData, WindowTextEncoder, WindowTextTraining, fit_window_text
from models.interactions import Interactions
from models.ranking.catalogue import Catalogue
from models.ranking.catalogue.parts import unit_rows
from models.sequence.packing import pack
from models.text.clean import fields_text
from models.text.encoder import TextEncoder

Scorer = Callable[[Catalogue, Sequence[Sequence[Behaviour]]], Float32]


def window_text_scorer(
    artifact: Artifact,
    encoder: TextEncoder,
    train: Interactions,
    items: Mapping[str, dict[str, Any]],
    vectors: Mapping[str, Float32],
    *,
    seed: int,
) -> Scorer:
    """Fit the model and return its scorer. Fitting encodes some thousand windows.

    Parameters
    ----------
    train : the events that the model may learn from
    items : the contract's fields, by item id
    vectors : raw text embeddings, by item id
    """

    def text_of(item_id: str) -> str:
        item = items.get(item_id)
        return fields_text(item, item_id) if item else ""

    nothing = np.zeros(encoder.dim, dtype=np.float32)
    raw = np.stack([vectors.get(item_id, nothing) for item_id in train.item_ids])
    unit = unit_rows(artifact.whitening.apply(raw)) * raw.any(axis=1, keepdims=True)
    data = WindowTextData(train, [text_of(item_id) for item_id in train.item_ids], unit.astype(np.float32))
    matrix = fit_window_text(data, encoder, artifact.whitening, WindowTextTraining(), seed=seed)

    def score(catalogue: Catalogue, windows: Sequence[Sequence[Behaviour]]) -> Float32:
        texts = [text_of(item_id) for item_id in catalogue.item_ids]
        written = WindowTextEncoder(encoder, texts, artifact.whitening, matrix, train.kinds)
        packed = pack(windows, catalogue.row_of, WindowTextTraining().max_length, train.kinds)
        scores: Float32 = written.user_vectors(packed, catalogue.text_unit) @ catalogue.text_unit.T
        return scores

    return score
