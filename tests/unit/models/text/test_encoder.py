"""Encoders, tested on a tiny BERT with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.text.encoder import FakeEncoder, TransformerEncoder, batch_end, load_encoder
from models.text.huggingface import EncoderError
from tests.unit.models.text.encoder_contract import check_a_vector_that_is_not_finite

pytestmark = pytest.mark.model

WORDS = ["red", "green", "blue", "shoe", "hat", "耳", "机"]
TEXTS = ["red shoe", "blue", "", "green hat red shoe blue hat", "unknown", "🎉", "red " * 5_000]


def save_bert(folder: Path, *, seed: int = 0, n_heads: int = 2) -> Path:
    """Save a BERT of two layers and its vocabulary."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=n_heads, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a tiny BERT."""
    return save_bert(tmp_path_factory.mktemp("models") / "bert")


def test_a_batch_gives_what_single_texts_give(bert: Path) -> None:
    """Padding and order change no vector; empty and overlong texts have finite ones."""
    encoder = TransformerEncoder(str(bert), max_tokens_per_batch=64, max_length=32)
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dim) == (7, 16)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, np.concatenate([encoder.encode([text]) for text in TEXTS]), atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    assert encoder.encode([]).shape == (0, 16)


def test_a_vector_that_is_not_finite_is_computed_alone_and_then_given_up(
    bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry repairs a NaN of a batch; one that stays becomes zeros and is counted."""
    encoder = TransformerEncoder(str(bert))
    check_a_vector_that_is_not_finite(encoder, ("red", "blue shoe"), 1, monkeypatch, atol=1e-5)


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "max_padding", "sizes"),
    [
        ([50, 20, 7, 7, 4, 3, 1], 24, 100, [1, 1, 3, 2]),
        ([256, 10, 10, 10], 1_024, 64, [1, 3]),
        ([10, 9, 8, 7], 1_024, 64, [4]),
        ([10, 9, 8, 7], 1_024, 3, [3, 1]),
        ([8] * 5, 16, 0, [2, 2, 1]),
    ],
)
def test_batches_keep_to_their_tokens_and_padding(
    lengths: list[int], max_tokens: int, max_padding: int, sizes: list[int]
) -> None:
    """Tokens and padding of a batch are bounded; an overlong text is a batch of its own."""
    found, start = [], 0
    while start < len(lengths):
        end = batch_end(lengths, start, max_tokens, max_padding)
        found.append(end - start)
        start = end
    assert found == sizes


def test_the_version_follows_the_weights_not_the_folder(bert: Path, tmp_path: Path) -> None:
    """A copy has the same version; other weights or another length have another."""
    version = TransformerEncoder(str(bert), max_length=32).version
    assert TransformerEncoder(str(save_bert(tmp_path / "copy")), max_length=32).version == version
    assert TransformerEncoder(str(save_bert(tmp_path / "other", seed=1)), max_length=32).version != version
    assert TransformerEncoder(str(bert), max_length=16).version != version


def test_the_version_follows_the_configuration(bert: Path, tmp_path: Path) -> None:
    """Another number of heads has the same weights and other vectors, so another version."""
    other = TransformerEncoder(str(save_bert(tmp_path / "heads", n_heads=4)))
    encoder = TransformerEncoder(str(bert))
    assert np.abs(other.encode(["red shoe"]) - encoder.encode(["red shoe"])).max() > 1e-6
    assert other.version != encoder.version


def test_a_lone_surrogate_is_encoded(bert: Path) -> None:
    """A lone surrogate is no error; the text beside it is read."""
    for encoder in (TransformerEncoder(str(bert)), FakeEncoder(16)):
        vectors = encoder.encode(["red \ud800", "\udfff"])
        assert vectors.shape == (2, 16)
        assert np.isfinite(vectors).all()
        assert vectors[0] @ encoder.encode(["red"])[0] > 0.1


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    """A folder without a model is refused by name, without the network."""
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_fake_encoder_is_deterministic_and_shared_words_are_similar() -> None:
    """Equal texts have equal vectors; a text without words has zeros."""
    red_hat, red_shoe, other, empty = FakeEncoder(64).encode(["red hat", "red shoe", "cup tea", ""])
    assert np.array_equal(red_hat, FakeEncoder(64).encode(["red hat"])[0])
    assert red_hat @ red_shoe > red_hat @ other
    assert not empty.any()
