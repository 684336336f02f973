"""The artifact and the serving pipeline: what a list must be, and what a damaged artifact says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from models.artifact import MANIFEST, TENSORS, Artifact, ArtifactError, load_artifact, save_artifact
from models.encoder import FakeEncoder
from models.recommend import Catalogue, Pipeline, RankedList, build_catalogue
from models.training import Interactions, TextSource, TrainingOptions, next_item_counts, train, windows_before
from models.types import Behaviour, Float32

N_ITEMS, K = 40, 10


def make_log(n_users: int = 40) -> Interactions:
    """Return a seeded log in which neighbours follow each other."""
    rng = np.random.default_rng(5)
    rows = [
        (f"u{u}", f"i{(u + 2 * step + int(rng.integers(3))) % N_ITEMS}", "view", 60_000 * (20 * step + u))
        for step in range(12)
        for u in range(n_users)
    ]
    return Interactions.from_rows(rows)


def make_vectors(names: list[str] | None = None) -> dict[str, Float32]:
    """Return fake text embeddings of items."""
    ids = [f"i{i}" for i in range(N_ITEMS)] if names is None else names
    return dict(zip(ids, FakeEncoder(12).encode([f"title of {i}" for i in ids]), strict=True))


SOURCE = TextSource("fake", "fake-12", "1")


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    """Give a trained artifact."""
    return train(make_log(), make_vectors(), SOURCE, TrainingOptions(seed=3))


@pytest.fixture(scope="module")
def catalogue(artifact: Artifact) -> Catalogue:
    """Give the catalogue of the training's items."""
    return build_catalogue(artifact, make_vectors(), 1)


def window(*items: int) -> list[Behaviour]:
    """Return a window of items by number."""
    return [Behaviour(f"i{i}", "view", 1_000 * step) for step, i in enumerate(items)]


def ids(ranked: RankedList) -> list[str]:
    """Return the item ids of a list."""
    return [item.item_id for item in ranked.items]


WINDOWS = [window(1, 3, 5), window(7), window(*range(20)), []]


def test_a_list_has_k_new_items_each_once(artifact: Artifact, catalogue: Catalogue) -> None:
    """Neither the window's items nor others that the user has had appear, and nothing appears twice."""
    seen = [{"i30", "i31"}, set(), set(), {"i0"}]
    for had, past, ranked in zip(
        seen, WINDOWS, Pipeline(artifact, k=K).recommend(catalogue, WINDOWS, seen), strict=True
    ):
        assert len(set(ids(ranked))) == len(ids(ranked)) == K
        assert not set(ids(ranked)) & (had | {b.item_id for b in past})


def test_a_batch_is_its_windows_one_by_one(artifact: Artifact, catalogue: Catalogue) -> None:
    """Nobody's list depends on who else is in the micro-batch."""
    pipeline = Pipeline(artifact, k=K)
    for one, ranked in zip(WINDOWS, pipeline.recommend(catalogue, WINDOWS), strict=True):
        alone = pipeline.recommend(catalogue, [one])[0]
        assert ids(alone) == ids(ranked)
        np.testing.assert_allclose(alone.user_vector, ranked.user_vector, atol=1e-4)


def test_scores_fall_and_are_probabilities(artifact: Artifact, catalogue: Catalogue) -> None:
    """Best first, every score between 0 and 1, every item with a source and a reason from the window."""
    ranked = Pipeline(artifact, k=K).recommend(catalogue, [window(1, 3, 5)])[0]
    scores = [item.score for item in ranked.items]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert all(item.sources and item.because in {"i1", "i3", "i5"} for item in ranked.items)


@pytest.mark.parametrize("past", [[], [Behaviour("unheard of", "view", 1)]])
def test_without_history_popular_items_and_it_says_so(
    artifact: Artifact, catalogue: Catalogue, past: list[Behaviour]
) -> None:
    """A list without a window's knowledge is marked, and claims no other source and no reason."""
    ranked = Pipeline(artifact, k=K).recommend(catalogue, [past])[0]
    assert ranked.degraded == "popular"
    assert all(set(item.sources) == {"popular"} and item.because is None for item in ranked.items)


def test_a_new_item_is_found_by_its_text(artifact: Artifact) -> None:
    """An item that training never saw, whose text is that of a followed item, is listed at once as content."""
    vectors = make_vectors()
    vectors["fresh"] = vectors["i7"]
    catalogue = build_catalogue(artifact, vectors, 2)
    ranked = Pipeline(artifact, k=N_ITEMS).recommend(catalogue, [window(1, 3, 5)])[0]
    fresh = next(item for item in ranked.items if item.item_id == "fresh")
    assert "content" in fresh.sources
    assert "retrieval" not in fresh.sources


