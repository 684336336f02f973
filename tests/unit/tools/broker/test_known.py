"""``broker stop`` and ``status`` find the broker that ``broker start`` began.

A named broker starts nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.tools.broker.test_local_broker import FakeEngine, use_engines
from tools.broker.known import KNOWN, running_brokers
from tools.broker.local_broker import stop_broker
from tools.main import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with an engine that starts a sleeping process."""
    monkeypatch.chdir(tmp_path)
    use_engines(monkeypatch, FakeEngine("kafka"))


def broker(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run a command that succeeds and return its result."""
    assert main(["broker", *arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return result


def test_stop_and_status_find_the_one_broker_wherever_its_data_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    started = broker(capsys, "start", "--data", "elsewhere/b")
    assert broker(capsys, "status") == started | {"started": False}
    stopped = broker(capsys, "stop")
    assert (stopped["stopped"], stopped["data"]) == (True, str(tmp_path / "elsewhere" / "b"))
    assert broker(capsys, "stop")["stopped"] is False
    assert list(KNOWN.iterdir()) == [], "what has ended is forgotten"


def test_of_several_brokers_one_must_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default folder counts too; a named one is stopped, and then the other is the one."""
    broker(capsys, "start", "--data", "a", "--port", "0")
    broker(capsys, "start", "--port", "0")
    for action in ("stop", "status"):
        assert main(["broker", action]) == 2
        error = capsys.readouterr().err
        assert f"2 brokers run; name one: --data {tmp_path / '.headrace' / 'broker'} (kafka on 127.0.0.1:" in error
        assert f"--data {tmp_path / 'a'} (kafka on" in error
    assert broker(capsys, "stop", "--data", "a")["stopped"] is True
    assert broker(capsys, "stop")["data"] == str(tmp_path / ".headrace" / "broker")


def test_a_broker_that_ended_by_itself_is_no_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    broker(capsys, "start", "--data", "a", "--port", "0")
    stop_broker(Path("a"))
    assert running_brokers() == []


def test_notes_that_others_may_write_are_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    broker(capsys, "start", "--data", "a", "--port", "0")
    KNOWN.chmod(0o777)
    assert main(["broker", "stop"]) == 1
    assert "others may write it" in capsys.readouterr().err
    KNOWN.chmod(0o700)
    assert broker(capsys, "stop")["stopped"] is True


@pytest.mark.parametrize(
    ("option", "variable", "line", "told"),
    [
        (["--broker", "h:1"], "", "", ("--broker h:1: ", "leave --broker out")),
        ([], "h:2", "", ("HEADRACE_BROKER=h:2: ", "unset HEADRACE_BROKER")),
        ([], "", 'broker = "h:3"\n', ("broker=h:3 in headrace.toml: ", "take that line out")),
    ],
    ids=["option", "variable", "file"],
)
def test_start_says_who_named_a_broker_and_starts_none(
    option: list[str],
    variable: str,
    line: str,
    told: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    if variable:
        monkeypatch.setenv("HEADRACE_BROKER", variable)
    if line:
        (tmp_path / "headrace.toml").write_text(line)
        (tmp_path / "headrace.toml").chmod(0o600)
    assert main(["broker", "start", *option]) == 2
    error = capsys.readouterr().err
    assert told[0] in error and told[1] in error and error.count("\n") == 1
    assert not (tmp_path / ".headrace").exists()
