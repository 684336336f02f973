"""headrace signals only processes that it started: process ids, and hostile state files.

``os.kill`` and ``os.killpg`` are recorded, and send nothing.
"""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerError
from tests.support.waiting import wait_until
from tools.broker import engine_docker, engine_kafka, local_broker
from tools.broker.local_broker import broker_status, start_broker, stop_broker
from tools.broker.state import STATE_FILE, BrokerState, read_state, write_state
from tools.main import main
from tools.workers.processes import (
    Process,
    command_line,
    end_process,
    parse_pid,
    process_identity,
    signal_group,
    started,
)
from tools.workers.worker_logs import KEPT_RUNS, new_log

ROOT = Path(__file__).parents[4]
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
BAD_PIDS: list[Any] = [-1, 0, 1, -4711, True, 2.0, "4711", [4711], {}, 2**31, 10**30]

Sent = list[tuple[int, int]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Give the list of signals, each an id and a number, that would have been sent."""
    found: Sent = []

    def record(pid: int, number: int) -> None:
        found.append((pid, number))
        raise ProcessLookupError(f"recorded: signal {number} to {pid}")

    monkeypatch.setattr(os, "kill", record)
    monkeypatch.setattr(os, "killpg", record)
    return found


@contextmanager
def running(*more: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process of this user for a block; end it without ``os.kill``."""
    with subprocess.Popen([*SLEEP, *more], **how) as process:
        try:
            wait_until(lambda: command_line(process.pid) == (*SLEEP, *more), 10, lambda: "not started")
            yield process
        finally:
            subprocess.run(["kill", "-9", str(process.pid)], check=False)


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process of this user that is no broker."""
    with running() as process:
        yield process


def true_record(data: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return a state file's content with the right signs of a foreign process."""
    identity = process_identity(process.pid)
    assert identity is not None
    return asdict(BrokerState("kafka", "1", 9092, process.pid, identity, [], list(command_line(process.pid))))


def as_broker(data: Path) -> list[str]:
    """Return the end of the command line of a Kafka node of a data directory."""
    return [engine_kafka.MAIN_CLASS, str(data / engine_kafka.PROPERTIES)]


def stop_and_look(data: Path) -> str:
    """Ask for the broker in each way that a command has; return each error, or an empty string."""
    told = []
    for ask in (broker_status, stop_broker, lambda where: start_broker("noida", 0, where)):
        try:
            ask(data)
        except BrokerError as exc:
            told.append(str(exc))
    return "\n".join(told)


def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no engine work, so that a start reads the record and starts nothing."""
    for engine in local_broker.ENGINES.values():
        monkeypatch.setattr(engine, "problem", lambda: "off")


@pytest.mark.parametrize("pid", BAD_PIDS, ids=repr)
def test_a_number_that_is_no_process_is_refused_by_name(
    tmp_path: Path, sent: Sent, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, pid: Any
) -> None:
    """-1 would end every process of the user, 0 this one's group; True counts as 1 in Python."""
    no_start(monkeypatch)
    (tmp_path / STATE_FILE).write_text(json.dumps(true_record(tmp_path, other) | {"pid": pid}))
    told = stop_and_look(tmp_path).splitlines()
    assert len(told) == 3 and all(
        f"pid={pid!r} must be a whole number above 1; nothing was signalled" in x for x in told
    )
    assert sent == []


def test_another_process_of_ours_is_left_alone_though_its_id_and_start_time_and_command_are_right(
    tmp_path: Path, sent: Sent, other: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No engine starts such a command for this folder."""
    no_start(monkeypatch)
    (tmp_path / STATE_FILE).write_text(json.dumps(true_record(tmp_path, other)))
    assert (
        stop_and_look(tmp_path).count("names nothing that headrace starts for this folder; nothing was signalled") == 3
    )
    assert sent == []


@pytest.mark.parametrize("what", ["command", "identity", "pid"])
def test_a_record_that_is_right_but_for_one_thing_signals_nobody(
    tmp_path: Path, sent: Sent, other: subprocess.Popen[bytes], what: str
) -> None:
    """Another process has the broker's id now: the commands ignore the record and clear it."""
    record = true_record(tmp_path, other) | {"command": ["java", *as_broker(tmp_path)]}
    record |= {"identity": "of the boot before:1"} if what == "identity" else {}
    record |= {"pid": os.getpid()} if what == "pid" else {}
    (tmp_path / STATE_FILE).write_text(json.dumps(record))
    assert broker_status(tmp_path) is None
    assert not stop_broker(tmp_path)
    assert sent == [] and not (tmp_path / STATE_FILE).exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"engine": "init"}, "names nothing that headrace starts"),
        ({"engine": "docker"}, "names nothing that headrace starts"),
        ({"engine": "docker", "pid": None, "identity": "somebodys-database"}, "names nothing that headrace starts"),
        ({"engine": "docker", "pid": None, "identity": "--help"}, "names nothing that headrace starts"),
        ({"pid": None}, "names nothing that headrace starts"),
        ({"port": "9092"}, "port='9092' is not of the kind int"),
        ({"port": 0}, "port=0 must be 1 to 65535"),
        ({"command": "java"}, "command='java' is not of the kind list"),
        ({"command": [1]}, "command="),
        ({"identity": None}, "identity=None is not of the kind str"),
        ({"more": 1}, "holds more than the record of a broker"),
    ],
)
def test_a_record_that_headrace_never_writes_is_refused_and_runs_no_command(
    tmp_path: Path,
    sent: Sent,
    other: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    told: str,
) -> None:
    """Headrace sends no signal, and ends no compose project of another folder."""
    no_start(monkeypatch)
    monkeypatch.setattr(engine_docker, "_compose", lambda *_: pytest.fail("a compose project was touched"))
    record = true_record(tmp_path, other) | {"command": ["java", *as_broker(tmp_path)]} | change
    (tmp_path / STATE_FILE).write_text(json.dumps(record))
    assert stop_and_look(tmp_path).count(told) == 3
    assert sent == []


