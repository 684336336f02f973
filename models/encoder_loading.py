"""Opens a Hugging Face model, finds its pooling, and names the exact model by a hash."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import torch

from models.encoder_pooling import pooling_of

#: Entries of a configuration that say where a model came from, not what it is.
_NOT_OF_THE_MODEL: Final = frozenset({"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"})


class EncoderError(ValueError):
    """An encoder cannot be opened; the message is one line."""


def load_model(name_or_path: str) -> tuple[Any, Any, str]:
    """Return a model, its tokenizer and its pooling; raise :class:`EncoderError` where one of them is missing."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": Path(name_or_path).is_dir()}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name_or_path, **options)
        model, info = AutoModel.from_pretrained(
            name_or_path, dtype=torch.float32, output_loading_info=True, use_safetensors=True, **options
        )
        pooling = pooling_of(model.config.model_type, _pooling_config(name_or_path))
    except (OSError, ValueError, KeyError) as exc:
        reason = (str(exc).splitlines() or ["no reason given"])[0]
        raise EncoderError(f"encoder {name_or_path}: cannot be loaded: {reason}; name a folder or a model") from exc
    # PyTorch fills them with random numbers, other ones each time
    missing = sorted(name for name in info["missing_keys"] if not _is_unused(name))
    if missing:
        raise EncoderError(f"encoder {name_or_path}: has no weights {', '.join(missing[:3])}; name a complete model")
    if model.config.is_encoder_decoder or not hasattr(model.config, "hidden_size"):
        raise EncoderError(
            f"encoder {name_or_path}: {model.config.model_type} is not a model of one text; name an encoder"
        )
    return model, tokenizer, pooling


def _pooling_config(name_or_path: str) -> Path | None:
    """Return a model's ``1_Pooling/config.json``; None where it has none, or it is neither cached nor to be had."""
    from transformers.utils.hub import cached_file

    if Path(name_or_path).is_dir():
        path = Path(name_or_path) / "1_Pooling" / "config.json"
        return path if path.is_file() else None
    try:
        found = cached_file(name_or_path, "1_Pooling/config.json")
    except OSError:
        return None
    return Path(found) if found else None


def _is_unused(weight: str) -> bool:
    """Return whether no vector depends on a weight: BERT's pooler feeds only its next-sentence head."""
    return weight.startswith("pooler.")


def fingerprint(model: Any, tokenizer: Any) -> str:
    """Return 12 hexadecimal digits over weights, configuration and tokenizer.

    Weights do not say all: the number of heads changes every vector and no shape, and so does a tokenizer that keeps capitals.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.state_dict().items()):
        if not _is_unused(name):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().numpy().data)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
    digest.update(str(rules).encode())
    return digest.hexdigest()[:12]
