"""Doctor and worker load a model by the same steps: one verdict, the same words."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.artifact.artifact import TENSORS, save_artifact
from models.training.train import NO_TEXT, TrainingData
from streams.errors import HeadraceError
from streams.recommender.model.model_thread import ModelThread
from streams.recommender.served import load_model
from streams.settings.load import RecommenderSettings
from tests.support import tiny, tiny_models
from tests.unit.models.artifact.test_artifact import change_manifest
from tools.commands.running.doctor import Check, check_model

pytestmark = pytest.mark.model


def worker_says(settings: RecommenderSettings) -> str:
    """Return why a worker would not start; empty where it would."""

    async def load() -> None:
        async with ModelThread("model") as thread:
            await load_model(settings, thread)

    try:
        asyncio.run(load())
    except HeadraceError as exc:
        return str(exc)
    return ""


def doctor_says(settings: RecommenderSettings) -> list[str]:
    """Return detail and remedy of each failed check."""
    return [f"{check.detail}; {check.remedy}" for check in check_model(settings) if not check.ok]


@pytest.fixture
def settings(tmp_path: Path) -> RecommenderSettings:
    """Give settings with a copy of the tiny artifact."""
    folder = shutil.copytree(tiny.artifact(), tmp_path / "a")
    return RecommenderSettings(artifact=str(folder), device="cpu", encoder_cache_dir=str(tmp_path / "texts"))


def _cut(folder: Path) -> None:
    path = folder / TENSORS
    path.write_bytes(path.read_bytes()[:-4])


#: What is wrong with the artifact's folder, or with the settings.
IN_THE_FOLDER: dict[str, Callable[[Path], object]] = {
    "no folder": lambda folder: shutil.rmtree(folder),
    "torn tensors": _cut,
    "encoder of another version": lambda folder: change_manifest(folder, lambda m: m.update(encoder_version="old")),
    "other cleaning": lambda folder: change_manifest(folder, lambda m: m.update(text_version="0")),
    "encoder that nobody has": lambda folder: change_manifest(folder, lambda m: m.update(encoder_name="no-such")),
    "texts without an encoder": lambda folder: change_manifest(folder, lambda m: m.update(encoder_name="")),
}
IN_THE_SETTINGS = {
    "no such device": {"device": "cuda"},
    "no user words": {"user_words": "/nowhere/words.txt"},
    "a cache that is a file": {"encoder_cache_dir": __file__},
}


@pytest.mark.parametrize("fault", [*IN_THE_FOLDER, *IN_THE_SETTINGS])
def test_what_stops_a_worker_is_what_doctor_says(
    settings: RecommenderSettings, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Doctor finds exactly the fault that the worker finds, and both say it in the same words."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker_says(settings) == "" and doctor_says(settings) == []
    if fault in IN_THE_FOLDER:
        IN_THE_FOLDER[fault](Path(settings.artifact))
    wrong = replace(settings, **IN_THE_SETTINGS.get(fault, {}))  # type: ignore[arg-type]
    said = worker_says(wrong)
    assert said and "\n" not in said
    assert doctor_says(wrong) == [said]


def test_an_artifact_of_ids_alone_is_fine_for_both(tmp_path: Path) -> None:
    """No text model is looked for, whatever the settings name."""
    save_artifact(tiny_models.train_tiny(data=TrainingData(tiny_models.tiny_log(), {}, NO_TEXT)), tmp_path / "a")
    settings = RecommenderSettings(artifact=str(tmp_path / "a"), device="cpu", encoder="no-such")
    assert worker_says(settings) == ""
    checks = {check.name: check for check in check_model(settings)}
    assert all(check.ok for check in checks.values())
    assert checks["encoder"] == Check("encoder", True, "none: the artifact knows items by their ids alone")


def test_an_older_artifact_without_texts_serves_too(tmp_path: Path) -> None:
    """It names an encoder although it was trained without texts."""
    data = TrainingData(tiny_models.tiny_log(), {}, tiny_models.SOURCE)
    save_artifact(tiny_models.train_tiny(data=data), tmp_path / "a")
    change_manifest(tmp_path / "a", lambda m: m.update(encoder_name="use-multilingual", encoder_version="x"))
    settings = RecommenderSettings(artifact=str(tmp_path / "a"), device="cpu")
    assert worker_says(settings) == "" and doctor_says(settings) == []
