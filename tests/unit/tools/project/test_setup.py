"""The set-up's rules, run with a fake python and a fake uv.

The cases: nothing to do, changed, interrupted, broken, two at once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.permissions import careless_umask, open_to_others

SCRIPT = Path(__file__).resolve().parents[4] / "tools" / "project" / "setup.sh"
# Stands for the base interpreter. `-m venv DIR` makes a folder whose python is the real one but for
# `-m pip`, which installs the fake uv; uv writes down what it is asked for, and waits or fails when
# told to.
FAKE_PYTHON = """\
#!/bin/sh
if [ "$1" = -m ] && [ "$2" = venv ]; then
    echo venv >>"$LOG"; mkdir -p "$3/bin"; cp "$FAKES/venv-python" "$3/bin/python"; exit 0
fi
case "$2" in *version_info*) echo "$0"; exit 0;; esac
exec "$REAL" "$@"
"""
VENV_PYTHON = """\
#!/bin/sh
if [ "$1" = -m ] && [ "$2" = pip ]; then
    case "$*" in *" --no-deps --require-hashes -r "*/tools/project/uv.txt) cp "$FAKES/uv" "$(dirname "$0")/uv"; exit 0;; esac
    exit 1
fi
exec "$REAL" "$@"
"""
UV = """\
#!/bin/sh
[ "$1" = --version ] && exit 0
echo "uv $1 $2" >>"$LOG"
[ "$2" = "${UV_FAILS:-}" ] && exit 1
[ "$2" = "${UV_WAITS:-}" ] && { : >"$LOG.waiting"; while [ ! -f "$LOG.go" ]; do sleep 0.01; done; }
exit 0
"""
FULL = ["venv", "uv pip sync", "uv pip install"]


class Checkout:
    """A checkout with the real script and fake tools."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root / "checkout with space", root / "log"
        fakes = root / "fakes"
        (self.root / "tools" / "project").mkdir(parents=True)
        fakes.mkdir()
        shutil.copy(SCRIPT, self.root / "tools" / "project" / "setup.sh")
        for name, content in (("python3", FAKE_PYTHON), ("venv-python", VENV_PYTHON), ("uv", UV)):
            (fakes / name).write_text(content)
            (fakes / name).chmod(0o755)
        (self.root / "requirements.lock").write_text("a==1\n")
        (self.root / "pyproject.toml").write_text("[project]\n")
        self.env = {
            "PATH": f"{fakes}:/usr/bin:/bin",
            "FAKES": str(fakes),
            "LOG": str(self.log),
            "REAL": os.path.realpath(sys.executable),
        }

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "headrace-stamp"

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        command = ["sh", str(self.root / "tools" / "project" / "setup.sh"), *args]
        return subprocess.Popen(command, env=self.env | env, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def run(self, *args: str, **env: str) -> tuple[int, str]:
        process = self.start(*args, **env)
        _, err = process.communicate(timeout=60)
        return process.returncode, err

    def did(self) -> list[str]:
        """Return what was done since the last call."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def wait_for_uv(self) -> None:
        deadline = time.monotonic() + 30
        while not Path(f"{self.log}.waiting").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give a fresh checkout."""
    return Checkout(tmp_path)


def test_the_first_run_does_all_and_the_second_nothing(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL
    assert checkout.run() == (0, "")
    assert checkout.did() == []


def test_the_installer_is_pinned_by_hash() -> None:
    """The installer is itself installed by hash, as it installs all other packages.

    The fake pip above takes nothing else.
    """
    first, *hashes = [line for line in SCRIPT.with_name("uv.txt").read_text().splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"uv==[\d.]+ \\", first)
    assert hashes and all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes)


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_a_changed_lock_is_noticed_and_the_packages_are_brought_in_line(checkout: Checkout, name: str) -> None:
    checkout.run()
    checkout.did()
    (checkout.root / name).write_text("b==2\n")
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL[1:]
    assert checkout.run() == (0, "")


@pytest.mark.parametrize("step", ["sync", "install"])
def test_a_step_that_fails_leaves_no_stamp_and_the_next_run_builds_anew(checkout: Checkout, step: str) -> None:
    code, err = checkout.run(UV_FAILS=step)
    assert code == 1
    assert "cannot be installed" in err and "run make setup again" in err
    assert not checkout.stamp.exists()
    checkout.did()
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_a_kill_in_the_middle_is_repaired_by_the_next_run(checkout: Checkout) -> None:
    process = checkout.start(UV_WAITS="sync")
    checkout.wait_for_uv()
    os.killpg(process.pid, 9)
    process.communicate()
    checkout.did()
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_a_kill_while_a_changed_lock_is_brought_in_is_repaired_too(checkout: Checkout) -> None:
    checkout.run()
    before = (checkout.root / "requirements.lock").read_text()
    (checkout.root / "requirements.lock").write_text("b==2\n")
    process = checkout.start(UV_WAITS="sync")
    checkout.wait_for_uv()
    os.killpg(process.pid, 9)
    process.communicate()
    # half of b is installed, so the old stamp may not count
    (checkout.root / "requirements.lock").write_text(before)
    checkout.did()
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_an_environment_without_a_working_python_is_built_anew(checkout: Checkout) -> None:
    checkout.run()
    (checkout.root / ".venv" / "bin" / "python").unlink()
    (checkout.root / ".venv" / "bin" / "python").symlink_to("/nonexistent")
    checkout.did()
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_a_checkout_that_was_moved_is_built_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.did()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_two_at_once_do_the_work_once(checkout: Checkout) -> None:
    first = checkout.start(UV_WAITS="sync")
    checkout.wait_for_uv()
    second = checkout.start()
    assert second.stderr is not None and "waiting for another" in second.stderr.readline()
    Path(f"{checkout.log}.go").touch()
    assert [first.wait(60), second.wait(60)] == [0, 0]
    for process in (first, second):
        process.communicate()
    assert checkout.did() == FULL


def test_nobody_else_can_put_code_into_the_environment_or_read_the_data(checkout: Checkout) -> None:
    """Under the umask that hides nothing; who may read the environment is the caller's choice."""
    with careless_umask():
        assert checkout.run()[0] == 0
    assert [
        path for path in (checkout.root / ".venv").rglob("*") if path.stat().st_mode & 0o022 and path.name != "uv"
    ] == []
    assert (checkout.root / ".headrace").stat().st_mode & 0o077 == 0
    assert open_to_others(checkout.root / ".headrace") == []


def test_a_python_that_is_too_old_is_named_with_the_remedy(checkout: Checkout) -> None:
    old = Path(checkout.env["FAKES"]) / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    for minor in range(11, 15):
        shutil.copy(old, old.with_name(f"python3.{minor}"))
    code, err = checkout.run()
    assert code == 1
    assert "needs Python 3.11 or newer, found Python 3.9.1; install one" in err
    assert len(err.splitlines()) == 1


def test_a_newer_python_under_another_name_is_found(checkout: Checkout) -> None:
    fakes = Path(checkout.env["FAKES"])
    (fakes / "python3").rename(fakes / "python3.13")
    (fakes / "python3").write_text("#!/bin/sh\nexit 1\n")
    (fakes / "python3").chmod(0o755)
    assert checkout.run()[0] == 0
    assert checkout.did() == FULL


def test_clean_removes_the_environment_and_the_data_and_may_be_repeated(checkout: Checkout) -> None:
    checkout.run()
    (checkout.root / ".headrace" / "broker").mkdir()
    assert checkout.run("--clean")[0] == 0
    assert sorted(path.name for path in checkout.root.iterdir()) == ["pyproject.toml", "requirements.lock", "tools"]
    assert checkout.run("--clean")[0] == 0


def test_clean_refuses_to_remove_the_data_of_a_broker_that_it_cannot_stop(checkout: Checkout) -> None:
    checkout.run()
    (checkout.root / ".headrace" / "broker").mkdir()
    (checkout.root / ".headrace" / "broker" / "broker.json").write_text("{}")
    code, err = checkout.run("--clean")  # this checkout has no tools.broker.local_broker
    assert code == 1
    assert "cannot be stopped; see the message above" in err
    assert (checkout.root / ".headrace" / "broker" / "broker.json").exists()
