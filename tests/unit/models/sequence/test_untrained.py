"""The sequence model of a log without times proposes popular items, whatever the window holds."""

from __future__ import annotations

import numpy as np
import torch

from models.base.types import Behaviour
from models.sequence.model import SequenceConfig, SequenceModel
from models.sequence.packing import pack
from models.sequence.untrained import popularity_sequence


def test_every_window_scores_items_by_their_counts() -> None:
    """The order of the scores is that of the counts, and the same for all windows."""
    counts = np.array([3, 0, 9, 1], dtype=np.float32)
    config = SequenceConfig(dim=8, text_dim=4)
    fit = popularity_sequence(config, counts)
    model = SequenceModel(config, 4)
    model.load_state_dict(fit.state)
    model.eval()
    table = model.item_table(torch.zeros(4, 4)).detach().numpy()
    windows = [[Behaviour("a", "view", 5)], [Behaviour("c", "click", 7), Behaviour("a", "view", 9)]]
    vectors = model.user_vectors(pack(windows, {"a": 0, "b": 1, "c": 2, "d": 3}, 10), table)
    scores = vectors @ table.T + model.item_bias.detach().numpy()
    assert np.argsort(-scores, axis=1).tolist() == [[2, 0, 3, 1]] * 2
    assert fit.epochs == 0


def test_the_same_counts_give_the_same_weights() -> None:
    """A training that is repeated makes the same artifact."""
    counts = np.ones(5, dtype=np.float32)
    one, other = (popularity_sequence(SequenceConfig(), counts).state for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
