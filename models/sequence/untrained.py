"""The sequence model of a log without times.

It cannot be fitted, and gives each item its popularity.
"""

from __future__ import annotations

import torch

from models.base.event_types import DEFAULT_TYPES
from models.base.types import Float32
from models.sequence.fit import SequenceFit
from models.sequence.model import SequenceConfig, SequenceModel


def popularity_sequence(
    config: SequenceConfig, counts: Float32, n_types: int = len(DEFAULT_TYPES.window_types.types)
) -> SequenceFit:
    """Return a sequence model whose every window is the zero vector.

    So only item biases score.

    A bias is the logarithm of 1 and the item's count, so the model proposes popular items.

    Parameters
    ----------
    counts : (n_items,) float32, events of each item
    n_types : rows of the type embedding
    """
    torch.manual_seed(0)
    model = SequenceModel(config, len(counts), n_types)
    with torch.no_grad():
        model.norm.weight.zero_()
        model.norm.bias.zero_()
        model.item_bias.copy_(torch.log1p(torch.from_numpy(counts)))
    return SequenceFit({name: value.detach().clone() for name, value in model.state_dict().items()}, 0)
