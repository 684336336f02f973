"""The quality of the sequence model alone on events it has not seen: training stops by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from models.base.types import Float32, Int64
from models.interactions import Interactions, windows_before
from models.metrics.ranking import summarize
from models.rules.repeats import NO_REPEATS, Repeats
from models.sequence.model import SequenceConfig, SequenceModel
from models.sequence.packing import pack

BATCH: Final = 256


class Validator:
    """NDCG@10 over the whole catalogue, on given events; items that may not come back are masked.

    Parameters
    ----------
    log, positions : the log, and the events in it to predict
    fitted : the events that the model is fitted to; items without an event there have only their
        text
    text : (n_items, text_dim) float32, whitened
    repeats : which items may come back
    """

    def __init__(
        self,
        log: Interactions,
        positions: list[int],
        fitted: Interactions,
        text: Float32,
        config: SequenceConfig,
        repeats: Repeats = NO_REPEATS,
    ) -> None:
        row_of = {item_id: row for row, item_id in enumerate(log.item_ids)}
        windows, seen, targets = windows_before(log, positions, config.max_length, repeats)
        self._batches = [
            pack(windows[start : start + BATCH], row_of, config.max_length, log.kinds)
            for start in range(0, len(windows), BATCH)
        ]
        self._seen = [_places(seen[start : start + BATCH], row_of) for start in range(0, len(windows), BATCH)]
        self._targets = np.array([row_of[item_id] for item_id in targets], dtype=np.int64)
        known = np.bincount(fitted.items, minlength=len(log.item_ids)) > 0
        self._keep = torch.from_numpy(known.astype(np.float32))[:, None]
        missing = max(0, config.text_dim - text.shape[1])
        self._text = torch.from_numpy(np.pad(text, ((0, 0), (0, missing))).astype(np.float32))

    def __call__(self, model: SequenceModel) -> float:
        """Return NDCG@10 of a model in evaluation mode."""
        device = model.item_bias.device
        with torch.inference_mode():
            table = model.item_table(self._text.to(device), self._keep.to(device)).cpu()
            biases = model.item_bias.detach().cpu()
        ranks = []
        for number, (packed, seen) in enumerate(zip(self._batches, self._seen, strict=True)):
            # PyTorch multiplies: NumPy's and PyTorch's threads, taking turns, would wait for each
            # other
            vectors = torch.from_numpy(model.user_vectors(packed, table.numpy()))
            scores = torch.addmm(biases, vectors, table.T).numpy()
            users, targets = np.arange(len(scores)), self._targets[number * BATCH :][: len(scores)]
            own = scores[users, targets]
            scores[seen] = -np.inf
            scores[users, targets] = own  # a target counts even if it may not come back
            ranks.append((scores >= own[:, None]).sum(axis=1))
        return summarize(np.concatenate(ranks))["ndcg@10"]


def _places(seen: Sequence[set[str]], row_of: Mapping[str, int]) -> tuple[Int64, Int64]:
    """Return where users' masked items lie in a score matrix.

    Returns
    -------
    tuple
        Users (m,) int64 and items (m,) int64.
    """
    users = np.repeat(np.arange(len(seen)), [len(had) for had in seen])
    return users, np.array([row_of[item_id] for had in seen for item_id in had], dtype=np.int64)
