"""Training with repeats: what the artifact records, and what stays as it was without them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest

from models.artifact.artifact import Artifact, ArtifactError, load_artifact, save_artifact
from models.base.scalar_features import AGAIN_FEATURES, BLEND, FEATURES, STEP_FEATURES
from models.evaluation.evaluate import Inputs, evaluate
from models.evaluation.splits import Cases, leave_one_out, time_split
from models.interactions import Interactions, windows_before
from models.rules.repeats import ALL_REPEATS, NO_REPEATS, read_repeats
from models.training import train as training
from models.training.blend_fit import fit_fusion_alone
from models.training.log_slices import cut
from models.training.options import NO_TEXT
from models.training.train import TrainingData, TrainingOptions
from tests.support import tiny_models
from tools.bench.made.clicks import SHAPES, ClickLog
from tools.bench.made.clicks import main as clicks_as_csv

pytestmark = pytest.mark.model


def clicks(shape: str = "revisit", **size: int) -> Interactions:
    return Interactions.from_rows(ClickLog(shape, **({"users": 40, "items": 120, "events": 30} | size)).rows())


@cache
def asked() -> Cases:
    return time_split(clicks(), 0.85)


@cache
def trained(policy: str) -> Artifact:
    options = TrainingOptions(seed=1, repeats=read_repeats(policy))
    return tiny_models.train_tiny(data=TrainingData(asked().train, {}, NO_TEXT), options=options)


def test_an_artifact_records_its_policy_and_has_features_of_the_window(tmp_path: Path) -> None:
    made = trained("always, purchase=after 30d")
    save_artifact(made, tmp_path / "made")
    loaded = load_artifact(tmp_path / "made")
    assert loaded.repeats == read_repeats("always, purchase=after 30d")
    assert loaded.manifest.repeats == {"default": "always", "purchase": "after 30d"}
    kinds = ("again as click", "again as view", "again as purchase")
    assert loaded.manifest.features == (*FEATURES, *AGAIN_FEATURES, *STEP_FEATURES, *kinds, BLEND)
    assert loaded.version == made.version
    assert loaded.manifest.blend == made.manifest.blend
    assert loaded.blend is not None
    assert made.blend is not None
    assert np.array_equal(loaded.blend, made.blend)


def test_a_training_without_repeats_says_nothing_of_them() -> None:
    manifest = trained("never").manifest
    assert {"repeats", "blend"} & msgspec.to_builtins(manifest).keys() == set()
    assert manifest.features == FEATURES
    assert trained("never").repeats == NO_REPEATS
    assert trained("never").version != trained("always").version


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ('{"default": "sometimes"}', "default='sometimes' must be never, always"),
        ('{"default": "never"}', "must be absent where no item may come back"),
        ("{}", "repeats"),
        ('{"default": "after 7d"}', ""),
    ],
)
def test_a_manifest_with_other_words_is_refused(tmp_path: Path, words: str, why: str) -> None:
    save_artifact(trained("always"), tmp_path / "made")
    file = tmp_path / "made" / "manifest.json"
    text = file.read_text("utf-8")
    before = text[text.index('"repeats"') :].split("}")[0] + "}"
    file.write_text(text.replace(before, f'"repeats": {words}'), "utf-8")
    if not why:
        assert load_artifact(tmp_path / "made").version != trained("always").version
        return
    with pytest.raises(ArtifactError, match="repeats") as refused:
        load_artifact(tmp_path / "made")
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("policy", "blend", "why"),
    [
        ("always", '{"oracle": 1.0}', "blend: 'oracle' must be one of step, trail, next"),
        ("always", '{"step": -0.5}', "blend"),
        ("always", "{}", "blend"),
        ("never", '{"step": 1.0}', "blend must be absent where no item may come back"),
        ("always", '{"step": 1.0}', ""),
    ],
)
def test_a_manifest_with_another_blend_is_refused(tmp_path: Path, policy: str, blend: str, why: str) -> None:
    """Known experts with other weights are another version of the artifact."""
    save_artifact(trained(policy), tmp_path / "made")
    file = tmp_path / "made" / "manifest.json"
    found = msgspec.json.decode(file.read_bytes())
    file.write_bytes(msgspec.json.encode(found | {"blend": msgspec.json.decode(blend)}))
    if not why:
        assert load_artifact(tmp_path / "made").version != trained(policy).version
        return
    with pytest.raises(ArtifactError, match=why):
        load_artifact(tmp_path / "made")


def test_an_artifact_without_a_blend_serves_as_it_did(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As those of earlier versions are."""
    monkeypatch.setattr(training, "fit_with_blend", fit_fusion_alone)
    options = TrainingOptions(seed=1, repeats=ALL_REPEATS)
    made = tiny_models.train_tiny(data=TrainingData(asked().train, {}, NO_TEXT), options=options)
    save_artifact(made, tmp_path / "made")
    loaded = load_artifact(tmp_path / "made")
    assert "blend" not in msgspec.to_builtins(loaded.manifest)
    assert loaded.manifest.features == trained("always").manifest.features[:-1]
    found = evaluate(Inputs(loaded, {}, baselines=()), asked(), seed=1)["models"]
    assert found["pipeline"]["hr@10"] > 0


def test_features_and_policy_must_agree(tmp_path: Path) -> None:
    """An artifact without features of the window is not taken for one with them."""
    save_artifact(trained("never"), tmp_path / "made")
    file = tmp_path / "made" / "manifest.json"
    text = file.read_text("utf-8").replace('"item_ids"', '"repeats": {"default": "always"},\n  "item_ids"', 1)
    file.write_text(text, "utf-8")
    with pytest.raises(ArtifactError, match="fusion.feature_mean"):
        load_artifact(tmp_path / "made")


