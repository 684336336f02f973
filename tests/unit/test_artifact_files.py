"""An artifact that somebody made to do harm: it leads nowhere, and it is refused before it costs memory."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from models import artifact_files
from models.artifact import MANIFEST, TENSORS, ArtifactError, load_artifact, save_artifact
from models.artifact_files import MAX_HEADER_BYTES
from tests.tiny_models import artifact
from tests.unit.test_artifact import change_manifest, refused

PROMPT_S = 5.0


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Give an artifact in a folder of models, which the test may break."""
    save_artifact(artifact(), tmp_path / "models" / "good")
    return tmp_path / "models" / "good"


def test_a_place_inside_the_roots_is_allowed_however_it_is_named(saved: Path, tmp_path: Path) -> None:
    """Through a link, with ``..``, as a root itself: what counts is where it lies."""
    (tmp_path / "link").symlink_to(saved.parent)
    for directory in (saved, tmp_path / "link" / "good", saved / ".." / "good"):
        assert load_artifact(directory, roots=[tmp_path / "none", saved.parent]).version == artifact().version
    assert load_artifact(saved, roots=[saved]).version == artifact().version
    assert load_artifact(saved, roots=[tmp_path / "link"]).version == artifact().version


def _as_it_is(outside: Path, _root: Path) -> Path:
    return outside


def _by_dots(outside: Path, root: Path) -> Path:
    return root / ".." / outside.name


def _by_link(outside: Path, root: Path) -> Path:
    (root / "current").symlink_to(outside)
    return root / "current"


def _by_name(outside: Path, root: Path) -> Path:
    """A sibling whose path begins with the root's."""
    return shutil.copytree(outside, Path(f"{root}-of-another"))


@pytest.mark.parametrize("way", [_as_it_is, _by_dots, _by_link, _by_name])
def test_a_place_outside_the_roots_is_refused(tmp_path: Path, way: Callable[[Path, Path], Path]) -> None:
    """The line names where it lies, the roots, and the setting."""
    save_artifact(artifact(), tmp_path / "elsewhere")
    root = tmp_path / "models"
    root.mkdir()
    with pytest.raises(ArtifactError, match=r"outside of .*models.*HEADRACE_ARTIFACT_ROOTS") as caught:
        load_artifact(way(tmp_path / "elsewhere", root), roots=[root])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_file_that_is_a_link_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    """It could show a file of this machine, or change while it is read."""
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name)
    assert f"{name} is a symbolic link" in refused(saved)


def test_a_link_that_comes_after_the_check_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system itself refuses to follow it."""
    (saved / MANIFEST).rename(saved / "moved")
    (saved / MANIFEST).symlink_to(saved / "moved")
    monkeypatch.setattr(Path, "is_symlink", lambda _path: False)
    assert "cannot be read" in refused(saved)


def test_a_pipe_is_refused_at_once(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it would wait for ever."""
    (saved / MANIFEST).unlink()
    os.mkfifo(saved / MANIFEST)
    assert "is missing" in refused(saved)
    monkeypatch.setattr(Path, "is_file", lambda _path: True)
    assert "not a plain file" in refused(saved)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_not_unpacked(saved: Path, tmp_path: Path, kind: str) -> None:
    """Archives hold paths that lead outside; a folder does not."""
    archive = shutil.make_archive(str(tmp_path / "model"), kind, saved)
    assert "archives are not unpacked" in refused(Path(archive))


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_file_above_its_limit_is_refused_unread(saved: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """By its size: a sparse file costs its maker nothing."""
    for limit in ("MAX_MANIFEST_BYTES", "MAX_TENSORS_BYTES"):
        monkeypatch.setattr(f"models.artifact.{limit}", 1 << 20)
    os.truncate(saved / name, 1 << 40)
    tracemalloc.start()
    try:
        assert f"{name} has {1 << 40} bytes, limit {1 << 20}" in refused(saved)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 62, 10**6])
def test_a_tensor_header_with_a_huge_length_is_refused(saved: Path, length: int) -> None:
    """Its first eight bytes claim what they like."""
    data = length.to_bytes(8, "little") + b"{}"
    (saved / TENSORS).write_bytes(data)
    change_manifest(saved, lambda m: m.update(sha256=hashlib.sha256(data).hexdigest()))
    assert f"a header of {length} bytes" in refused(saved)


@pytest.mark.parametrize("bomb", [b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 100_000])
def test_a_nested_manifest_is_refused(saved: Path, bomb: bytes) -> None:
    """Where the manifest may hold anything, too."""
    manifest = msgspec.json.decode((saved / MANIFEST).read_bytes())
    manifest["item_features"] = {"x": msgspec.Raw(bomb)}
    (saved / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert "not a manifest" in refused(saved)


@pytest.mark.parametrize("name", sorted(artifact_files.MAX_SIZES))
def test_sizes_that_would_fill_the_memory_are_refused_first(saved: Path, name: str) -> None:
    """The model is built before its tensors are compared; a number in the manifest must not decide how large it gets."""
    change_manifest(saved, lambda m: m["sequence"].update({name: 10**9}))
    began = time.monotonic()
    assert f"sequence.{name}=1000000000 is above" in refused(saved)
    assert time.monotonic() - began < PROMPT_S
