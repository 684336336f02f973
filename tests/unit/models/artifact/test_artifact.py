"""The artifact: saved and loaded alike, damage named by file, nothing executed or half written."""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from models.artifact.artifact import (
    MANIFEST,
    TENSORS,
    Artifact,
    ArtifactError,
    load_artifact,
    make_artifact,
    save_artifact,
)
from models.artifact.golden import GOLDEN
from models.files import atomic
from models.ranking.pipeline import Pipeline, build_catalogue
from tests.support.tiny_models import (
    PRESET,
    artifact,
    featured_artifact,
    featured_data,
    item_features,
    text_vectors,
    train_tiny,
    user_features,
    window,
)

pytestmark = pytest.mark.model

ROOT = Path(__file__).parents[4]
Change = Callable[[dict[str, Any]], object]


@cache
def transformer() -> Artifact:
    """Return an artifact of the other kind of sequence model."""
    return train_tiny(preset=replace(PRESET, sequence=replace(PRESET.sequence, kind="transformer")))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Give the directory of a saved artifact, which the test may break."""
    save_artifact(artifact(), tmp_path / "model")
    return tmp_path / "model"


def change_manifest(directory: Path, change: Change) -> None:
    """Change the manifest's JSON in place."""
    manifest = msgspec.json.decode((directory / MANIFEST).read_bytes())
    change(manifest)
    (directory / MANIFEST).write_bytes(msgspec.json.encode(manifest))


def change_tensors(directory: Path, change: Callable[[dict[str, Tensor]], object], *, declare: bool = True) -> None:
    """Change the tensors; write checksum and, by default, shapes into the manifest."""
    tensors = safetensors.torch.load((directory / TENSORS).read_bytes())
    change(tensors)
    data = safetensors.torch.save(tensors)
    (directory / TENSORS).write_bytes(data)

    def repair(manifest: dict[str, Any]) -> None:
        manifest["sha256"] = hashlib.sha256(data).hexdigest()
        if declare:
            manifest["tensors"] = {k: {"dtype": str(t.dtype), "shape": list(t.shape)} for k, t in tensors.items()}

    change_manifest(directory, repair)


def refused(directory: Path) -> str:
    """Return the message with which loading is refused."""
    with pytest.raises(ArtifactError) as caught:
        load_artifact(directory)
    assert "\n" not in str(caught.value)
    assert str(directory) in str(caught.value)
    return str(caught.value)


def lists_of(model: Artifact) -> list[tuple[str, float]]:
    """Return the items and scores of a few lists, from a catalogue with a new item."""
    vectors = text_vectors([*model.manifest.item_ids, "i99"])
    found = Pipeline(model, k=5).recommend(build_catalogue(model, vectors, 0), [window("i03", "i04"), []])
    return [(item.item_id, item.score) for ranked in found for item in ranked.items]


def test_a_saved_artifact_is_loaded_as_it_was(saved: Path) -> None:
    """Loading gives the same version, manifest and lists; the folder holds two files."""
    loaded = load_artifact(saved)
    assert loaded.version == artifact().version
    assert msgspec.json.encode(loaded.manifest) == msgspec.json.encode(artifact().manifest)
    assert lists_of(loaded) == lists_of(artifact())
    assert sorted(path.name for path in saved.iterdir()) == sorted([GOLDEN, MANIFEST, TENSORS])
    assert not loaded.sequence.training
    assert not loaded.fusion.training


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    """Each of the two files is needed."""
    (saved / name).unlink()
    assert name in refused(saved)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A missing path is refused without a traceback."""
    assert "No such file" in refused(tmp_path / "none")


def test_an_unreadable_file_is_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the disk or of permissions is refused like any other fault."""

    def fail(path: Path, _flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", fail)
    assert "Permission denied" in refused(saved)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "one"}', b'{"format": 1}'])
def test_a_broken_manifest_is_named(saved: Path, data: bytes) -> None:
    """Text that is not JSON, or not a manifest, is refused with the file's name."""
    (saved / MANIFEST).write_bytes(data)
    assert str(saved / MANIFEST) in refused(saved)


