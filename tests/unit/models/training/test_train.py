"""From a log to an artifact: deterministic, no look ahead, small logs refused or served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.artifact.artifact import Artifact, load_artifact, save_artifact
from models.base.observer import Observer
from models.base.scalar_features import FEATURES
from models.base.types import AnyArray
from models.factors.als import AlsConfig
from models.factors.matrix_factorisation import FactorsConfig
from models.features.imputation import STRATEGIES
from models.fusion import FusionData, fit_fusion
from models.interactions import Interactions
from models.ranking.pipeline import Pipeline, build_catalogue
from models.sequence.fit import SequenceData
from models.training import train as training
from models.training.log_slices import FIT_SHARE, FUSION_SHARE, Cut
from models.training.train import TrainingData, TrainingOptions
from tests.support.tiny_models import (
    PRESET,
    SOURCE,
    T0,
    artifact,
    featured_data,
    item_features,
    text_vectors,
    tiny_data,
    tiny_log,
    train_tiny,
    user_features,
    window,
)

pytestmark = pytest.mark.model


def test_a_tiny_log_end_to_end() -> None:
    """The artifact knows the log, its sizes and its scores, and gives lists."""
    log, manifest = tiny_log(), artifact().manifest
    assert manifest.item_ids == list(log.item_ids)
    assert (manifest.n_events, manifest.n_users) == (360, 30)
    assert manifest.epochs in (3, 4)  # the best of two, and two of the final fit
    assert (manifest.trained_from_ms, manifest.trained_to_ms) == (int(log.ts_ms[0]), int(log.ts_ms[-1]))
    assert (manifest.encoder_name, manifest.encoder_version, manifest.text_version) == ("fake", "fake-16", "1")
    assert manifest.metrics["n"] == 360 - int((FIT_SHARE + FUSION_SHARE) * 360)
    assert all(np.isfinite(value) for value in manifest.metrics.values())
    assert artifact().popularity.tolist() == np.bincount(log.items).tolist()
    found = build_catalogue(artifact(), text_vectors(log.item_ids), 0)
    assert len(Pipeline(artifact(), k=3).recommend(found, [window("i03")])[0].items) == 3


def test_the_same_seed_gives_the_same_version() -> None:
    """Equal log, vectors and options give equal bytes; another seed gives others."""
    torch.rand(3)
    assert train_tiny().manifest.sha256 == artifact().manifest.sha256
    assert train_tiny().version == artifact().version
    assert train_tiny(seed=2).version != artifact().version


@pytest.mark.parametrize("rows", [99, 0])
def test_a_log_with_too_few_events_is_refused(rows: int) -> None:
    """A log that cannot be cut into slices is refused with its size."""
    log = tiny_log().where(slice(0, rows))
    with pytest.raises(ValueError, match=f"number of events {rows}, of items"):
        training.train(tiny_data(log), TrainingOptions())


def test_a_log_of_one_item_is_refused() -> None:
    """With one item there is nothing to rank."""
    log = Interactions.from_rows([(f"u{i % 9}", "i01", "view", T0 + i) for i in range(200)])
    with pytest.raises(ValueError, match="of items 1; training needs"):
        training.train(TrainingData(log, text_vectors(["i01"]), SOURCE), TrainingOptions())


@pytest.mark.parametrize("n_users", [1, 100])
def test_the_smallest_logs_give_an_artifact(n_users: int, tmp_path: Path) -> None:
    """One user, or users with one event each, can train, save, load and serve."""
    rows = [(f"u{i % n_users}", f"i{i * 7 % 5:02}", "view", T0 + i) for i in range(100)]
    made = train_tiny(Interactions.from_rows(rows))
    save_artifact(made, tmp_path / "model")
    loaded = load_artifact(tmp_path / "model")
    found = build_catalogue(loaded, text_vectors(loaded.manifest.item_ids), 0)
    ranked = Pipeline(loaded, k=3).recommend(found, [window("i03"), []])
    assert [len(one.items) for one in ranked] == [3, 3]
    assert all(np.isfinite(item.score) for one in ranked for item in one.items)


def late_log() -> Interactions:
    """Return the tiny log with new items and new users after the first 80 %."""
    log = tiny_log()
    rows = []
    for i in range(len(log)):
        user, behaviour = log.user_ids[log.users[i]], log.behaviour(i)
        is_late = i >= int(FIT_SHARE * len(log))
        item = f"i{50 + i % 6}" if is_late else behaviour.item_id
        rows.append((f"u{100 + i % 4}" if is_late and i % 9 == 0 else user, item, behaviour.type, behaviour.ts_ms))
    return Interactions.from_rows(rows)


#: What a training fits or asks; each is watched.
WATCHED = (
    "fit_sequence", "fit_factors", "next_item_counts", "item_neighbours", "fit_side_features", "questions", "collect", "fit_fusion_alone",
)  # fmt: skip


@cache
def watched(cut: Cut) -> tuple[TrainingData, Artifact, dict[str, list[tuple[Any, ...]]]]:
    """Train on a log with late items; return the arguments of watched calls."""
    log = late_log()
    features = item_features(log.item_ids), user_features(log.user_ids)
    data = TrainingData(log, text_vectors(log.item_ids), SOURCE, *features)
    calls: dict[str, list[tuple[Any, ...]]] = {name: [] for name in WATCHED}

    def spied(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def spy(*args: Any, **options: Any) -> Any:
            calls[name].append(args)
            return real(*args, **options)

        return spy

    with pytest.MonkeyPatch.context() as patch:
        for name in WATCHED:
            patch.setattr(training, name, spied(name, getattr(training, name)))
        made = train_tiny(data=data, options=TrainingOptions(seed=1, cut=cut))
    return data, made, calls


def events(log: Interactions, users: AnyArray, times: AnyArray) -> set[tuple[int, int]]:
    """Return events as pairs of user and time, which name one event each in the log."""
    assert len(set(zip(log.users.tolist(), log.ts_ms.tolist(), strict=True))) == len(log)
    return set(zip(users.tolist(), times.tolist(), strict=True))


@pytest.mark.parametrize("cut", ["time", "last"])
def test_fusion_learns_from_events_later_than_all_that_was_fitted_of_their_user(cut: Cut) -> None:
    """Nor is an event asked twice, of fusion and of validation; both ask something."""
    data, _, calls = watched(cut)
    fitted: SequenceData = calls["fit_sequence"][0][0]
    asked = [np.array(call[2]) for call in calls["questions"]]
    assert len(asked) == 2
    assert all(len(positions) > 5 for positions in asked)
    assert not set(asked[0].tolist()) & set(asked[1].tolist())
    for positions in asked:
        for position in positions:
            before = fitted.ts_ms[fitted.users == data.log.users[position]]
            assert before.max(initial=0) < data.log.ts_ms[position]


@pytest.mark.parametrize("cut", ["time", "last"])
def test_early_parts_never_see_an_event_of_a_later_slice(cut: Cut) -> None:
    """Each part is fitted to the first slice alone, then to the whole log."""
    data, made, calls = watched(cut)
    log = data.log
    fitted: SequenceData = calls["fit_sequence"][0][0]
    asked = np.concatenate([np.array(call[2]) for call in calls["questions"]])
    kept = events(log, fitted.users, fitted.ts_ms)
    assert not kept & events(log, log.users[asked], log.ts_ms[asked])
    assert len(kept) < len(log) == len(calls["fit_sequence"][1][0].users)
    for name in ("fit_factors", "next_item_counts", "item_neighbours"):
        first, last = calls[name]
        assert (first[0].tolist(), first[1].tolist()) == (fitted.users.tolist(), fitted.items.tolist())
        assert (last[0].tolist(), last[1].tolist()) == (log.users.tolist(), log.items.tolist())
    plain: Artifact = calls["collect"][0][0]
    assert plain.popularity.tolist() == np.bincount(fitted.items, minlength=len(log.item_ids)).tolist()
    assert ((plain.recent_popularity > 0) == (plain.popularity > 0)).all()
    assert plain.manifest.trained_to_ms == fitted.ts_ms.max()
    assert made.popularity.tolist() == np.bincount(log.items).tolist()


@pytest.mark.parametrize("cut", ["time", "last"])
def test_features_are_fitted_on_what_the_fit_slice_knows(cut: Cut) -> None:
    """Later items and users do not influence columns, scales or imputation."""
    data, _, calls = watched(cut)
    log = data.log
    fitted: SequenceData = calls["fit_sequence"][0][0]
    items, users = np.unique(fitted.items), np.unique(fitted.users)
    of_items, of_users = calls["fit_side_features"]
    assert of_items[0] == [data.item_features.get(log.item_ids[i], {}) for i in items]
    assert of_users[0] == [data.user_features.get(log.user_ids[u], {}) for u in users]
    np.testing.assert_array_equal(of_items[1], fitted.text[items])
    firsts = [fitted.ts_ms[fitted.items == item].min() for item in items]
    assert of_items[3].tolist() == firsts
    if cut == "time":  # the case must be able to show a leak
        assert len(items) < len(log.item_ids)
        assert len(users) < len(log.user_ids)


def test_fusion_meets_items_that_the_parts_have_not_seen() -> None:
    """Fusion meets items that are new to the parts; the final fit knows them."""
    data, made, calls = watched("time")
    shown = calls["questions"][0][0]
    late = [item_id for item_id in data.log.item_ids if item_id >= "i50"]
    rows = [shown.row_of[item_id] for item_id in late]
    assert len(rows) == 6
    assert shown.is_new[rows].all()
    assert int(shown.is_new.sum()) == 6
    fitted: FusionData = calls["fit_fusion_alone"][0][0]
    is_new = fitted.features[..., FEATURES.index("is_new")][fitted.valid]
    assert set(is_new.tolist()) == {0.0, 1.0}
    assert made.popularity.min() > 0


def test_fusion_is_kept_by_the_final_fit() -> None:
    """What was learnt on held-back events is served; the parts are those of the whole log."""
    _, made, calls = watched("time")
    fitted: FusionData = calls["fit_fusion_alone"][0][0]
    again = fit_fusion(fitted, seed=1, epochs=PRESET.fusion_epochs)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(made.fusion.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_imputation_trains_and_serves(strategy: str, tmp_path: Path) -> None:
    """Each strategy fills missing features in training and serving, also after loading."""
    data = featured_data()
    made = train_tiny(data=data, options=TrainingOptions(imputation=strategy))
    save_artifact(made, tmp_path / "model")
    loaded = load_artifact(tmp_path / "model")
    shown = build_catalogue(loaded, data.vectors, 0, features=data.item_features)
    assert shown.side.shape[1] == PRESET.sequence.dim + 1 + 3
    assert np.isfinite(shown.side).all()
    assert len(Pipeline(loaded, k=3).recommend(shown, [window("i03")])[0].items) == 3


@pytest.mark.parametrize("minutes", [0.0, -1.0])
def test_no_time_at_all_is_refused(minutes: float) -> None:
    """By name and limit."""
    with pytest.raises(ValueError, match="minutes=.*above 0"):
        train_tiny(options=TrainingOptions(minutes=minutes))


def test_an_unknown_imputation_is_refused() -> None:
    """By name, with the ones that exist, before anything is fitted."""
    with pytest.raises(ValueError, match="imputation 'magic'.*median"):
        training.train(tiny_data(), TrainingOptions(imputation="magic"))


@pytest.mark.parametrize(
    ("config", "alpha", "regularisation"),
    [(FactorsConfig(dim=4, epochs=1), None, None), (AlsConfig(dim=4, n_sweeps=2, unobserved_weight=0.25), 4.0, 1.0)],
)
def test_both_factorisations_serve(
    config: FactorsConfig | AlsConfig, alpha: float | None, regularisation: float | None
) -> None:
    """The manifest has the fold-in weights of the factors; items had together score well."""
    made = train_tiny(preset=replace(PRESET, factors=config))
    assert made.factors.factors.shape == (24, 4)
    if isinstance(config, FactorsConfig):
        alpha, regularisation = config.alpha, config.regularisation
    assert (made.manifest.alpha, made.manifest.regularisation) == (alpha, regularisation)
    assert np.isfinite(made.factors.factors).all()


def test_an_interrupted_training_goes_on_to_the_same_artifact(tmp_path: Path) -> None:
    """From its checkpoints, whichever fit was cut; files of another seed are passed over."""
    options = TrainingOptions(checkpoints=tmp_path / "points")
    calls = 0

    def stop(what: str, done: float, _total: int) -> None:
        nonlocal calls
        calls += what == "final fit: sequence model" and done == 1  # an epoch is over
        if calls == 1:
            raise KeyboardInterrupt(f"{what} {done}")

    with pytest.raises(KeyboardInterrupt):
        train_tiny(options=options, observer=Observer(on_progress=stop))
    assert sorted(path.name for path in (tmp_path / "points").iterdir()) == [
        "final-fit.safetensors",
        "first-fit.safetensors",
    ]
    epochs: list[tuple[str, float]] = []
    again = train_tiny(options=options, observer=Observer(on_scalar=lambda name, _v, step: epochs.append((name, step))))
    assert [step for name, step in epochs if name == "first fit/loss"] == []
    assert [step for name, step in epochs if name == "final fit/loss"] == [2]
    assert again.manifest.sha256 == train_tiny(options=TrainingOptions()).manifest.sha256
    other = train_tiny(options=replace(options, seed=2))
    assert other.manifest.sha256 == train_tiny(options=TrainingOptions(seed=2)).manifest.sha256


def test_every_item_of_the_log_needs_no_vector() -> None:
    """An item without a text embedding trains on its events alone."""
    made = train_tiny(data=TrainingData(tiny_log(), {}, SOURCE))
    assert all(bool(torch.isfinite(tensor).all()) for tensor in made.tensors.values() if tensor.is_floating_point())


def test_progress_and_curves_are_told() -> None:
    """Every stage reports up to its total; losses, scores and metrics come by step."""
    told: dict[str, tuple[float, int]] = {}
    curves: dict[str, list[int]] = {}
    observer = Observer(
        lambda what, i, n: told.update({what: (i, n)}), lambda name, _v, step: curves.setdefault(name, []).append(step)
    )
    made = train_tiny(observer=observer)
    stages = {"sequence model", "factors"}
    expected = {f"{fit}: {stage}" for fit in ("first fit", "final fit") for stage in stages}
    assert set(told) == expected | {"fusion: candidates", "fusion"}
    assert all(done == total for done, total in told.values())
    assert curves["first fit/loss"] == curves["first fit/validation ndcg@10"] == curves["final fit/loss"] == [1, 2]
    assert "final fit/validation ndcg@10" not in curves  # its log holds the validation slice
    assert {f"validation/{name}" for name in made.manifest.metrics} <= set(curves)


def test_minutes_bound_the_epochs() -> None:
    """No fit starts an epoch after its time; the manifest counts the epochs of both."""
    assert train_tiny(options=TrainingOptions(minutes=1e-9)).manifest.epochs == 2
