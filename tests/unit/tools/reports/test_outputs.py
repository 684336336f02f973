"""A folder that cannot be written is refused before the work, and the trial leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.errors import InputError
from tools.reports.outputs import check_writable


def test_a_folder_that_can_be_made_is_taken_and_not_made(tmp_path: Path) -> None:
    check_writable("--out", tmp_path / "new" / "deep")
    check_writable("--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    for folder in (tmp_path / "notes", tmp_path / "notes" / "out"):
        with pytest.raises(InputError, match=r"--out .*notes.*: .*notes is not a folder; name another"):
            check_writable("--out", folder)


def test_a_folder_without_rights_is_named_with_the_systems_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"--report .*cannot be written \(Permission denied\); name another folder"):
        check_writable("--report", tmp_path / "r")


def test_a_full_disk_is_told_with_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=5 << 20))
    check_writable("--out", tmp_path, 1 << 20)
    with pytest.raises(InputError, match=r"has 5 MB free, needs about 2,000 MB; make room"):
        check_writable("--out", tmp_path, 2_000 << 20)