def test_small_catalogues(artifact: Artifact) -> None:
    """No items, one item, and everything seen: a shorter list, never an error or a repeat."""
    pipeline = Pipeline(artifact, k=K)
    assert ids(pipeline.recommend(build_catalogue(artifact, {}, 1), [window(1)])[0]) == []
    one = build_catalogue(artifact, make_vectors(["i3"]), 1)
    assert ids(pipeline.recommend(one, [window(1)])[0]) == ["i3"]
    assert ids(pipeline.recommend(one, [window(3)])[0]) == []


def test_save_and_load_change_nothing(artifact: Artifact, catalogue: Catalogue, tmp_path: Path) -> None:
    """Same version, same lists; and saving replaces what was there."""
    for _ in range(2):
        save_artifact(artifact, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.version == artifact.version
    again = Pipeline(loaded, k=K).recommend(build_catalogue(loaded, make_vectors(), 1), WINDOWS)
    assert [ids(r) for r in again] == [ids(r) for r in Pipeline(artifact, k=K).recommend(catalogue, WINDOWS)]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def edit(folder: Path, **changes: Any) -> None:
    """Change fields of the manifest."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def put_tensor(folder: Path, name: str, tensor: torch.Tensor) -> None:
    """Replace a tensor and bring checksum and specification in step, so that only the deeper checks are left."""
    import hashlib

    tensors = safetensors.torch.load((folder / TENSORS).read_bytes()) | {name: tensor}
    data = safetensors.torch.save(tensors)
    (folder / TENSORS).write_bytes(data)
    specs = {key: {"dtype": str(t.dtype), "shape": list(t.shape)} for key, t in tensors.items()}
    edit(folder, sha256=hashlib.sha256(data).hexdigest(), tensors=specs)


def flip(folder: Path) -> None:
    """Change one byte of the tensors."""
    data = bytearray((folder / TENSORS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / TENSORS).write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "manifest.json is missing"),
    "no tensors": (lambda f: (f / TENSORS).unlink(), "tensors.safetensors is missing"),
    "broken JSON": (lambda f: (f / MANIFEST).write_text("{"), "not a manifest"),
    "one byte changed": (flip, "checksum"),
    "truncated": (lambda f: (f / TENSORS).write_bytes((f / TENSORS).read_bytes()[:-9]), "checksum"),
    "newer format": (lambda f: edit(f, format=99), "format 99"),
    "NaN weight": (lambda f: put_tensor(f, "mf.biases", torch.full((N_ITEMS,), float("nan"))), "mf.biases"),
    "another dimension": (lambda f: put_tensor(f, "sequence.norm.weight", torch.ones(7)), "do not fit"),
    "fewer rows": (lambda f: put_tensor(f, "popularity", torch.ones(3)), "popularity"),
    "repeated item": (lambda f: edit(f, item_ids=["i1"] * N_ITEMS), "twice"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(artifact: Artifact, tmp_path: Path, damage: str) -> None:
    """Each damage is one line that names the file and the remedy, never a list that is silently wrong."""
    save_artifact(artifact, tmp_path / "a")
    harm, said = DAMAGE[damage]
    harm(tmp_path / "a")
    with pytest.raises(ArtifactError) as caught:
        load_artifact(tmp_path / "a")
    message = str(caught.value)
    assert said in message
    assert str(tmp_path) in message and "headrace train" in message and "\n" not in message


def test_training_is_deterministic(artifact: Artifact) -> None:
    """The same log, seed and machine give the same artifact; another seed another one."""
    assert train(make_log(), make_vectors(), SOURCE, TrainingOptions(seed=3)).version == artifact.version
    assert train(make_log(), make_vectors(), SOURCE, TrainingOptions(seed=4)).version != artifact.version


def test_too_small_a_log_is_refused() -> None:
    """The error says how many events there are and how many are needed."""
    log = Interactions.from_rows([("u", "i", "view", 1)])
    with pytest.raises(ValueError, match="1 events of 1 items"):
        train(log, {}, SOURCE, TrainingOptions())


def test_next_item_counts_by_hand() -> None:
    """Followers by falling count, shares of all steps from an item, and no step from one user to the next."""
    users = np.array([0, 0, 0, 0, 0, 1])
    items = np.array([0, 1, 0, 1, 2, 0])
    rows, shares = next_item_counts(users, items, 3, n_next=2)
    assert rows.tolist() == [[1, -1], [0, 2], [-1, -1]]
    assert shares.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]


def test_windows_before_an_event_do_not_contain_it() -> None:
    """No leakage: the target's position is outside its window, and seen items are those before it."""
    log = make_log(4)
    windows, seen, targets = windows_before(log, range(len(log)), 5)
    for position, (past, had, target) in enumerate(zip(windows, seen, targets, strict=True)):
        assert target == log.item_ids[log.items[position]]
        assert len(past) <= 5
        assert all(b.ts_ms < log.ts_ms[position] for b in past)
        assert {b.item_id for b in past} <= had