@pytest.mark.parametrize(
    ("change", "file", "words"),
    [
        (lambda m: m.update(format=3), MANIFEST, "format 3"),
        (lambda m: m.update(format=1), MANIFEST, "format 1"),
        (lambda m: m.update(sha256="0" * 64), TENSORS, "checksum"),
        (lambda m: m["item_ids"].__setitem__(1, m["item_ids"][0]), MANIFEST, "twice"),
        (lambda m: m["item_ids"].append("one-more"), TENSORS, "mf.factors"),
        (lambda m: m["tensors"].pop("popularity"), TENSORS, "popularity"),
        (lambda m: m["tensors"]["popularity"].update(shape=[1]), TENSORS, "popularity"),
        (lambda m: m["tensors"]["popularity"].update(dtype="torch.float64"), TENSORS, "popularity"),
        (lambda m: m["sequence"].update(dim=32), "", "do not fit"),
        (lambda m: m["sequence"].update(kind="transformer"), "", "do not fit"),
        (lambda m: m["sequence"].update(kind="gru"), "", "do not fit"),
        (lambda m: m["sequence"].update(n_layers=2), "", "do not fit"),
        (lambda m: m["sequence"].pop("dim"), "", "do not fit"),
        (lambda m: m["sequence"].pop("dropout"), "", "do not fit"),
        (lambda m: m["sequence"].update(colour=1), "", "do not fit"),
    ],
)
def test_a_manifest_that_does_not_fit_is_named(saved: Path, change: Change, file: str, words: str) -> None:
    """Loading checks format, checksum, ids, shapes, types and sizes against the tensors."""
    change_manifest(saved, change)
    message = refused(saved)
    assert str(saved / file) in message
    assert words in message


@pytest.mark.parametrize("change", [{"n_heads": 3}, {"n_heads": 0}, {"max_length": 11}, {"n_layers": 2}])
def test_sizes_of_a_transformer_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, int]) -> None:
    """Heads must divide the width, and there is a vector for each position."""
    save_artifact(transformer(), tmp_path / "model")
    assert load_artifact(tmp_path / "model").version == transformer().version
    change_manifest(tmp_path / "model", lambda m: m["sequence"].update(change))
    assert "do not fit" in refused(tmp_path / "model")


def test_an_artifact_of_the_first_format_is_refused_by_its_format(saved: Path) -> None:
    """The message names the format of the file and the format that is read."""

    def make_old(manifest: dict[str, Any]) -> None:
        manifest["format"] = 1
        del manifest["item_features"], manifest["user_features"]

    change_manifest(saved, make_old)
    message = refused(saved)
    assert "format 1" in message
    assert "train it again" in message


def test_truncated_tensors_are_named(saved: Path) -> None:
    """Half a file is refused, whatever checksum the manifest has."""
    data = (saved / TENSORS).read_bytes()[:-100]
    (saved / TENSORS).write_bytes(data)
    for digest in ("0" * 64, hashlib.sha256(data).hexdigest()):
        change_manifest(saved, partial(dict.update, sha256=digest))
        message = refused(saved)
        assert str(saved / TENSORS) in message
        assert "not safetensors" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_named(saved: Path, value: float) -> None:
    """A right checksum does not prove finite weights."""
    change_tensors(saved, lambda tensors: tensors["sequence.norm.weight"].__setitem__(0, value))
    message = refused(saved)
    assert str(saved / TENSORS) in message
    assert "sequence.norm.weight" in message


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("mf.factors", torch.zeros(3, 8)),
        ("next.weights", torch.zeros(24, 2)),
        ("neighbours.rows", torch.full((24, 24), 24, dtype=torch.int32)),
        ("neighbours.rows", torch.full((24, 24), -2, dtype=torch.int32)),
        ("neighbours.rows", torch.zeros((24, 3), dtype=torch.int32)),
        ("neighbours.weights", torch.zeros(24, 2)),
        ("item_imputer.statistics", torch.zeros(2)),
        ("user_imputer.statistics", torch.zeros(1)),
        ("fusion.item_projection.weight", torch.zeros(8, 18)),
        ("next.rows", torch.full((24, 32), 24, dtype=torch.int32)),
        ("next.rows", torch.full((24, 32), -2, dtype=torch.int32)),
        ("whitening.matrix", torch.zeros(16, 9)),
        ("whitening.mean", torch.zeros(15)),
        ("sequence.norm.weight", torch.zeros(17)),
        ("fusion.shortcut.weight", torch.zeros(1, 12)),
    ],
)
def test_a_tensor_of_a_wrong_shape_or_range_is_named(saved: Path, name: str, new: Tensor) -> None:
    """Tensors must fit configuration and each other, even if the manifest agrees."""
    change_tensors(saved, lambda tensors: tensors.update({name: new}))
    refused(saved)


@pytest.mark.parametrize(
    "name",
    ["mf.factors", "next.rows", "neighbours.rows", "whitening.mean", "fusion.shortcut.bias", "item_imputer.statistics"],
)
def test_a_missing_tensor_is_named(saved: Path, name: str) -> None:
    """A missing tensor is named even if the manifest lacks it too."""
    change_tensors(saved, lambda tensors: tensors.pop(name))
    assert name.removeprefix("fusion.").removeprefix("item_imputer.") in refused(saved)


