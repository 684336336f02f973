"""A hostile artifact leads nowhere and is refused before it costs memory."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from models.artifact.artifact import MANIFEST, TENSORS, ArtifactError, load_artifact, save_artifact
from models.artifact.shapes import SIZES
from models.files import plain_files as artifact_files
from models.files.tensor_header import MAX_HEADER_BYTES
from tests.support.tiny_models import artifact, train_tiny
from tests.unit.models.artifact.test_artifact import change_manifest, change_tensors, refused

PROMPT_S = 5.0


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Give an artifact in a folder of models, which the test may break."""
    save_artifact(artifact(), tmp_path / "models" / "good")
    return tmp_path / "models" / "good"


def test_a_place_inside_the_roots_is_allowed_however_it_is_named(saved: Path, tmp_path: Path) -> None:
    """Through a link, with ``..``, or as a root itself: only the real place counts."""
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
    """A sibling whose path starts with the root's is outside."""
    return shutil.copytree(outside, Path(f"{root}-of-another"))


@pytest.mark.parametrize("way", [_as_it_is, _by_dots, _by_link, _by_name])
def test_a_place_outside_the_roots_is_refused(tmp_path: Path, way: Callable[[Path, Path], Path]) -> None:
    """The message names the place, the roots and the setting."""
    save_artifact(artifact(), tmp_path / "elsewhere")
    root = tmp_path / "models"
    root.mkdir()
    with pytest.raises(ArtifactError, match=r"outside of .*models.*HEADRACE_ARTIFACT_ROOTS") as caught:
        load_artifact(way(tmp_path / "elsewhere", root), roots=[root])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_file_that_is_a_link_is_refused(saved: Path, tmp_path: Path, name: str) -> None:
    """A link could show a file of this machine, or change during the reading."""
    (saved / name).rename(tmp_path / name)
    (saved / name).symlink_to(tmp_path / name)
    assert f"{name} is a symbolic link" in refused(saved)


def test_a_pipe_is_refused_at_once(saved: Path) -> None:
    """Reading a pipe would wait for ever."""
    (saved / MANIFEST).unlink()
    os.mkfifo(saved / MANIFEST)
    assert "not a plain file" in refused(saved)


@pytest.mark.parametrize("roots", [True, False])
def test_a_folder_that_is_swapped_after_the_check_is_not_read(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roots: bool
) -> None:
    """A link that replaces a folder after the check is refused or ignored."""
    save_artifact(train_tiny(seed=2), tmp_path / "other")
    allowed = [saved.parent] if roots else []
    swap = _swapper(saved, tmp_path / "other")
    check = artifact_files.placed

    def then_swap(*args: Any) -> Any:
        found = check(*args)
        swap()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(artifact_files, "placed", then_swap)
        with pytest.raises(ArtifactError, match="cannot be opened"):
            load_artifact(saved, roots=allowed)
    saved.unlink()
    saved.with_name("kept").rename(saved)
    read = artifact_files.read_plain

    swaps = [swap]

    def swap_then_read(*args: Any) -> bytes:
        if swaps:  # before the first of the files
            swaps.pop()()
        return read(*args)

    monkeypatch.setattr("models.artifact.artifact.read_plain", swap_then_read)
    assert load_artifact(saved, roots=allowed).version == artifact().version


def _swapper(folder: Path, other: Path) -> Callable[[], None]:
    def swap() -> None:
        folder.rename(folder.with_name("kept"))
        folder.symlink_to(other)

    return swap


@pytest.mark.parametrize("grow", [1, -1])
def test_a_file_that_changes_while_it_is_read_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch, grow: int
) -> None:
    """A file that changes its size while it is read is refused."""
    read = artifact_files.read_exactly

    def change_then_read(file: Any, name: str, size: int) -> bytes:
        os.truncate(saved / name, size + grow)
        return read(file, name, size)

    monkeypatch.setattr(artifact_files, "read_exactly", change_then_read)
    assert "manifest.json changes while it is read" in refused(saved)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_an_archive_is_not_unpacked(saved: Path, tmp_path: Path, kind: str) -> None:
    """Archives can hold paths that lead outside, so they are refused."""
    archive = shutil.make_archive(str(tmp_path / "model"), kind, saved)
    assert "archives are not unpacked" in refused(Path(archive))


