"""A folder that a process has loaded is known as such while that process lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from models.files.served_folder import is_served, mark_served

HOLDER = (
    "import sys; from pathlib import Path; from models.files.served_folder import mark_served\n"
    "mark_served(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


def test_a_folder_is_served_until_the_last_process_that_loaded_it_ends(tmp_path: Path) -> None:
    """A process that is killed leaves no mark behind."""
    assert not is_served(tmp_path)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        assert is_served(tmp_path) and is_served(tmp_path), "a look changes nothing"
        holder.kill()
        holder.wait()
    assert not is_served(tmp_path)


def test_a_folder_that_is_given_up_is_not_served(tmp_path: Path) -> None:
    """A process that has taken another artifact into service."""
    give_up = mark_served(tmp_path)
    assert is_served(tmp_path)
    give_up()
    assert not is_served(tmp_path)


def test_what_is_no_folder_is_not_served(tmp_path: Path) -> None:
    mark_served(tmp_path / "none")
    assert not is_served(tmp_path / "none")
    (tmp_path / "file").touch()
    mark_served(tmp_path / "file")
    assert not is_served(tmp_path / "file")
