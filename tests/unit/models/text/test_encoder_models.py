"""Differences between language models, and what an encoder does without memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.base.types import Float32
from models.text.encoder import TransformerEncoder, is_out_of_memory
from models.text.huggingface import EncoderError
from tests.unit.models.text.test_encoder import TEXTS, save_bert

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny BERT."""
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


def save_chinese_bert(folder: Path) -> Path:
    """Save a tiny model like bert-base-chinese: vocab.txt, no tokenizer.json."""
    from transformers import BertConfig, BertModel

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"无线耳机蓝牙", "mate", "##60", "##pro", "5", "##g"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", "utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def save_decoder(folder: Path) -> Path:
    """Save a tiny decoder whose tokenizer has no padding token and adds nothing to a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "red": 1, "green": 2, "blue": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]").save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    LlamaModel(config).save_pretrained(folder)
    return folder


def test_a_chinese_bert_reads_characters_and_word_pieces(tmp_path: Path) -> None:
    """Spaces between Chinese words change nothing; unknown characters are not lost."""
    encoder = TransformerEncoder(str(save_chinese_bert(tmp_path / "zh")))
    ids = encoder.tokenizer("Mate60Pro 无线")["input_ids"]
    assert encoder.tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "mate", "##60", "##pro", "无", "线", "[SEP]"]
    joined, apart, other, unknown = encoder.encode(["无线耳机", "无线 耳机", "蓝牙耳机", "龘"])
    np.testing.assert_allclose(joined, apart, atol=1e-6)
    assert np.abs(joined - other).max() > 1e-3
    assert np.linalg.norm(unknown) == pytest.approx(1, abs=1e-5)


def test_a_decoder_is_read_at_its_last_token(tmp_path: Path) -> None:
    """Padding has no effect without a padding token too; a text without tokens is zeros."""
    encoder = TransformerEncoder(str(save_decoder(tmp_path / "decoder")))
    assert "-last-" in encoder.version
    texts = ["red", "red green blue green", "", "blue red"]
    together = encoder.encode(texts)
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-5)
    assert not together[2].any()
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_the_folder_says_which_pooling(tmp_path: Path) -> None:
    """A folder that asks for the first token has other vectors and another version."""
    mean = TransformerEncoder(str(save_bert(tmp_path / "mean")))
    folder = save_bert(tmp_path / "cls")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    first = TransformerEncoder(str(folder))
    assert (mean.pooling, first.pooling) == ("mean", "cls")
    assert mean.version != first.version
    assert np.abs(mean.encode(["red shoe"]) - first.encode(["red shoe"])).max() > 1e-3


def test_a_prefix_is_read_and_part_of_the_version(bert: Path) -> None:
    """With a prefix a text's vector is that of the longer text."""
    plain, prefixed = TransformerEncoder(str(bert)), TransformerEncoder(str(bert), prefix="blue ")
    np.testing.assert_allclose(prefixed.encode(["red"]), plain.encode(["blue red"]), atol=1e-6)
    assert prefixed.version != plain.version


def test_equal_texts_are_embedded_once_and_in_order(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repeated text is embedded once, and every place gets its vector."""
    encoder = TransformerEncoder(str(bert))
    room = ShortOfMemory(encoder, 10_000, RuntimeError("unused"))
    monkeypatch.setattr(encoder, "forward", room)
    found = encoder.encode(["red", "blue hat", "red", "red"])
    assert room.n_texts == 2
    assert np.array_equal(found[0], found[2])
    np.testing.assert_allclose(found[1], encoder.encode(["blue hat"])[0], atol=1e-6)


class ShortOfMemory:
    """A forward pass that has room for a number of tokens only."""

    def __init__(self, encoder: TransformerEncoder, room: int, error: RuntimeError) -> None:
        self.forward, self.room, self.error = encoder.forward, room, error
        self.sizes: list[int] = []
        self.n_texts = 0

    def __call__(self, tokens: Sequence[list[int]]) -> Float32:
        self.sizes.append(len(tokens) * len(tokens[0]))
        self.n_texts += len(tokens)
        if self.sizes[-1] > self.room:
            raise self.error
        return self.forward(tokens)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("HIP error: out of memory"),
    ],
)
def test_short_memory_halves_the_batch_and_the_work_goes_on(
    bert: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    """Every text gets its vector, the bound stays halved, and the next call meets no error."""
    encoder = TransformerEncoder(str(bert), max_tokens_per_batch=256)
    texts = [
        f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in ("shoe", "hat", "耳", "机")
    ] + TEXTS
    expected = encoder.encode(texts)
    short = ShortOfMemory(encoder, room=32, error=error)
    monkeypatch.setattr(encoder, "forward", short)
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=1e-5)
    assert encoder.n_out_of_memory > 0
    assert encoder.max_tokens_per_batch <= 32
    n_errors = encoder.n_out_of_memory
    encoder.encode(texts)
    assert encoder.n_out_of_memory == n_errors


def test_a_single_text_that_has_no_room_is_an_error(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single text cannot be halved, so the caller gets the error; so any other error."""
    encoder = TransformerEncoder(str(bert))
    monkeypatch.setattr(encoder, "forward", ShortOfMemory(encoder, 1, torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        encoder.encode(["red", "blue"])
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


def test_the_warm_up_runs_the_longest_batch(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lack of memory shows at the start, and sets the bound for the stream."""
    encoder = TransformerEncoder(str(bert), max_tokens_per_batch=128, max_length=32)
    short = ShortOfMemory(encoder, 64, torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(encoder, "forward", short)
    encoder.warm_up()
    assert short.sizes[:2] == [128, 64]
    assert encoder.max_tokens_per_batch == 64


def test_missing_weights_are_refused_but_for_the_unused_pooler(tmp_path: Path) -> None:
    """PyTorch would fill them with random numbers; the unused pooler is not in the version."""
    from safetensors.torch import load_file, save_file

    folder = save_bert(tmp_path / "bert")
    version = TransformerEncoder(str(folder)).version
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if name.startswith("pooler.")]:
        del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert TransformerEncoder(str(folder)).version == version
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"has no weights encoder\.layer\.0\.output\.dense\.weight"):
        TransformerEncoder(str(folder))
