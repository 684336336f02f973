"""The cache of text embeddings: torn writes, versions apart, processes that share a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from models.base.types import Float32
from models.text import embedding_cache
from models.text.embedding_cache import EmbeddingCache, embed_texts
from models.text.encoder import FakeEncoder

VECTORS = {"a": np.array([1, 2], dtype=np.float32), "b": np.array([3, 4], dtype=np.float32)}


class CountingEncoder(FakeEncoder):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str]) -> Float32:
        self.seen += texts
        return super().encode(texts)


def filled(folder: Path) -> Path:
    """Return the file of a cache with two vectors."""
    EmbeddingCache(folder, "v1", 2).put_many(VECTORS)
    (path,) = folder.iterdir()
    return path


def test_vectors_are_there_for_the_next_process(tmp_path: Path) -> None:
    """What was put comes back exactly, unknown texts do not, and a repeat changes nothing."""
    path = filled(tmp_path)
    cache = EmbeddingCache(tmp_path, "v1", 2)
    found = cache.get_many(["a", "b", "c", "\ud800"])
    assert {text: vector.tolist() for text, vector in found.items()} == {"a": [1, 2], "b": [3, 4]}
    assert found["a"].dtype == np.float32
    size = path.stat().st_size
    cache.put_many(VECTORS)
    assert path.stat().st_size == size


def test_versions_and_widths_are_never_mixed(tmp_path: Path) -> None:
    """A text of another encoder version or width is unknown."""
    filled(tmp_path)
    assert EmbeddingCache(tmp_path, "v2", 2).get_many("ab") == {}
    assert EmbeddingCache(tmp_path, "v1", 3).get_many("ab") == {}
    with pytest.raises(ValueError, match="cache of v1"):
        embed_texts(["a"], FakeEncoder(), EmbeddingCache(tmp_path, "v1", 2))


@pytest.mark.parametrize("cut", [1, 10, 27])
def test_a_torn_tail_is_cut_off_and_later_records_are_whole(tmp_path: Path, cut: int) -> None:
    """Half a record costs its own text only, and what is put after it can be read."""
    path = filled(tmp_path)
    os.truncate(path, path.stat().st_size - cut)
    cache = EmbeddingCache(tmp_path, "v1", 2)
    assert set(cache.get_many("ab")) == {"a"}
    cache.put_many(VECTORS)
    assert set(EmbeddingCache(tmp_path, "v1", 2).get_many("ab")) == {"a", "b"}


def test_a_damaged_record_counts_as_missing(tmp_path: Path) -> None:
    """A flipped bit gives no vector; the records after it are read."""
    path = filled(tmp_path)
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    assert set(EmbeddingCache(tmp_path, "v1", 2).get_many("ab")) == {"b"}


def test_a_key_that_begins_like_another_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are found by their first eight bytes, and compared whole."""
    monkeypatch.setattr(embedding_cache, "_key", lambda text: b"same one" + text.encode().ljust(8))
    cache = EmbeddingCache(tmp_path, "v1", 2)
    cache.put_many({"a": VECTORS["a"]})
    cache.put_many({"b": VECTORS["b"]})
    found = EmbeddingCache(tmp_path, "v1", 2).get_many("ab")
    assert {text: vector.tolist() for text, vector in found.items()} == {"a": [1, 2]}


def test_vectors_in_any_order_and_many_at_once(tmp_path: Path) -> None:
    """Runs of records, single ones, repeats and unknown texts in one question."""
    vectors = {f"t{i}": np.array([i + 1, -i], dtype=np.float32) for i in range(3_000)}
    EmbeddingCache(tmp_path, "v1", 2).put_many(vectors)
    asked = [f"t{i}" for i in np.random.default_rng(1).permutation(3_500).tolist()] + ["t7", "t7"]
    found = EmbeddingCache(tmp_path, "v1", 2).get_many(asked)
    assert {text: vector.tolist() for text, vector in found.items()} == {t: v.tolist() for t, v in vectors.items()}


def test_a_vector_that_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    """NaN never reaches the disk; another width is an error of the caller."""
    cache = EmbeddingCache(tmp_path, "v1", 2)
    cache.put_many({"n": np.array([np.nan, 1], dtype=np.float32)})
    assert cache.get_many(["n"]) == {}
    with pytest.raises(ValueError, match="shape"):
        cache.put_many({"w": np.zeros(3, dtype=np.float32)})


def test_each_distinct_text_is_embedded_once(tmp_path: Path) -> None:
    """Repeats and known texts cost nothing; rows come in the order of the texts."""
    encoder = CountingEncoder()
    cache = EmbeddingCache(tmp_path, encoder.version, encoder.dim)
    steps: list[tuple[int, int]] = []
    texts = [f"word{i % 300}" for i in range(900)]
    found = embed_texts(texts, encoder, cache, lambda done, total: steps.append((done, total)))
    np.testing.assert_array_equal(found, FakeEncoder().encode(texts))
    assert sorted(encoder.seen) == sorted(set(texts))
    assert steps[-1] == (300, 300)
    np.testing.assert_array_equal(embed_texts(texts, encoder, EmbeddingCache(tmp_path, encoder.version, 16)), found)
    assert len(encoder.seen) == 300
    assert embed_texts([], encoder, cache).shape == (0, 16)


@pytest.mark.model
def test_two_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    """Every vector of both is there afterwards."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from models.text.embedding_cache import EmbeddingCache\n"
        "cache = EmbeddingCache(Path(sys.argv[1]), 'v1', 2)\n"
        "for i in range(200): cache.put_many({f'{sys.argv[2]}{i}': np.array([i, 1], dtype=np.float32)})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "xy"]
    assert [process.wait(timeout=240) for process in running] == [0, 0]
    texts = [f"{name}{i}" for name in "xy" for i in range(200)]
    found = EmbeddingCache(tmp_path, "v1", 2).get_many(texts)
    assert [found[text][0] for text in texts] == [i for _ in "xy" for i in range(200)]
