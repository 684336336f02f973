"""How good the sequence model alone is on events it has not seen: what training stops by."""

from __future__ import annotations

import numpy as np
import torch

from models.interactions import Interactions, windows_before
from models.metrics import summarize
from models.sequence import SequenceConfig, SequenceModel, pack
from models.types import Float32

BATCH = 256


class Validator:
    """NDCG@10 over the whole catalogue, seen items masked, of the given events.

    Parameters
    ----------
    log, positions : the log and the events in it that are asked for
    fitted : what the model is fitted to; items without an event there are known by their text alone
    text : (n_items, text_dim) float32, whitened
    """

    def __init__(
        self, log: Interactions, positions: list[int], fitted: Interactions, text: Float32, config: SequenceConfig
    ) -> None:
        row_of = {item_id: row for row, item_id in enumerate(log.item_ids)}
        windows, seen, targets = windows_before(log, positions, config.max_length)
        self._batches = [
            pack(windows[start : start + BATCH], row_of, config.max_length) for start in range(0, len(windows), BATCH)
        ]
        self._seen = [np.array([row_of[item_id] for item_id in had], dtype=np.int64) for had in seen]
        self._targets = np.array([row_of[item_id] for item_id in targets], dtype=np.int64)
        known = np.bincount(fitted.items, minlength=len(log.item_ids)) > 0
        self._keep = torch.from_numpy(known.astype(np.float32))[:, None]
        missing = max(0, config.text_dim - text.shape[1])
        self._text = torch.from_numpy(np.pad(text, ((0, 0), (0, missing))).astype(np.float32))

    def __call__(self, model: SequenceModel) -> float:
        """Return NDCG@10 of a model in evaluation mode."""
        device = model.item_bias.device
        with torch.inference_mode():
            table = model.item_table(self._text.to(device), self._keep.to(device)).cpu().numpy()
            biases = model.item_bias.cpu().numpy()
        ranks = []
        for number, packed in enumerate(self._batches):
            scores = model.user_vectors(packed, table) @ table.T + biases
            first = number * BATCH
            for i, row in enumerate(scores):
                target = self._targets[first + i]
                own = row[target]
                row[self._seen[first + i]] = -np.inf
                row[target] = own  # a target that the user had before is asked for all the same
                ranks.append(int((row >= own).sum()))
        return summarize(np.array(ranks))["ndcg@10"]
