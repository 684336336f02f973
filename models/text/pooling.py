"""How a language model's token states become one vector, and which prefix it wants, by model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

#: Decoders read from left to right: only the last token depends on the whole text. Other models use
#: the mean.
LAST_TOKEN_TYPES: Final = frozenset(
    {"gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox", "llama", "mistral", "phi3", "qwen2", "qwen3"}
)
#: sentence-transformers' names of the poolings here; older folders have a flag for each.
_MODES: Final = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_FLAG: Final = "pooling_mode_"
#: E5 models were trained with a prefix (their model cards); those with instruct in their name want
#: none before an item's text.
_WANTS_PASSAGE: Final = re.compile(r"(^|[-_])e5-(small|base|large)(-v2|-unsupervised)?$")


def pooling_of(model_type: str, config_path: Path | None) -> str:
    """Return the pooling of a model: ``mean``, ``cls`` or ``last``.

    Its sentence-transformers folder decides; without one, its type does.

    Parameters
    ----------
    model_type : ``config.model_type`` of the model
    config_path : its ``1_Pooling/config.json``; None without one

    Raises
    ------
    ValueError
        When the file names another pooling, or several.
    """
    if config_path is None:
        return "last" if model_type in LAST_TOKEN_TYPES else "mean"
    config = json.loads(config_path.read_text("utf-8"))
    modes = config.get("pooling_mode")
    if modes is None:
        flags = [name.removeprefix(_FLAG) for name, is_on in config.items() if name.startswith(_FLAG) and is_on is True]
        # flags such as include_prompt have no such prefix; mean_tokens and cls_token have
        modes = [flag.removesuffix("_tokens").removesuffix("_token") for flag in flags]
    wanted = [modes] if isinstance(modes, str) else list(modes)
    if len(wanted) != 1 or wanted[0] not in _MODES:
        raise ValueError(f"pooling {wanted} in {config_path}: there are {', '.join(_MODES)}, one at a time")
    return _MODES[wanted[0]]


def prefix_of(name_or_path: str) -> str:
    """Return the prefix that a model wants before an item's text, by the last part of its name.

    ``passage: `` for E5, else nothing.
    """
    return "passage: " if _WANTS_PASSAGE.search(Path(name_or_path).name.lower()) else ""


def pool(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """Return one vector per text, (n, dim) float32, by ``mean``, ``cls`` or ``last`` pooling.

    Parameters
    ----------
    hidden : (n, length, dim), any precision
    mask : (n, length), 1 for a token, 0 for padding, which is at the end
    """
    if how == "mean":
        return masked_mean(hidden, mask)
    # not -1: a row ends with padding where a longer text is in the batch
    at = torch.zeros(len(mask), dtype=torch.long, device=mask.device) if how == "cls" else mask.sum(dim=1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), at].to(torch.float32)


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over real tokens, (n, dim) float32, computed in single precision.

    Parameters
    ----------
    hidden : (n, length, dim), any precision
    mask : (n, length), 1 for a token, 0 for padding
    """
    weights = mask.to(torch.float32)[..., None]
    # where, not only a product: a half-precision NaN in the padding survives a product with 0
    kept = torch.where(weights > 0, hidden.to(torch.float32), torch.zeros((), device=hidden.device))
    return kept.sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)
