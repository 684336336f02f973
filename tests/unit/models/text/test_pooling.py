"""Pooling of token states, and a model's prefix: by folder, by name, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from models.text.pooling import masked_mean, pool, pooling_of, prefix_of


def test_padding_takes_no_part_in_the_mean() -> None:
    """Only real tokens count, even where the padding is NaN in half precision."""
    hidden = torch.tensor([[[1.0], [3.0], [torch.nan]]], dtype=torch.float16)
    mean = masked_mean(hidden, torch.tensor([[1, 1, 0]]))
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False, "include_prompt": True}, "mean"),
        ({"word_embedding_dimension": 8, "pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_old_and_new_forms_of_a_pooling_file(tmp_path: Path, config: dict[str, Any], expected: str) -> None:
    """Flags of older sentence-transformers and the one name of newer ones mean the same."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert pooling_of("bert", path) == expected


@pytest.mark.parametrize(
    "config", [{}, {"pooling_mode": "max"}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}]
)
def test_a_pooling_that_is_not_ours_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    """An unknown pooling gives an error instead of wrong vectors."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match="there are mean, cls, lasttoken"):
        pooling_of("bert", path)


def test_pooling_by_hand() -> None:
    """Of two texts of two and three tokens: the mean, the first and the last real token."""
    hidden = torch.tensor([[[1.0], [3.0], [9.0]], [[2.0], [4.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = {how: pool(hidden, mask, how).flatten().tolist() for how in ("mean", "cls", "last")}
    assert found == {"mean": [2.0, 4.0], "cls": [1.0, 2.0], "last": [3.0, 6.0]}


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("intfloat/multilingual-e5-small", "passage: "),
        ("intfloat/e5-base-v2", "passage: "),
        ("/models/E5-large", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", ""),
        ("bert-base-chinese", ""),
        ("some/base5-small", ""),
    ],
)
def test_the_name_says_which_prefix(name: str, prefix: str) -> None:
    """E5 models want passage: before a text; instruct models and others want nothing."""
    assert prefix_of(name) == prefix
