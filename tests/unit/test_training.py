"""From a log to an artifact: deterministic, without a look ahead, with a defined answer for logs that are too small."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from models import training
from models.artifact import Artifact, load_artifact, save_artifact
from models.fusion import FEATURES, fit_fusion
from models.interactions import Interactions, next_item_counts, sample_positions, windows_before
from models.recommend import Catalogue, Pipeline, build_catalogue
from models.training import FIT_SHARE, FUSION_SHARE, TrainingOptions
from tests.tiny_models import SOURCE, T0, artifact, text_vectors, tiny_log, train_tiny, window


def test_a_tiny_log_end_to_end() -> None:
    """The artifact knows the log, its sizes and its scores, and gives lists."""
    log, manifest = tiny_log(), artifact().manifest
    assert manifest.item_ids == list(log.item_ids)
    assert (manifest.n_events, manifest.n_users, manifest.epochs) == (360, 30, 2)
    assert (manifest.trained_from_ms, manifest.trained_to_ms) == (int(log.ts_ms[0]), int(log.ts_ms[-1]))
    assert (manifest.encoder_name, manifest.encoder_version, manifest.text_version) == ("fake", "fake-16", "1")
    assert manifest.metrics["n"] == 360 - int((FIT_SHARE + FUSION_SHARE) * 360)
    assert all(np.isfinite(value) for value in manifest.metrics.values())
    assert artifact().popularity.tolist() == np.bincount(log.items).tolist()
    found = build_catalogue(artifact(), text_vectors(log.item_ids), 0)
    assert len(Pipeline(artifact(), k=3).recommend(found, [window("i03")])[0].items) == 3


def test_the_same_seed_gives_the_same_version() -> None:
    """Equal log, vectors and options give equal bytes, whatever was drawn before; another seed gives others."""
    torch.rand(3)
    assert train_tiny().manifest.sha256 == artifact().manifest.sha256
    assert train_tiny().version == artifact().version
    assert train_tiny(seed=2).version != artifact().version


@pytest.mark.parametrize("rows", [99, 0])
def test_a_log_with_too_few_events_is_refused(rows: int) -> None:
    """A log that cannot be cut into slices is refused with its size."""
    log = tiny_log().part(0, rows)
    with pytest.raises(ValueError, match=f"{rows} events"):
        training.train(log, text_vectors(log.item_ids), SOURCE, TrainingOptions())


def test_a_log_of_one_item_is_refused() -> None:
    """With one item there is nothing to tell apart."""
    log = Interactions.from_rows([(f"u{i % 9}", "i01", "view", T0 + i) for i in range(200)])
    with pytest.raises(ValueError, match="of 1 items"):
        training.train(log, text_vectors(["i01"]), SOURCE, TrainingOptions())


@pytest.mark.parametrize("n_users", [1, 100])
def test_the_smallest_logs_give_an_artifact(n_users: int, tmp_path: Any) -> None:
    """One user alone, and users of one event each, of whom nothing can be learnt, train, save, load and serve."""
    rows = [(f"u{i % n_users}", f"i{i * 7 % 5:02}", "view", T0 + i) for i in range(100)]
    made = train_tiny(Interactions.from_rows(rows))
    save_artifact(made, tmp_path / "model")
    loaded = load_artifact(tmp_path / "model")
    found = build_catalogue(loaded, text_vectors(loaded.manifest.item_ids), 0)
    ranked = Pipeline(loaded, k=3).recommend(found, [window("i03"), []])
    assert [len(one.items) for one in ranked] == [3, 3]
    assert all(np.isfinite(item.score) for one in ranked for item in one.items)


def test_interactions_are_sorted_by_time_and_ties_keep_their_order() -> None:
    """Rows may come in any order; users and items are numbered by first appearance."""
    log = Interactions.from_rows([("b", "y", "purchase", 5), ("a", "x", "click", 3), ("a", "y", "view", 5)])
    assert (log.user_ids, log.item_ids) == (("b", "a"), ("y", "x"))
    assert log.ts_ms.tolist() == [3, 5, 5]
    assert log.users.tolist() == [1, 0, 1]
    assert log.items.tolist() == [1, 0, 0]
    assert [log.behaviour(i).type for i in range(3)] == ["click", "purchase", "view"]
    assert len(log.part(1, 3)) == 2
    assert len(Interactions.from_rows([])) == 0


def test_next_item_counts_by_hand() -> None:
    """Steps are counted within a user, more frequent followers first, equal ones by row; shares are of all steps."""
    # interleaved: user 0 walks 0 1 0 2 0 1, user 1 walks 2 0 3
    users = np.array([0, 1, 0, 0, 1, 0, 0, 1, 0])
    items = np.array([0, 2, 1, 0, 0, 2, 0, 3, 1])
    rows, shares = next_item_counts(users, items, 5, n_next=3)
    assert rows.tolist() == [[1, 2, 3], [0, -1, -1], [0, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert shares.tolist() == [[0.5, 0.25, 0.25], [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_next_item_counts_keep_the_most_frequent() -> None:
    """Where there are more followers than places, shares are still of all steps; ties go to the lower row."""
    users = np.repeat(np.arange(6), 2)
    items = np.array([0, 3, 0, 3, 0, 2, 0, 1, 0, 4, 0, 0])
    rows, shares = next_item_counts(users, items, 5, n_next=2)
    assert rows[0].tolist() == [3, 0]
    np.testing.assert_allclose(shares[0], [2 / 6, 1 / 6])


def test_next_item_counts_without_steps() -> None:
    """Users of one event each have no steps, and one user's last item is not followed by the next user's first."""
    rows, shares = next_item_counts(np.array([0, 1, 2]), np.array([0, 1, 0]), 2, n_next=2)
    assert (rows == -1).all()
    assert not shares.any()


def test_a_window_ends_before_its_event() -> None:
    """Neither the window nor what the user has had holds the event itself or anything later, or another user's."""
    log = tiny_log()
    positions = [0, 7, 100, 200, 359]
    windows, had, targets = windows_before(log, positions, 4)
    for position, before, seen, target in zip(positions, windows, had, targets, strict=True):
        earlier = [i for i in range(position) if log.users[i] == log.users[position]]
        assert before == [log.behaviour(i) for i in earlier[-4:]]
        assert seen == {log.behaviour(i).item_id for i in earlier}
        assert target == log.behaviour(position).item_id
    assert windows[0] == []
    assert windows_before(log, [], 4) == ([], [], [])


