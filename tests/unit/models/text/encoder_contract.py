"""What every encoder does with a vector that is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest


def check_a_vector_that_is_not_finite(
    encoder: Any, texts: tuple[str, str], first: int, monkeypatch: pytest.MonkeyPatch, atol: float
) -> None:
    """Break the first vector of a batch, then that of the text alone as well.

    The encoder computes the text again alone. A vector that is still not finite becomes zeros, and
    both repairs are counted. The other text keeps its vector.

    Parameters
    ----------
    first : which text the encoder puts first into a batch
    """
    expected = encoder.encode(list(texts))
    forward, fails_alone = encoder.forward, False

    def broken(batch: Sequence[Any]) -> Any:
        vectors = forward(batch)
        if len(batch) > 1 or fails_alone:
            vectors[0] = np.nan
        return vectors

    monkeypatch.setattr(encoder, "forward", broken)
    np.testing.assert_allclose(encoder.encode(list(texts)), expected, atol=atol)
    assert (encoder.n_retried, encoder.n_zeroed) == (1, 0)
    fails_alone = True
    found = encoder.encode(list(texts))
    assert encoder.n_zeroed == 1
    assert not found[first].any()
    np.testing.assert_allclose(found[1 - first], expected[1 - first], atol=atol)