def test_targets_that_were_seen_count_where_they_may_come_back() -> None:
    """The same artifact finds them, and its masked form cannot."""
    log, cases = asked().log, asked()
    is_again = np.array(
        [log.items[p] in log.items[:p][log.users[:p] == log.users[p]] for p in cases.positions.tolist()]
    )
    assert 0.3 < is_again.mean() < 0.8
    found = {
        policy: evaluate(
            Inputs(trained("always"), {}, baselines=("last_again",), repeats=read_repeats(policy)), cases, seed=1
        )
        for policy in ("always", "never")
    }
    free, masked = (found[policy]["models"] for policy in ("always", "never"))
    assert masked["last_again"]["hr@10"] == 0.0
    assert masked["pipeline"]["hr@10"] <= 1 - is_again.mean()
    assert free["pipeline"]["hr@10"] > masked["pipeline"]["hr@10"] + 0.2
    assert free["pipeline"]["ndcg@10"] > free["last_again"]["ndcg@10"] * 0.8


def test_evaluation_asks_the_artifact_what_may_come_back() -> None:
    def ranks(artifact: Artifact, policy: str | None) -> object:
        chosen = None if policy is None else read_repeats(policy)
        return evaluate(Inputs(artifact, {}, baselines=(), repeats=chosen), asked(), seed=1)["models"]["pipeline"]

    assert ranks(trained("always"), None) == ranks(trained("always"), "always")
    assert ranks(trained("never"), None) == ranks(trained("never"), "never")


def test_the_windows_of_a_log_hide_what_the_policy_hides() -> None:
    """Items of the window by their age; what left the window until its age is certain."""
    hour = 3_600_000
    rows = [("u", item, kind, n * hour) for n, (item, kind) in enumerate(
        [("a", "view"), ("b", "purchase"), ("c", "view"), ("d", "view"), ("b", "view"), ("e", "view")]
    )]  # fmt: skip
    log = Interactions.from_rows(rows)

    def hidden(policy: str, max_length: int) -> list[set[str]]:
        return windows_before(log, [5], max_length, read_repeats(policy))[1]

    assert hidden("never", 10) == hidden("never", 2) == [{"a", "b", "c", "d"}]
    assert hidden("always", 10) == hidden("always", 2) == [set()]
    assert hidden("after 2h", 10) == [{"d", "b"}]
    assert hidden("after 2h", 3) == [{"d", "b"}]  # the window reaches back 2 hours: what left it is older
    assert hidden("after 2h", 2) == [{"a", "b", "c", "d"}]  # the window reaches back 1 hour
    assert hidden("always, purchase=after 5h", 10) == [{"b"}]
    assert hidden("always, purchase=after 5h", 2) == [{"a", "b", "c"}]  # of which type was what left?


def test_a_log_of_few_users_keeps_back_more_for_fusion() -> None:
    log = clicks(users=20)
    plain, more = cut(log, "last", 1), cut(log, "last", 1, least=1_000)
    assert len(plain.fusion) + len(plain.validation) == 20
    per_user = np.bincount(log.users)
    expected = np.maximum(1, (0.25 * per_user).astype(int))
    assert len(more.fusion) + len(more.validation) == expected.sum()
    assert not set(log.users[more.fusion]) & set(log.users[more.validation])
    for slices in (plain, more):
        kept_back = np.concatenate([slices.fusion, slices.validation])
        assert not slices.fit[kept_back].any()
        assert slices.fit.sum() + len(kept_back) == len(log)
        for user in range(20):
            own = np.flatnonzero(log.users == user)
            assert slices.fit[own].tolist() == sorted(slices.fit[own].tolist(), reverse=True)
    enough = cut(log, "last", 1, least=15)
    assert len(enough.fusion) + len(enough.validation) == 20


@pytest.mark.parametrize("shape", SHAPES)
def test_made_clicks_have_the_size_and_the_repeats_of_their_shape(shape: str) -> None:
    rows = ClickLog(shape, users=30, items=200, events=30, seed=2).rows()
    assert rows == ClickLog(shape, users=30, items=200, events=30, seed=2).rows()
    assert rows != ClickLog(shape, users=30, items=200, events=30, seed=3).rows()
    assert [row[3] for row in rows] == sorted(row[3] for row in rows)
    assert len({row[0] for row in rows}) == 30
    assert 15 * 30 <= len(rows) <= 60 * 30
    share = 1 - (len({row[:2] for row in rows}) - 30) / (len(rows) - 30)
    least, most = {"explore": (0.05, 0.35), "series": (0.1, 0.4), "heavy": (0.7, 0.95)}.get(shape, (0.35, 0.75))
    assert least < share < most, share


def test_leave_one_out_trains_and_ranks_repeats() -> None:
    cases = leave_one_out(clicks("loop", events=50))
    options = TrainingOptions(seed=1, cut="last", left_out="last", repeats=ALL_REPEATS)
    artifact = tiny_models.train_tiny(data=TrainingData(cases.train, {}, NO_TEXT), options=options)
    found = evaluate(Inputs(artifact, {}, baselines=("markov1", "last_again")), cases, seed=1)["models"]
    assert found["pipeline"]["ndcg@10"] > max(found[name]["ndcg@10"] for name in ("markov1", "last_again"))


def test_made_clicks_can_be_written_as_csv(capsys: pytest.CaptureFixture[str]) -> None:
    clicks_as_csv(["loop", "--users", "3", "--events", "6", "--items", "20", "--seed", "4"])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header == "user_id,item_id,type,ts"
    made = ClickLog("loop", users=3, items=20, events=6, seed=4).rows()
    assert rows == [",".join(map(str, row)) for row in made]
