"""Golden windows say whether this machine computes what the training machine did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from models.artifact.artifact import MANIFEST, Artifact, ArtifactError, load_artifact, save_artifact, with_golden
from models.artifact.golden import GOLDEN, Golden
from models.ranking.golden import N_COLD, N_WINDOWS, golden_difference
from tests.support.tiny_models import artifact, featured_artifact

pytestmark = pytest.mark.model


def golden_of(made: Artifact) -> Golden:
    assert made.golden is not None
    return made.golden


def test_training_writes_windows_of_all_lengths_and_cold_ones() -> None:
    golden = golden_of(artifact())
    assert len(golden.windows) == N_WINDOWS
    known = set(artifact().manifest.item_ids)
    lengths = {len(window) for window in golden.windows}
    assert min(lengths) == 0 and max(lengths) >= artifact().sequence.config.max_length
    strange = [window for window in golden.windows if not {item for item, _, _ in window} & known]
    assert 3 <= len(strange) <= N_COLD
    assert all(len(ids) == golden.k for ids in golden.ids)


@pytest.mark.parametrize("make", [artifact, featured_artifact])
def test_a_loaded_artifact_gives_the_lists_that_it_gave_when_it_was_trained(make: object, tmp_path: Path) -> None:
    made = artifact() if make is artifact else featured_artifact()
    save_artifact(made, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.golden == made.golden and loaded.version == made.version
    assert golden_difference(loaded) == ""


def test_another_score_or_item_is_found_and_rounding_is_not() -> None:
    golden = golden_of(artifact())
    nearly = msgspec.structs.replace(golden, scores=[[s * (1 + 3e-5) for s in scores] for scores in golden.scores])
    assert golden_difference(with_golden(artifact(), nearly)) == ""
    scores = [list(each) for each in golden.scores]
    scores[5][0] *= 1.01
    assert "golden window 6 of 64" in golden_difference(
        with_golden(artifact(), msgspec.structs.replace(golden, scores=scores))
    )
    ids = [list(each) for each in golden.ids]
    ids[9][3] = "another"
    assert "golden window 10 of 64" in golden_difference(
        with_golden(artifact(), msgspec.structs.replace(golden, ids=ids))
    )


def test_an_artifact_without_golden_windows_loads_and_has_none(tmp_path: Path) -> None:
    plain = replace(artifact(), golden=None, manifest=msgspec.structs.replace(artifact().manifest, golden_sha256=""))
    save_artifact(plain, tmp_path / "a")
    loaded = load_artifact(tmp_path / "a")
    assert loaded.golden is None and golden_difference(loaded) == "" and loaded.version == artifact().version


@pytest.mark.parametrize("damage", ["byte", "missing", "swapped", "vectors"])
def test_a_damaged_file_of_golden_windows_is_refused(damage: str, tmp_path: Path) -> None:
    made = artifact()
    if damage == "vectors":
        made = with_golden(made, msgspec.structs.replace(golden_of(made), vectors=b"\x00" * 8))
    save_artifact(made, tmp_path / "a")
    path = tmp_path / "a" / GOLDEN
    if damage == "byte":
        path.write_bytes(path.read_bytes().replace(b'"k":10', b'"k":11'))
    elif damage == "missing":
        path.unlink()
    elif damage == "swapped":
        save_artifact(featured_artifact(), tmp_path / "b")
        path.write_bytes((tmp_path / "b" / GOLDEN).read_bytes())
    with pytest.raises(ArtifactError, match=GOLDEN):
        load_artifact(tmp_path / "a")
    assert (tmp_path / "a" / MANIFEST).exists()
