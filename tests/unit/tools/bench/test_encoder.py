"""The encoder benchmark: its texts, its naive loop, its ratio and its refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.base.types import Float32
from models.text.encoder import TransformerEncoder
from streams.errors import InputError
from tests.support.programs import arguments
from tests.unit.models.text.test_encoder import TEXTS, save_bert
from tools.bench import encoder as bench_encoder
from tools.main import main

pytestmark = pytest.mark.model


def test_texts_are_seeded_short_and_long() -> None:
    """Nine of ten texts are titles, the others descriptions; equal seeds give equal texts."""
    texts = bench_encoder.synthetic_texts(200, 1)
    lengths = [len(text.split()) for text in texts]
    assert texts == bench_encoder.synthetic_texts(200, 1) != bench_encoder.synthetic_texts(200, 2)
    assert sum(100 <= n <= 400 for n in lengths) == 20
    assert sum(3 <= n <= 20 for n in lengths) == 180
    assert lengths != sorted(lengths)
    assert len(set(texts)) == 200


def test_the_naive_loop_gives_our_vectors(tmp_path: Path) -> None:
    """Both sides do the same work, prefix included."""
    encoder = TransformerEncoder(str(save_bert(tmp_path / "bert")), prefix="red ", max_length=32)
    texts = [*TEXTS[:-1], *(f"{text} hat" for text in TEXTS[:-1] * 6)]
    naive = bench_encoder.naive_encoder(encoder)
    np.testing.assert_allclose(naive(texts), encoder.encode(texts), atol=1e-5)


def test_the_ratio_is_the_median_of_pairs_and_the_cosine_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs of 1 against 2, 6 and 3 seconds are a ratio of 3; one turned vector is seen."""
    now = 0.0
    monkeypatch.setattr("time.process_time", lambda: now)
    costs = iter([2.0, 6.0, 3.0])
    order: list[str] = []

    def ours(texts: Sequence[str]) -> Float32:
        nonlocal now
        now += 1
        order.append("ours")
        return np.array([[1, 0], [0, 1]], dtype=np.float32)

    def naive(texts: Sequence[str]) -> Float32:
        nonlocal now
        now += next(costs)
        order.append("naive")
        return np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)

    result = bench_encoder.measure(ours, naive, [["a", "b"]] * 3)
    assert (result["ratio"], result["ratio_min"], result["ratio_max"]) == (3, 2, 6)
    assert result["min_cosine"] == pytest.approx(0.8)
    assert order == ["ours", "naive", "naive", "ours", "ours", "naive"]


def test_a_run_prints_one_json_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line has the ratio, the cosine, and what is needed to repeat it."""
    folder = save_bert(tmp_path / "bert")
    argv = ["--encoder", str(folder), "--texts", "32", "--repeats", "1", "--json"]
    assert main(["bench", "encoder", *argv]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["ratio"] > 0
    assert result["min_cosine"] > 0.999
    assert (result["texts"], result["repeats"], result["encoder"]) == (32, 1, str(folder))


@pytest.mark.parametrize("given", [("--texts", "31"), ("--repeats", "0"), ("--encoder", "/no/such/folder")])
def test_bad_arguments_are_refused(given: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one line that names the value."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match=given[1]):
        bench_encoder.run(bench_encoder.options_of(arguments(bench_encoder, *given)))
