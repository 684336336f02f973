"""Makes an artifact that gives other lists than a given one: for trials of a model swap."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
import torch

from models.artifact.artifact import load_artifact, make_artifact, save_artifact, with_golden
from models.artifact.golden import Golden
from models.ranking.golden import golden_lists

#: Fields that :func:`make_artifact` fills in itself.
_MADE: Final = {"format", "sha256", "sequence", "tensors", "golden_sha256"}


def write_second_artifact(first: Path, folder: Path) -> str:
    """Write an artifact whose matrix factors are turned around, and return its version.

    It takes the texts, and knows the items and event types, of the first one.

    Raises
    ------
    ArtifactError
        When the first one cannot be loaded.
    """
    given = load_artifact(first)
    tensors = dict(given.tensors)
    for name in ("mf.factors", "mf.biases"):
        tensors[name] = -tensors[name] + 0.01 * torch.arange(len(tensors[name])).reshape(
            -1, *[1] * (tensors[name].dim() - 1)
        ) / len(tensors[name])
    info: dict[str, Any] = {
        name: getattr(given.manifest, name) for name in given.manifest.__struct_fields__ if name not in _MADE
    }
    made = make_artifact(tensors, given.sequence.config, info)
    if given.golden is not None:
        lists = golden_lists(made, given.golden)
        golden: Golden = msgspec.structs.replace(
            given.golden,
            ids=[[item_id for item_id, _ in found] for found in lists],
            scores=[[score for _, score in found] for found in lists],
        )
        made = with_golden(made, golden)
    save_artifact(made, folder)
    return made.version
