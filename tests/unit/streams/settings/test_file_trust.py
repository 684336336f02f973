"""A file is trusted by owner and mode: its own, and those of the folders and links to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.errors import SettingsError
from streams.settings.file_trust import distrust
from streams.settings.secrets import check_file, read_secret

STRANGER = 4711
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Give a private file, two folders deep."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    for path in (folder.parent, folder):
        path.chmod(0o755)
    (folder / "secret").write_text("s")
    (folder / "secret").chmod(0o600)
    return folder / "secret"


def told(file: Path, *, private: bool = True) -> str:
    """Return why a file is not trusted, or an empty string."""
    found = distrust(file, private=private)
    return "" if found is None else f"{found.problem}; {found.remedy}"


@pytest.mark.parametrize(
    ("mode", "private", "problem"),
    [
        (0o600, True, ""),
        (0o400, True, ""),
        (0o644, False, ""),
        (0o644, True, "may be read by others"),
        (0o640, True, "may be read by others"),
        (0o604, True, "may be read by others"),
        (0o620, True, "may be written by others"),
        (0o602, False, "may be written by others"),
        (0o664, False, "may be written by others"),
    ],
)
def test_nobody_else_writes_it_and_a_private_one_is_read_by_nobody_else(
    secret: Path, mode: int, private: bool, problem: str
) -> None:
    """The remedy is a command that repairs the file."""
    secret.chmod(mode)
    line = told(secret, private=private)
    assert line.startswith(problem) and bool(line) is bool(problem)
    if line:
        os.chmod(secret, 0o600 if "chmod 600" in line else mode & ~0o022)
        assert told(secret, private=private) == ""


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("mode", "is_safe"), [(0o775, False), (0o757, False), (0o1777, True), (0o3777, True), (0o755, True)]
)
def test_no_folder_above_lets_others_replace_it(secret: Path, depth: int, mode: int, is_safe: bool) -> None:
    """In a folder with the sticky bit, such as /tmp, others cannot remove or replace our files."""
    folder = secret.parents[depth - 1]
    folder.chmod(mode)
    line = told(secret)
    assert (line == "") is is_safe
    if line:
        assert line == f"can be replaced: others may write the folder {folder}; run chmod go-w {folder}"


@needs_root
@pytest.mark.parametrize("what", ["file", "folder", "outer folder", "link"])
def test_what_belongs_to_another_user_is_not_believed(secret: Path, tmp_path: Path, what: str) -> None:
    """Its owner can change it at any time, whatever its mode, in a sticky folder too."""
    link = tmp_path / "link"
    link.symlink_to(secret)
    assert told(link) == ""
    place = {"file": secret, "folder": secret.parent, "outer folder": secret.parents[1], "link": link}[what]
    os.chown(place, STRANGER, -1, follow_symlinks=False)
    assert f"user {STRANGER}; run chown 0 {place}" in told(link)


def test_a_link_is_followed_and_each_folder_on_its_way_is_looked_at(secret: Path, tmp_path: Path) -> None:
    """Kubernetes mounts ``password`` as a link to ``..data/password``, and ``..data`` as a link."""
    mount = tmp_path / "mount"
    (mount / "..2026").mkdir(parents=True)
    (mount / "..data").symlink_to("..2026")
    (mount / "password").symlink_to("..data/password")
    (mount / "..2026" / "password").write_text("s")
    (mount / "..2026" / "password").chmod(0o400)
    mount.chmod(0o3777)
    assert told(mount / "password") == ""
    (mount / "..2026").chmod(0o777)
    assert "can be replaced" in told(mount / "password")
    away = tmp_path / "away"
    away.symlink_to(Path("mount", "..", "outer", "inner", "secret"))
    assert told(away) == ""
    secret.parents[1].chmod(0o777)
    assert "can be replaced" in told(away)


def test_a_group_may_read_what_belongs_to_root(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service without root's rights reads a secret through its group.

    The group may never write the secret.
    """
    real = os.lstat

    def as_root_owned(path: Path) -> SimpleNamespace:
        found = real(path)
        return SimpleNamespace(st_uid=0, st_mode=found.st_mode)

    monkeypatch.setattr(os, "lstat", as_root_owned)
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER)
    for mode, problem in ((0o440, ""), (0o444, "may be read by others"), (0o460, "may be written by others")):
        secret.chmod(mode)
        assert told(secret).startswith(problem) and bool(told(secret)) is bool(problem)


def make_pipe(path: Path) -> None:
    """Put a pipe in place of a file: opening it would block for ever."""
    path.unlink()
    os.mkfifo(path, 0o600)


def make_loop(path: Path) -> None:
    """Put a link to itself in place of a file."""
    path.unlink()
    path.symlink_to(path.name)


def make_folder(path: Path) -> None:
    """Put a folder in place of a file."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (make_pipe, "is not a plain file"),
        (make_loop, "cannot be read \\(Too many levels of symbolic links\\)"),
        (make_folder, "cannot be read \\(Is a directory\\)"),
        (Path.unlink, "cannot be read \\(No such file or directory\\)"),
    ],
)
def test_what_is_no_file_is_refused_in_one_line_and_not_opened(
    secret: Path, change: Callable[[Path], None], line: str
) -> None:
    """The same check examines the file of each setting."""
    change(secret)
    for look in (
        lambda: read_secret(str(secret), "sasl_password_file"),
        lambda: check_file(str(secret), "x", private=False),
    ):
        with pytest.raises(SettingsError, match=line) as caught:
            look()
        assert "\n" not in str(caught.value)