def test_an_undeclared_tensor_is_refused(saved: Path) -> None:
    """A tensor that the manifest does not declare is refused."""
    change_tensors(saved, lambda tensors: tensors.update(extra=torch.zeros(1)), declare=False)
    assert "extra" in refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(alpha=m["alpha"] + 1),
        lambda m: m.update(encoder_version="other"),
        lambda m: m.update(text_version="other"),
        lambda m: m["item_ids"].__setitem__(0, "other"),
        lambda m: m["sequence"].update(max_length=4),
    ],
)
def test_whatever_changes_lists_changes_the_version(saved: Path, change: Change) -> None:
    """One version means the same lists: the window's length changes lists and no tensor."""
    change_manifest(saved, change)
    assert load_artifact(saved).version != artifact().version


def test_the_number_of_heads_changes_the_version(tmp_path: Path) -> None:
    """The number of heads changes every list of a transformer and no tensor."""
    save_artifact(transformer(), tmp_path / "model")
    change_manifest(tmp_path / "model", lambda m: m["sequence"].update(n_heads=1))
    assert load_artifact(tmp_path / "model").version != transformer().version


def test_features_are_loaded_as_they_were(tmp_path: Path) -> None:
    """Columns, imputation and the lists of users with features survive loading."""
    made, data = featured_artifact(), featured_data()
    save_artifact(made, tmp_path / "model")
    loaded = load_artifact(tmp_path / "model")
    assert loaded.version == made.version
    assert loaded.item_features.spec == made.item_features.spec
    assert loaded.user_features.spec == made.user_features.spec
    assert [feature.name for feature in loaded.item_features.spec.numeric] == ["price"]
    assert [feature.categories for feature in loaded.item_features.spec.categorical] == [("even", "odd")]
    lists = []
    for model in (made, loaded):
        shown = build_catalogue(model, data.vectors, 0, features=item_features(model.manifest.item_ids))
        users = [user_features(["u7"])["u7"], {}]
        found = Pipeline(model, k=8).recommend(shown, [window("i03")] * 2, user_features=users)
        lists.append([[(item.item_id, item.score) for item in ranked.items] for ranked in found])
    assert lists[0] == lists[1]
    assert lists[0][0] != lists[0][1]  # what is known of the user takes part


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["item_features"]["numeric"][0].update(scale=0.0),
        lambda m: m["item_features"]["numeric"].pop(),
        lambda m: m["item_features"]["categorical"][0]["categories"].append("more"),
        lambda m: m["user_features"].update(numeric=[]),
        lambda m: m.update(item_features={"numeric": 1}),
    ],
)
def test_a_feature_spec_that_does_not_fit_is_named(tmp_path: Path, change: Change) -> None:
    """Scales, columns and categories must be those that the imputer and fusion were fitted with."""
    save_artifact(featured_artifact(), tmp_path / "model")
    change_manifest(tmp_path / "model", change)
    assert "do not fit" in refused(tmp_path / "model")


def test_the_scale_of_a_feature_changes_the_version(tmp_path: Path) -> None:
    """A field of the manifest that changes lists changes the version."""
    save_artifact(featured_artifact(), tmp_path / "model")
    change_manifest(tmp_path / "model", lambda m: m["item_features"]["numeric"][0].update(mean=0.0))
    assert load_artifact(tmp_path / "model").version != featured_artifact().version


def test_the_time_of_creation_does_not_change_the_version(saved: Path) -> None:
    """Two equal trainings have one version."""
    change_manifest(saved, lambda m: m.update(created_ms=0, metrics={}))
    assert load_artifact(saved).version == artifact().version


def test_saving_replaces_what_was_there(saved: Path) -> None:
    """A second artifact replaces the first and leaves nothing else behind."""
    other = train_tiny(seed=2)
    save_artifact(other, saved)
    assert load_artifact(saved).version == other.version != artifact().version
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("nth", [1, 2])
def test_a_failed_save_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Whichever step fails, the old artifact stays whole, and no scratch folder stays."""
    rename, calls = os.rename, 0

    def fail_once(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail_once)
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # which fails or succeeds as a whole
    with pytest.raises(OSError, match="No space"):
        save_artifact(train_tiny(seed=2), saved)
    assert load_artifact(saved).version == artifact().version
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_save_that_cannot_write_leaves_the_old_one(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old artifact stays until the new one is completely written."""

    def fail(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        save_artifact(artifact(), saved)
    assert load_artifact(saved).version == artifact().version


def test_an_artifact_keeps_its_own_tensors() -> None:
    """The caller may change its tensors afterwards."""
    info = {
        name: getattr(artifact().manifest, name)
        for name in artifact().manifest.__struct_fields__
        if name not in {"format", "sha256", "sequence", "tensors"}
    }
    made = make_artifact(artifact().tensors, artifact().sequence.config, info)
    assert made.version == artifact().version
    np.testing.assert_array_equal(made.next_rows, artifact().next_rows)


def test_models_never_unpickle() -> None:
    """Neither pickle nor torch's loader, which uses it, is named anywhere in the package."""
    for path in sorted((ROOT / "models").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert not any("pickle" in name or "joblib" in name for name in names), path.name
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in {"load", "save"}, path.name
