"""A training's curves, and its item vectors with their titles, for TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from models.artifact.artifact import Artifact
from streams.printable import table_cell

#: TensorBoard's projector draws this many points and no more.
MAX_POINTS = 10_000


class TensorBoardLog:
    """Writes event files into a directory; close it at the end."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory))

    def on_scalar(self, name: str, value: float, step: int) -> None:
        """Write one point of a curve."""
        self._writer.add_scalar(name.replace(" ", "_"), value, step)

    def add_items(self, artifact: Artifact, titles: Mapping[str, str]) -> None:
        """Write the vectors of the most popular items, each with its title.

        An item without a title has its id.
        """
        rows = artifact.popularity.argsort()[::-1][:MAX_POINTS].copy()
        vectors = artifact.sequence.id_embedding.weight.detach().cpu()[torch.from_numpy(rows)]
        ids = [artifact.manifest.item_ids[row] for row in rows.tolist()]
        labels = [table_cell(" ".join(titles.get(item_id, item_id).split()) or item_id) for item_id in ids]
        self._writer.add_embedding(vectors, metadata=labels, tag="items")

    def close(self) -> None:
        """Write what is buffered."""
        self._writer.close()
