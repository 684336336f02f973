"""A file is replaced whole or not at all, for its owner alone, and nothing is left beside it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.files import atomic
from models.files.atomic import replace_file, replaced_folder
from tests.support.permissions import careless_umask, open_to_others

CONTENTS = [bytes([letter]) * 100_000 for letter in b"abcd"]


def test_a_new_file_and_its_folder_are_made(tmp_path: Path) -> None:
    """The first write needs neither."""
    path = tmp_path / "new" / "state.json"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two" and list(path.parent.iterdir()) == [path]


def test_a_file_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    """Checkpoints and manifests tell who bought what."""
    with careless_umask():
        replace_file(tmp_path / "state.json", b"{}")
    assert open_to_others(tmp_path) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Whichever step fails, the old file stays whole and no other is left."""
    path = tmp_path / "state.json"
    replace_file(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_writers_at_once_leave_one_whole_content(tmp_path: Path) -> None:
    """Two writers of one path do not mix: the last one to rename wins."""
    path = tmp_path / "state"

    def write(content: bytes) -> None:
        for _ in range(20):
            replace_file(path, content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, CONTENTS))
    assert path.read_bytes() in CONTENTS and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_filled_to_the_end_is_not_there(tmp_path: Path) -> None:
    """An error, as of a download, leaves neither the folder nor its parts."""
    with pytest.raises(OSError, match="lost"), replaced_folder(tmp_path / "data") as folder:
        (folder / "half").write_bytes(b"x")
        raise OSError("lost")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take two renames")
def test_a_folder_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename of the old folder would leave a moment without a folder.

    A worker could look for it in that moment.
    """
    folder = tmp_path / "data"
    with replaced_folder(folder) as new:
        (new / "n").write_text("one")
    monkeypatch.setattr(os, "rename", lambda *names: pytest.fail(f"renamed {names}"))
    with replaced_folder(folder) as new:
        (new / "n").write_text("two")
    assert (folder / "n").read_text() == "two" and list(tmp_path.iterdir()) == [folder]


def test_two_renames_do_where_names_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    for text in ("one", "two"):
        with replaced_folder(tmp_path / "data") as new:
            (new / "n").write_text(text)
    assert (tmp_path / "data" / "n").read_text() == "two" and len(list(tmp_path.iterdir())) == 1
