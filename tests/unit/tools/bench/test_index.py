"""``headrace bench index``: made vectors are like real ones, and every kind is asked the same."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from models.base.types import Float32
from streams.errors import InputError
from tools.bench.index import add_arguments, as_table, options_of
from tools.bench.live.index_kinds import KINDS, build_kind, share_found
from tools.bench.live.index_vectors import extended, likeness


def real(n: int = 1_500, dim: int = 16) -> Float32:
    """Return seeded vectors in clusters, with a bias."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((30, dim))
    near = centres[rng.integers(30, size=n)] + 0.4 * rng.standard_normal((n, dim))
    return np.column_stack([near, 0.1 * rng.standard_normal(n)]).astype(np.float32)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(["log.csv", "--artifact", "a", *words])


def test_made_vectors_have_lengths_and_biases_of_real_ones() -> None:
    """The real ones come first; no made one repeats another."""
    items = real()
    made = extended(items, 6_000, seed=1)
    assert np.array_equal(made[: len(items)], items) and len(np.unique(made, axis=0)) == 6_000
    lengths, real_lengths = (np.linalg.norm(of[:, :-1], axis=1) for of in (made, items))
    nearest = np.abs(lengths[:, None] - real_lengths).min(axis=1)
    assert nearest.max() < 1e-4 and np.isin(made[:, -1], items[:, -1]).all()


def test_likeness_tells_made_vectors_from_noise() -> None:
    """Made vectors have about as near neighbours as real ones; vectors without structure do not."""
    items = real()
    like = likeness(items, extended(items, 6_000, seed=1), seed=1)
    near, made = (like[name]["cosine of the tenth neighbour"][1] for name in ("real", "made"))
    noise = np.random.default_rng(2).standard_normal((6_000, 17)).astype(np.float32)
    far = likeness(items, noise, seed=1)["made"]["cosine of the tenth neighbour"][1]
    assert abs(near - made) < 0.1 < near - far


def test_fewer_vectors_are_a_sample() -> None:
    items = real()
    some = extended(items, 300, seed=1)
    assert len(some) == 300 and np.isin(some[:, 0], items[:, 0]).all()


def test_every_kind_reaches_the_recall_or_says_so() -> None:
    """``found`` is what other queries get, so it lies near the recall measured at the build."""
    items = extended(real(), 4_000, seed=1)
    users = items[::100] + np.float32(0.05)
    wanted = build_kind("exact", items, target=0.9, seed=1).search(users, 100)[0]
    for name in KINDS:
        built = build_kind(name, items, target=0.9, seed=1)
        found = share_found(built.search(users, 100)[0], wanted)
        assert found > 0.85 or "misses" in built.note, name
        assert (built.n_bytes > 0) == (name not in ("exact", "headrace")), name


@pytest.mark.parametrize(
    "words, why",
    [
        (["--sizes", "many"], "--sizes 'many': must be whole numbers"),
        (["--sizes", "50"], "each must be from 100 to 5000000"),
        (["--kinds", "lsh"], "no index 'lsh'; there are exact,headrace"),
        (["--rounds", "1"], "--rounds 1: must be from 2 to 1000"),
        (["--recall", "1.5"], "--recall 1.5: must be above 0 and at most 1"),
        (["--seed", "-1"], "--seed -1: must be from 0"),
    ],
)
def test_options_out_of_range_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        options_of(options(*words))


def test_exact_is_always_measured() -> None:
    """The others' ratios are to it."""
    asked = options_of(options("--kinds", "headrace,hnsw-float32"))
    assert list(asked.kinds) == ["exact", "headrace", "hnsw-float32"] and asked.artifact == Path("a")


def test_the_table_has_a_line_for_each_index() -> None:
    spread = {"ms": 0.5, "min": 0.4, "max": 0.6, "ratio": 2.0}
    row = {"n": 1_000_000, "kind": "headrace", "effort": 20, "measured": 0.98, "found": 0.99, "build_s": 12.0}
    row |= {"bytes": 152_000_000, "note": "uses ivf", "batch 1": spread, "batch 64": spread}
    result = {"rows": [row], "likeness": {}, "log": "log.csv", "real_items": 9, "queries": 2, "width": 65}
    lines = as_table(result | {"rounds": 3, "machine": "m", "date": "d"})
    assert "0.500 (0.400 to 0.600)" in lines[1] and lines[1].endswith("uses ivf") and len(lines) == 3