@pytest.mark.parametrize("name", [MANIFEST, TENSORS])
def test_a_file_above_its_limit_is_refused_unread(saved: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A file above its limit is refused unread."""
    for limit in ("MAX_MANIFEST_BYTES", "MAX_TENSORS_BYTES"):
        monkeypatch.setattr(f"models.artifact.artifact.{limit}", 1 << 20)
    os.truncate(saved / name, 1 << 40)
    tracemalloc.start()
    try:
        assert f"{name} has {1 << 40} bytes, limit {1 << 20}" in refused(saved)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 1 << 62, 10**6])
def test_a_tensor_header_with_a_huge_length_is_refused(saved: Path, length: int) -> None:
    """The length in the first eight bytes is checked."""
    data = length.to_bytes(8, "little") + b"{}"
    (saved / TENSORS).write_bytes(data)
    change_manifest(saved, lambda m: m.update(sha256=hashlib.sha256(data).hexdigest()))
    assert f"a header of {length} bytes" in refused(saved)


@pytest.mark.parametrize("bomb", [b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"[" * 100_000])
def test_a_nested_manifest_is_refused(saved: Path, bomb: bytes) -> None:
    """Deeply nested JSON is refused."""
    manifest = msgspec.json.decode((saved / MANIFEST).read_bytes())
    manifest["item_features"] = {"x": msgspec.Raw(bomb)}
    (saved / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert "not a manifest" in refused(saved)


def test_a_small_file_costs_what_it_holds(saved: Path) -> None:
    """A read asks for the file's size, not for the limit of 16 GiB."""
    tracemalloc.start()
    try:
        load_artifact(saved)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_sparse_file_is_refused(saved: Path) -> None:
    """A hole costs its maker nothing and the reader memory."""
    os.truncate(saved / TENSORS, 1 << 30)
    assert "is almost empty" in refused(saved)


def test_a_large_file_with_its_data_is_no_sparse_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is half a hole is read."""
    monkeypatch.setattr(artifact_files, "MAX_SPARSE_BYTES", 1 << 20)
    with (tmp_path / "data").open("wb") as file:
        file.write(b"x" * (1 << 20))
        file.truncate(2 << 20)
    with artifact_files.opened(tmp_path, []) as folder:
        assert len(artifact_files.read_plain(folder, "data", 1 << 30)) == 2 << 20


@pytest.mark.parametrize("name", sorted(SIZES))
@pytest.mark.parametrize("value", [0, -1, 1.5, 10**9, 10**30])
def test_sizes_outside_their_limits_are_refused_first(saved: Path, name: str, value: object) -> None:
    """A number in the manifest must not decide the size of a model."""
    change_manifest(saved, lambda m: m["sequence"].update({name: value}))
    began = time.process_time()
    assert f"sequence.{name}={value}" in refused(saved)
    assert time.process_time() - began < PROMPT_S


def test_sizes_are_limited_together(saved: Path) -> None:
    """Allowed sizes that together need 6 GB more than the file are refused."""
    change_manifest(saved, lambda m: m["sequence"].update(dim=2_048, n_layers=32, text_dim=8_192))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "do not fit" in refused(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize("text", [b'"a",', b'"' + b"x" * 500 + b'",'])
def test_a_manifest_of_more_ids_than_rows_is_not_decoded(saved: Path, text: bytes) -> None:
    """Short ids take twenty times their text in memory."""
    manifest = msgspec.json.decode((saved / MANIFEST).read_bytes())
    manifest["item_ids"] = msgspec.Raw(b"[" + text * ((16 << 20) // len(text)) + b'"b"]')
    (saved / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    tracemalloc.start()
    try:
        assert "item_ids is longer than any tensor" in refused(saved)
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("field", ["item_features", "metrics", "unknown"])
def test_a_manifest_that_is_long_elsewhere_is_refused(saved: Path, field: str) -> None:
    """Text beside the item ids is bounded."""
    manifest = msgspec.json.decode((saved / MANIFEST).read_bytes())
    manifest[field] = msgspec.Raw(b"{" + b",".join(b'"%07d":[]' % i for i in range(400_000)) + b"}")
    (saved / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert "bytes beside the item ids" in refused(saved)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"alpha": -1.0}, "alpha"),
        ({"alpha": 1e30}, "alpha"),
        ({"regularisation": 0.0}, "regularisation"),
        ({"trained_to_ms": 10**18}, "trained_to_ms"),
        ({"n_events": -1}, "n_events"),
        ({"item_ids": [""]}, "item_ids"),
        ({"encoder_name": "x" * 10_000}, "encoder_name"),
    ],
)
def test_a_number_or_name_outside_its_limits_is_refused_by_name(
    saved: Path, change: dict[str, object], word: str
) -> None:
    """A repeated id would otherwise show only in a list."""
    change_manifest(saved, lambda m: m.update(change))
    assert word in refused(saved)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2, "much"])
def test_a_dropout_outside_its_limits_is_refused(saved: Path, share: object) -> None:
    """Dropout is a share."""
    change_manifest(saved, lambda m: m["sequence"].update(dropout=share))
    assert "sequence.dropout" in refused(saved)


NAN = complex("nan")


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("popularity", torch.tensor(1.0)),
        ("whitening.mean", torch.tensor(1.0)),
        ("popularity", torch.ones(24, 3)),
        ("mf.biases", torch.ones(24, 3)),
        ("first_ms", torch.ones(24, 3, dtype=torch.int64)),
        ("mf.factors", torch.ones(24)),
        ("mf.factors", torch.ones(24, 0)),
        ("item_imputer.knot_offsets", torch.zeros(3, dtype=torch.int64)),
        ("user_imputer.coefficients", torch.zeros(3, 5, 0)),
        ("mf.factors", torch.full((24, 8), NAN, dtype=torch.complex64)),
        ("mf.factors", torch.zeros(24, 8, dtype=torch.float8_e4m3fn)),
        ("mf.factors", torch.zeros(24, 8, dtype=torch.float64)),
        ("next.rows", torch.zeros(24, 32, dtype=torch.uint8)),
        ("first_ms", torch.zeros(24)),
        ("popularity", torch.full((24,), -1.0)),
        ("neighbours.weights", torch.full((24, 24), -1.0)),
        ("sequence.norm.weight", torch.tensor(1.0)),
        ("fusion.calibration", torch.ones(2, 2)),
    ],
)
def test_a_tensor_of_a_strange_shape_or_type_is_refused_by_name(saved: Path, name: str, new: torch.Tensor) -> None:
    """A wrong tensor is refused even if manifest and checksum agree with it."""
    change_tensors(saved, lambda tensors: tensors.update({name: new}))
    assert name in refused(saved)
