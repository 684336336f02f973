"""Which encoder an artifact gets: its own where allowed, else the operator's.

Another version is never taken.
"""

from __future__ import annotations

import shutil
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest

from models.artifact.artifact import Artifact, load_artifact
from models.text.encoder import FakeEncoder
from streams.errors import HeadraceError, InputError, SettingsError
from streams.recommender.model.artifact_encoder import open_artifact_encoder, open_cache, usable_device
from streams.settings.load import RecommenderSettings
from tests.support import tiny
from tests.unit.models.artifact.test_artifact import change_manifest
from tests.unit.models.text.test_encoder import save_bert
from tools.main import main

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a log, a catalogue, an encoder, and an artifact of these."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "models").mkdir()
    save_bert(folder / "models" / "bert")
    assert main(["train", *_files(folder), "--out", str(folder / "models" / "a"), *_encoder(folder)]) == 0
    return folder


def _files(folder: Path) -> list[str]:
    log, items = tiny.write_log(folder / "log.csv", n_users=20), tiny.write_items(folder / "items.csv")
    return [str(log), "--items", str(items), "--device", "cpu"]


def _encoder(folder: Path) -> list[str]:
    return ["--encoder", str(folder / "models" / "bert")]


@pytest.fixture
def artifact(shop: Path) -> Artifact:
    """Give that artifact."""
    return load_artifact(shop / "models" / "a")


def _settings(shop: Path, **options: str) -> RecommenderSettings:
    return replace(
        RecommenderSettings(artifact=str(shop / "models" / "a"), device="cpu", encoder_cache_dir=str(shop / "cache")),
        **options,  # type: ignore[arg-type]
    )


def test_a_folder_beside_the_artifact_is_opened(shop: Path, artifact: Artifact) -> None:
    """It lies inside the roots, and its files have the checksum that training found."""
    encoder, _ = open_artifact_encoder(artifact, "cpu", _settings(shop))
    assert encoder.files_sha256 == artifact.manifest.encoder_sha256 != ""


def test_a_folder_elsewhere_is_the_operators_to_name(shop: Path, artifact: Artifact, tmp_path: Path) -> None:
    """The artifact alone does not lead there; a root or the setting does."""
    moved = shutil.copytree(shop / "models" / "bert", tmp_path / "bert")
    manifest = copy(artifact.manifest)
    manifest.encoder_name = str(moved)
    named = replace(artifact, manifest=manifest)
    with pytest.raises(InputError, match="outside of .*HEADRACE_ARTIFACT_ROOTS.*HEADRACE_ENCODER") as caught:
        open_artifact_encoder(named, "cpu", _settings(shop))
    assert "\n" not in str(caught.value)
    open_artifact_encoder(named, "cpu", _settings(shop, artifact_roots=str(tmp_path)))
    open_artifact_encoder(named, "cpu", _settings(shop, encoder=str(moved)))


def test_other_files_are_refused_whoever_names_them(shop: Path, artifact: Artifact, tmp_path: Path) -> None:
    """A model of the same name with other weights would mix vectors."""
    other = save_bert(tmp_path / "bert", seed=1)
    with pytest.raises(InputError, match="its files have the checksum"):
        open_artifact_encoder(artifact, "cpu", _settings(shop, encoder=str(other)))


def test_an_artifact_without_a_checksum_is_held_to_its_version(shop: Path, artifact: Artifact, tmp_path: Path) -> None:
    """An artifact of an older headrace has no checksum.

    It loads with the encoder of its version.
    """
    manifest = copy(artifact.manifest)
    manifest.encoder_sha256 = ""
    old = replace(artifact, manifest=manifest)
    open_artifact_encoder(old, "cpu", _settings(shop))
    with pytest.raises(HeadraceError, match="vectors would be mixed"):
        open_artifact_encoder(old, "cpu", _settings(shop, encoder=str(save_bert(tmp_path / "bert", seed=1))))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            ("unicode-", "unicode-1."),
            r"text cleaning: unicode-\S+ here, unicode-1\.\S+ when .* tables come with Python",
        ),
        (("4+unicode", "3+unicode"), r"text cleaning: 4 here, 3 when the artifact was trained: .* trained with$"),
    ],
)
def test_texts_cleaned_by_other_rules_are_refused_with_what_differs(
    shop: Path, artifact: Artifact, part: tuple[str, str], message: str
) -> None:
    """A version has six parts, and the user needs to know which one to change."""
    manifest = copy(artifact.manifest)
    manifest.text_version = manifest.text_version.replace(*part)
    with pytest.raises(HeadraceError, match=message):
        open_artifact_encoder(replace(artifact, manifest=manifest), "cpu", _settings(shop))


def test_the_checksum_of_the_encoder_is_part_of_the_version(shop: Path, tmp_path: Path, artifact: Artifact) -> None:
    """Other files make another version; without a checksum it is that of older artifacts."""
    folder = shutil.copytree(shop / "models" / "a", tmp_path / "a")
    change_manifest(folder, lambda m: m.update(encoder_sha256="0" * 64))
    assert load_artifact(folder).version != artifact.version
    fake = shutil.copytree(tiny.artifact(), tmp_path / "fake")
    version = load_artifact(fake).version
    change_manifest(fake, lambda m: m.pop("encoder_sha256"))
    assert load_artifact(fake).version == version


def test_evaluate_reads_what_a_recommender_reads(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder beside the artifact is allowed; another one only where a setting names it."""
    monkeypatch.setenv("HEADRACE_ENCODER_CACHE_DIR", str(tmp_path / "cache"))
    baselines = ["--baselines", "popularity"]
    assert main(["evaluate", str(shop / "models" / "a"), *_files(shop), *baselines]) == 0
    alone = shutil.copytree(shop / "models" / "a", tmp_path / "alone" / "a")
    capsys.readouterr()
    assert main(["evaluate", str(alone), *_files(shop), *baselines]) != 0
    assert "HEADRACE_ENCODER" in capsys.readouterr().err
    monkeypatch.setenv("HEADRACE_ENCODER", str(shop / "models" / "bert"))
    assert main(["evaluate", str(alone), *_files(shop), *baselines]) == 0
    monkeypatch.delenv("HEADRACE_ENCODER")
    trained = [str(tmp_path / "new" / "a"), *_files(shop), *baselines, "--train", "demo", *_encoder(shop)]
    assert main(["evaluate", *trained]) == 0


def test_what_models_refuse_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models know no settings, so the recommender adds the setting to their errors."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingsError, match="no CUDA device; choose auto or cpu, in HEADRACE_DEVICE"):
        usable_device("cuda")
    (tmp_path / "file").write_text("")
    with pytest.raises(HeadraceError, match="cannot be kept here .*; set HEADRACE_ENCODER_CACHE_DIR"):
        open_cache(tmp_path / "file" / "cache", FakeEncoder())