def test_a_record_without_a_command_line_is_of_another_version_and_says_so(tmp_path: Path, sent: Sent) -> None:
    """Headrace cannot know whose process that is."""
    record = asdict(BrokerState("kafka", "1", 9092, 4711, "x"))
    del record["command"]
    (tmp_path / STATE_FILE).write_text(json.dumps(record))
    with pytest.raises(
        BrokerError, match="lacks 'command', so another version of headrace wrote it.*end the broker by hand"
    ):
        stop_broker(tmp_path)
    assert sent == []


@pytest.mark.parametrize("how", ["file mode", "folder mode", "link", "pipe", "folder owner", "file owner"])
def test_a_record_that_others_may_have_written_is_not_believed(
    tmp_path: Path, sent: Sent, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The record is right in this test: the broker of the folder really runs."""
    no_start(monkeypatch)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    with running(*as_broker(data)) as process:
        write_state(data, BrokerState(**true_record(data, process)))
        assert broker_status(data) is not None
        if how == "file mode":
            (data / STATE_FILE).chmod(0o620)
        elif how == "folder mode":
            data.chmod(0o1777)
        elif how == "link":
            (data / STATE_FILE).rename(data / "aside")
            (data / STATE_FILE).symlink_to("aside")
        elif how == "pipe":
            (data / STATE_FILE).unlink()
            os.mkfifo(data / STATE_FILE, 0o600)
        elif os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        else:
            os.chown(data if how == "folder owner" else data / STATE_FILE, 4711, 4711)
        told = stop_and_look(data).splitlines()
        assert process.poll() is None and sent == []
    # no record of ours is a link: it is passed over, and cleared by what comes next
    if how == "link":
        assert told == ["--engine noida: off; or use --engine auto or --broker HOST:PORT"]
    else:
        assert len(told) == 3
        assert all(re.search("nobody else may write|others may write it|belongs to user 4711", line) for line in told)


def test_the_command_says_a_refusal_in_one_line(tmp_path: Path, sent: Sent, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1, and the message has the remedy."""
    (tmp_path / STATE_FILE).write_text(json.dumps(asdict(BrokerState("kafka", "1", 9092, -1, "x"))))
    assert main(["broker", "stop", "--data", str(tmp_path)]) == 1
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and "pid=-1" in told[0] and "remove the file" in told[0]
    assert sent == []


def test_make_clean_believes_no_record_either(tmp_path: Path) -> None:
    """It fails with the reason, removes nothing and sends no signal."""
    for package in ("models", "streams"):
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "tools").mkdir()
    for file in (ROOT / "tools").iterdir():
        (tmp_path / "tools" / file.name).symlink_to(file)
    (tmp_path / ".headrace" / "broker").mkdir(parents=True)
    record = tmp_path / ".headrace" / "broker" / STATE_FILE
    record.write_text(json.dumps(asdict(BrokerState("kafka", "1", 9092, -1, "x"))))
    done = subprocess.run(
        ["sh", str(tmp_path / "tools" / "project" / "setup.sh"), "--clean"],
        env={"PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "pid=-1 must be a whole number above 1; nothing was signalled" in done.stderr
    assert "Traceback" not in done.stderr and record.exists()


@pytest.mark.parametrize("pid", ["-1", "0", "1", "99999999999999999999", "²", "", "4711 ", "+5"])
def test_a_name_of_a_log_is_no_process(tmp_path: Path, sent: Sent, pid: str) -> None:
    """A log is removed when the process in its name is dead; the check sends no signal."""
    assert parse_pid(pid) is None
    for n in range(KEPT_RUNS + 1):
        (tmp_path / f"sequencer-0.2026010{n}T000000-{pid}.log").touch()
    new_log(tmp_path, "sequencer-0")
    assert len(list(tmp_path.iterdir())) == KEPT_RUNS - 1
    assert sent == []


def test_a_process_is_signalled_and_ended_while_it_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends nothing to a dead process, or where id, start time or command line differs."""
    process = started(subprocess.Popen(SLEEP))
    wrong = [replace(process, identity="x"), replace(process, command=("x",)), replace(process, pid=os.getpid())]
    assert [one.send(signal.SIGKILL) for one in wrong] == [False] * 3
    assert [end_process(one) for one in wrong] == [False] * 3
    assert process.is_alive() and process.send(signal.SIGCONT)
    assert end_process(process)
    assert not process.is_alive() and not end_process(process)


@pytest.mark.parametrize("pid", [*BAD_PIDS, os.getppid()], ids=repr)
def test_a_group_is_signalled_only_where_the_process_leads_it(sent: Sent, pid: Any) -> None:
    """A worker leads its own group; another group holds processes that headrace did not start."""
    if pid == os.getppid() and os.getpgid(pid) == pid:
        pid = os.getpid() if os.getpgid(0) != os.getpid() else 1
    assert not signal_group(pid, signal.SIGKILL)
    assert not Process(pid, "x", ()).send(signal.SIGKILL)
    assert sent == []


def test_a_child_in_our_own_group_is_no_leader(sent: Sent) -> None:
    """A worker without a session of its own shares the group of a shell or of this test."""
    with running() as shared, running(start_new_session=True) as leader:
        assert not signal_group(shared.pid, signal.SIGTERM)
        assert sent == []
        signal_group(leader.pid, signal.SIGTERM)
        assert sent == [(leader.pid, signal.SIGTERM)]


def test_no_command_signals_past_the_one_module() -> None:
    """Only tools/workers/processes.py calls ``os.kill`` and ``os.killpg``."""
    found = {
        str(path.relative_to(ROOT / "tools"))
        for path in (ROOT / "tools").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"kill", "killpg", "pidfd_send_signal"}
        and isinstance(node.value, ast.Name) and node.value.id in {"os", "signal"}
    }  # fmt: skip
    assert found == {"workers/processes.py"}


def test_a_broker_is_stopped_by_a_python_without_packages(tmp_path: Path) -> None:
    """``make clean`` uses any Python, because the environment may be broken."""
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tools.broker.local_broker import stop_broker; print(stop_broker())"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_an_unreadable_record_is_none(tmp_path: Path) -> None:
    """A full disk may cut a record short."""
    for content in ("", "{", "[]", "[" * 100_000):
        (tmp_path / STATE_FILE).write_text(content)
        assert read_state(tmp_path) is None