def test_only_events_of_users_with_a_history_are_asked_for() -> None:
    """A user's first event has no window; a sample is bounded, in order and deterministic."""
    log = Interactions.from_rows([(user, "x", "view", i) for i, user in enumerate("aabcabdd")])
    assert sample_positions(log, range(3, 8), 10, seed=1) == [4, 5, 7]
    assert sample_positions(log, range(0, 8), 10, seed=1) == [1, 4, 5, 7]
    few = sample_positions(tiny_log(), range(100, 300), 20, seed=1)
    assert few == sorted(set(few)) == sample_positions(tiny_log(), range(100, 300), 20, seed=1)
    assert len(few) == 20


def late_item_log() -> Interactions:
    """Return the tiny log in which the events after the first 80 % all have items that the first part lacks."""
    log = tiny_log()
    rows = []
    for i in range(len(log)):
        user, behaviour = log.user_ids[log.users[i]], log.behaviour(i)
        item = behaviour.item_id if i < int(FIT_SHARE * len(log)) else f"i{50 + i % 6}"
        rows.append((user, item, behaviour.type, behaviour.ts_ms))
    return Interactions.from_rows(rows)


def test_fusion_is_fitted_on_what_the_parts_have_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its positions begin where the parts' end and end where measuring begins; items of that time are new to it."""
    calls: list[tuple[Artifact, Catalogue, range]] = []
    fitted: list[np.ndarray[Any, Any]] = []
    fit_slice, fit_network = training._fit_fusion, fit_fusion

    def spy(plain: Artifact, shown: Catalogue, log: Any, positions: range, *rest: Any) -> Any:
        calls.append((plain, shown, positions))
        return fit_slice(plain, shown, log, positions, *rest)

    def spy_network(features: torch.Tensor, *rest: Any, **options: Any) -> Any:
        fitted.append(features.numpy().copy())
        return fit_network(features, *rest, **options)

    monkeypatch.setattr(training, "_fit_fusion", spy)
    monkeypatch.setattr(training, "fit_fusion", spy_network)
    log = late_item_log()
    made = train_tiny(log)
    ((plain, shown, positions),) = calls
    assert positions == range(int(FIT_SHARE * 360), int((FIT_SHARE + FUSION_SHARE) * 360))
    assert plain.manifest.n_events == positions.start
    assert plain.manifest.trained_to_ms <= int(log.ts_ms[positions.start])
    late = [item_id for item_id in log.item_ids if item_id >= "i50"]
    rows = [shown.row_of[item_id] for item_id in late]
    assert len(rows) == 6
    assert plain.popularity[[log.item_ids.index(item_id) for item_id in late]].tolist() == [0.0] * 6
    assert not np.isin(plain.next_rows, [log.item_ids.index(item_id) for item_id in late]).any()
    assert shown.is_new[rows].all()
    assert int(shown.is_new.sum()) == 6
    assert set(np.unique(fitted[0][:, FEATURES.index("is_new")])) == {0.0, 1.0}
    assert made.popularity.min() > 0  # the final fit has seen all


def test_every_item_of_the_log_needs_no_vector() -> None:
    """An item without a text embedding trains on its events alone."""
    log = tiny_log()
    with pytest.MonkeyPatch.context() as patch:
        from tests.tiny_models import PRESET

        patch.setattr(training, "PRESETS", {"demo": PRESET})
        made = training.train(log, {}, SOURCE, TrainingOptions())
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.tensors.values() if tensor.is_floating_point())


def test_progress_is_told_up_to_the_total() -> None:
    """Every stage reports and ends at its total."""
    told: dict[str, tuple[int, int]] = {}
    log = tiny_log()
    with pytest.MonkeyPatch.context() as patch:
        from tests.tiny_models import PRESET

        patch.setattr(training, "PRESETS", {"demo": PRESET})
        training.train(
            log, text_vectors(log.item_ids), SOURCE, TrainingOptions(), lambda what, i, n: told.update({what: (i, n)})
        )
    stages = {"sequence model", "factors"}
    expected = {f"{fit}: {stage}" for fit in ("first fit", "final fit") for stage in stages}
    assert set(told) == expected | {"fusion: candidates", "fusion"}
    assert all(done == total for done, total in told.values())


def test_minutes_bound_the_epochs() -> None:
    """No epoch is started after the time is up, and the manifest says how many were run."""
    log = tiny_log()
    with pytest.MonkeyPatch.context() as patch:
        from tests.tiny_models import PRESET

        patch.setattr(training, "PRESETS", {"demo": PRESET})
        made = training.train(log, text_vectors(log.item_ids), SOURCE, TrainingOptions(minutes=0.0))
    assert made.manifest.epochs == 1
