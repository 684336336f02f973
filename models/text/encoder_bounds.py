"""The size of a Hugging Face model, checked before its weights are read.

The model is built from its configuration without values, and its numbers are counted.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import torch
from torch.nn.modules import module as hooks

from models.files.plain_files import FileError
from models.text.encoder_files import CONFIG, EncoderFiles

#: Most that a whole number of a configuration may be; positions and vocabularies are far smaller.
MAX_NUMBER: Final = 1 << 31
#: Names of numbers that say how often something is built, and the limit of such numbers:
#: transformers makes lists of that length before any layer.
_REPEATED: Final = re.compile(r"layer|block|depth|stage|expert|group|head")
MAX_REPEATED: Final = 65_536
MAX_DEPTH: Final = 16
#: Entries that name another file, a quantisation with its own code, or an attention with downloaded
#: code.
_FORBIDDEN: Final = frozenset({"transformers_weights", "quantization_config", "gguf_file"})
_ATTENTION: Final = frozenset({"attn_implementation", "_attn_implementation", "_attn_implementation_internal"})
_ATTENTIONS: Final = (None, "eager", "sdpa")
#: Numbers allowed beyond twice those of the files: a pooler, positions and masks that are computed.
SPARE_NUMBERS: Final = 64 << 20


def check_config(text: bytes) -> None:
    """Check a configuration before transformers reads it.

    Raises
    ------
    FileError
        When an entry leads to another file or to code, or a number exceeds its limit.
    """
    try:
        config = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise FileError(f"{CONFIG} is damaged: {exc}") from exc
    _check_entries(config, depth=0)


def _check_entries(config: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise FileError(f"{CONFIG} is nested deeper than {MAX_DEPTH}")
    if isinstance(config, list):
        for value in config:
            _check_entries(value, depth + 1)
    if not isinstance(config, dict):
        return
    for name, value in config.items():
        if name in _FORBIDDEN and value is not None:
            raise FileError(f"{CONFIG} has {name}, which is not supported")
        if name in _ATTENTION and value not in _ATTENTIONS:
            raise FileError(f"{CONFIG} has {name}={str(value)[:100]!r}, must be eager or sdpa")
        if isinstance(value, int) and not isinstance(value, bool):
            limit = MAX_REPEATED if _REPEATED.search(name) else MAX_NUMBER
            if abs(value) > limit:
                raise FileError(f"{CONFIG} has {name[:100]}={str(value)[:40]}, limit {limit}")
        _check_entries(value, depth + 1)


def check_size(config: Any, files: EncoderFiles) -> None:
    """Build a model without values and compare its size with its files.

    Parameters
    ----------
    config : a transformers configuration

    Raises
    ------
    FileError
        When the model has far more numbers than its files.
    """
    from transformers import AutoModel

    with torch.device("meta"), bounded(files):
        AutoModel.from_config(config, trust_remote_code=False)


@contextmanager
def bounded(files: EncoderFiles) -> Iterator[None]:
    """Count what modules register inside the block; stop the building as soon as it is too much.

    Raises
    ------
    FileError
        When the modules or their numbers exceed what the files can fill.
    """
    most_numbers, most_modules = 2 * files.n_numbers + SPARE_NUMBERS, 64 * files.n_tensors + 1_000
    found = {"numbers": 0, "modules": 0}
    thread = threading.get_ident()

    def count(_module: Any, _name: str, value: Any) -> None:
        if threading.get_ident() != thread:
            return  # PyTorch's hooks see all threads
        found["numbers" if isinstance(value, torch.Tensor) else "modules"] += (
            value.numel() if isinstance(value, torch.Tensor) else 1
        )
        if found["numbers"] > most_numbers or found["modules"] > most_modules:
            raise FileError(
                f"{CONFIG} describes a model far larger than its weights, which have {files.n_numbers} numbers in "
                f"{files.n_tensors} tensors"
            )

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
        hooks.register_module_module_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
