"""Compiles the pipeline's loops, or loads them from the disk, before anybody waits for a list."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.artifact.artifact import Artifact
from models.base.types import Behaviour
from models.ranking.catalogue import build_catalogue
from models.ranking.catalogue.ruled import ruled
from models.ranking.pipeline import Pipeline
from models.rules.row_rules import Rules

#: Rules that need each loop.
EACH_RULE: Final = """
exploration = 0.5
filters.not_tags = ["none"]
caps."*" = 1
diversity.strength = 0.5
"""


def warm_up(artifact: Artifact) -> None:
    """Make a list of a few items of an artifact: each loop then exists for its types of arrays.

    It takes half a second, or a minute where the disk does not have the loops yet.
    """
    nothing = np.zeros(artifact.whitening.mean.shape[0], dtype=np.float32)
    items = {item_id: nothing for item_id in artifact.manifest.item_ids[:8]}
    window = [Behaviour(item_id, artifact.kinds.names[0], 0) for item_id in list(items)[:2]]
    pipeline, catalogue = Pipeline(artifact, k=2, n_candidates=2), build_catalogue(artifact, items, 0)
    pipeline.recommend(catalogue, [window, []])
    pipeline.recommend(ruled(catalogue, Rules.of(EACH_RULE), 0), [window, []])
