"""Bad input on the command line gives one clear line and the right exit code.

The line is on standard error, and a later run works.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from models.artifact.artifact import MANIFEST, TENSORS
from streams.settings.load import KafkaSettings
from tests.support import tiny
from tests.support.programs import HEADRACE
from tests.support.waiting import wait_until
from tools.main import main
from tools.workers.ports import free_port
from tools.workers.process import Worker

WAIT_S = 60.0
TS = tiny.T0
HEADER = "user_id,item_id,ts\n"
#: File name, content, further arguments, and what the message must say.
BAD_LOGS: dict[str, tuple[str, bytes | None, list[str], str]] = {
    "missing column": ("log.csv", f"user_id,item,ts\nu,i,{TS}\n".encode(), [], "--columns item_id=NAME"),
    "wrong time unit": ("log.csv", f"{HEADER}u,i,{TS}\n".encode(), ["--time-unit", "s"], "--time-unit ms"),
    "no time": ("log.csv", f"{HEADER}u,i,17\n".encode(), [], "--columns ts=NAME"),
    "unknown type": ("log.csv", f"user_id,item_id,ts,type\nu,i,{TS},buy\n".encode(), [], "--types buy=purchase"),
    "unknown target type": ("log.csv", f"{HEADER}u,i,{TS}\n".encode(), ["--types", "buy=bought"], "bought"),
    "broken gzip": ("log.csv.gz", gzip.compress(f"{HEADER}u,i,{TS}\n".encode() * 500)[:-20], [], "damaged gzip"),
    "no gzip": ("log.csv.gz", HEADER.encode(), [], "ends in .gz"),
    "no text": ("log.csv", b"\x1b[31m\xf0\x9f,\x00\n1,2\n", [], "--encoding"),
    "no rows": ("log.csv", HEADER.encode(), [], "no rows"),
    "empty file": ("log.csv", b"", [], "no rows"),
    "no file": ("log.csv", None, [], "no such file"),
}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own, with the cache of texts there too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def error_line(capsys: pytest.CaptureFixture[str], argv: list[str], code: int) -> str:
    """Run a command that must fail with this code; return its last line on standard error."""
    capsys.readouterr()
    assert main(argv) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"headrace {argv[0]}: ")
    return line


def the_only_line(capsys: pytest.CaptureFixture[str], argv: list[str], code: int) -> str:
    """Run a command that must fail with this code and nothing but one line."""
    capsys.readouterr()
    assert main(argv) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"headrace {argv[0]}: "), lines
    return lines[0]


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (command, kind)
        for command in ("replay", "train", "evaluate", "demo")
        for kind, (_, _, more, _) in BAD_LOGS.items()
        if command != "demo" or not more  # the demo takes no such options
    ],
)
def test_a_bad_log_is_exit_code_2_and_names_the_remedy(
    command: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads a log gives the same answer, before it starts or writes anything."""
    name, content, more, expected = BAD_LOGS[kind]
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    items = str(tiny.write_items(tmp_path / "items.csv"))
    options = {
        "replay": ["replay", name],
        "train": ["train", name, "--out", "artifact", "--encoder", "fake", "--device", "cpu"],
        "evaluate": ["evaluate", str(tiny.artifact()), name, "--device", "cpu"],
        "demo": ["demo", "--log", name, "--items", items],
    }
    line = error_line(capsys, [*options[command], *more], 2)
    assert expected in line
    assert not (tmp_path / "artifact").exists()


def repack(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Callable[[Path], None]:
    """Return a damage that keeps the checksum right.

    ``change`` gets the tensors and the manifest.
    """

    def damage(folder: Path) -> None:
        tensors = safetensors.torch.load((folder / TENSORS).read_bytes())
        manifest = json.loads((folder / MANIFEST).read_text())
        change(tensors, manifest)
        data = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
        manifest["sha256"] = hashlib.sha256(data).hexdigest()
        manifest["tensors"] = {n: {"dtype": str(t.dtype), "shape": list(t.shape)} for n, t in tensors.items()}
        (folder / TENSORS).write_bytes(data)
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return damage


def flip_a_bit(folder: Path) -> None:
    """Damage the tensors' file."""
    data = bytearray((folder / TENSORS).read_bytes())
    data[-1] ^= 1
    (folder / TENSORS).write_bytes(data)


def put_nan(tensors: dict[str, Any], _manifest: dict[str, Any]) -> None:
    """Damage one weight."""
    tensors["mf.factors"][0, 0] = float("nan")


def widen(_tensors: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Claim another dimension than the tensors have."""
    manifest["sequence"]["dim"] *= 2


def break_manifest(folder: Path) -> None:
    """Cut the manifest short."""
    (folder / MANIFEST).write_text("{")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "wrong checksum": (flip_a_bit, "checksum"),
    "NaN weights": (repack(put_nan), "not finite"),
    "another dimension": (repack(widen), "do not fit"),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
    "broken manifest": (break_manifest, "not a manifest"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_artifact_is_named_by_doctor_and_evaluate(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both name the file, the damage and the remedy; the doctor's other checks still run."""
    damage, expected = DAMAGES[kind]
    folder = shutil.copytree(tiny.artifact(), tmp_path / "artifact")
    damage(folder)
    log = tiny.write_log(tmp_path / "log.csv")
    assert expected in the_only_line(capsys, ["evaluate", str(folder), str(log), "--device", "cpu"], 1)
    assert main(["doctor", "--artifact", str(folder), "--broker", "127.0.0.1:1", "--json"]) == 1
    checks = {c["name"]: c for c in json.loads(capsys.readouterr().out.splitlines()[-1])["checks"]}
    assert not checks["artifact"]["ok"] and expected in checks["artifact"]["detail"]
    assert "headrace train" in checks["artifact"]["remedy"]
    assert checks["device"]["ok"]


def test_an_artifact_for_vectors_of_another_dimension_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the language model's vectors do not fit the artifact, nothing is computed from them."""

    def shorten(tensors: dict[str, Any], _manifest: dict[str, Any]) -> None:
        tensors["whitening.mean"] = tensors["whitening.mean"][:-1]
        tensors["whitening.matrix"] = tensors["whitening.matrix"][:-1]

    folder = shutil.copytree(tiny.artifact(), tmp_path / "artifact")
    repack(shorten)(folder)
    log, items = tiny.write_log(tmp_path / "log.csv"), tiny.write_items(tmp_path / "items.csv")
    argv = ["evaluate", str(folder), str(log), "--items", str(items), "--device", "cpu"]
    assert "golden.json: dim is 16, the artifact takes 15" in the_only_line(capsys, argv, 1)
    repack(lambda _tensors, manifest: manifest.update(golden_sha256=""))(folder)
    assert "dimensions" in the_only_line(capsys, argv, 1)


def commands_for_a_broker(folder: Path) -> list[list[str]]:
    """Return one call of each command that needs a broker."""
    log, items = str(tiny.write_log(folder / "log.csv")), str(tiny.write_items(folder / "items.csv"))
    (folder / "events.jsonl").write_text(json.dumps({"user_id": "u", "item_id": "i", "type": "view", "ts": TS}))
    return [
        ["topics", "create"],
        ["topics", "check"],
        ["produce", str(folder / "events.jsonl")],
        ["replay", log],
        ["subscribe"],
        ["items", "put", items],
        ["items", "list"],
    ]


def test_no_broker_is_exactly_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names the broker and the remedy; no line of the Kafka client is beside it."""
    for argv in commands_for_a_broker(tmp_path):
        line = the_only_line(capsys, [*argv, "--broker", "127.0.0.1:1"], 1)
        assert "127.0.0.1:1" in line and "headrace broker start" in line


@pytest.fixture
def tls_port() -> Iterator[int]:
    """Give a port that answers plain text as a TLS broker does: an alert, then the end."""
    alert = bytes.fromhex("15030300020246")  # fatal, protocol version
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:  # the test is over
                    return
                with client:
                    client.recv(65_536)
                    client.sendall(alert)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


def test_a_broker_that_asks_for_tls_is_exactly_one_line(
    tls_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain text to a TLS listener: the line says that TLS is a setting."""
    for argv in commands_for_a_broker(tmp_path):
        line = the_only_line(capsys, [*argv, "--broker", f"127.0.0.1:{tls_port}"], 1)
        assert "HEADRACE_SECURITY_PROTOCOL" in line and "TLS" in line


@pytest.mark.kafka
def test_other_partitions_than_exist_are_refused_and_change_nothing(
    kafka: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line tells both counts and what to do; the right count still works."""
    assert main(["topics", "create", "--partitions", "3"]) == 0
    line = the_only_line(capsys, ["topics", "create", "--partitions", "5"], 1)
    assert "partitions is 3, must be 5" in line and "HEADRACE_PARTITIONS" in line
    assert main(["topics", "create", "--partitions", "3"]) == 0


@pytest.mark.kafka
def test_a_worker_with_other_partitions_than_exist_is_one_line(kafka: KafkaSettings, tmp_path: Path) -> None:
    """A worker must not run on half of the partitions."""
    assert main(["topics", "create", "--partitions", "3"]) == 0
    with Worker("sequencer", {"HEADRACE_PARTITIONS": "5"}, free_port(), tmp_path / "worker.log") as worker:
        wait_until(lambda: not worker.is_running, WAIT_S, lambda: "still running")
        assert worker.returncode == 1
    text = (tmp_path / "worker.log").read_text()
    errors = [line for line in text.splitlines() if "[ERROR]" in line]
    assert len(errors) == 1 and "partitions is 3, must be 5" in errors[0] and "Traceback" not in text


def interrupt(argv: list[str], folder: Path, is_under_way: Callable[[], bool]) -> str:
    """Start a command, press Ctrl-C once it works, return the last line on standard error."""
    program = [*HEADRACE, *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, cwd=folder, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        wait_until(lambda: process.poll() is not None or is_under_way(), WAIT_S, lambda: f"{argv} has not begun")
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def test_ctrl_c_in_train_leaves_no_half_artifact(tmp_path: Path) -> None:
    """While it reads the log: exit 130, one line, no folder; and the command then works."""
    log, items = tiny.write_log(tmp_path / "log.csv"), tiny.write_items(tmp_path / "items.csv")
    argv = ["train", str(log), "--items", str(items), "--out", "artifact", "--encoder", "fake", "--device", "cpu"]
    program_files = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children"

    def has_torch() -> bool:  # the heavy imports are over: it reads or trains
        children = Path(program_files).read_text().split()
        maps = [Path(f"/proc/{child}/maps") for child in children]
        return any("libtorch_cpu" in path.read_text() for path in maps if path.exists())

    assert interrupt(argv, tmp_path, has_torch) == "headrace train: interrupted"
    assert [path.name for path in tmp_path.iterdir() if "artifact" in path.name] == []
    assert main(argv) == 0


@pytest.mark.kafka
def test_ctrl_c_in_subscribe_is_one_line(kafka: KafkaSettings, tmp_path: Path) -> None:
    """While it waits for lists: exit 130, and the next one works."""
    assert main(["topics", "create"]) == 0
    port = int(kafka.broker.rpartition(":")[2])

    def is_connected() -> bool:
        return connections_of_children(port) > 0

    assert interrupt(["subscribe", "--follow"], tmp_path, is_connected) == "headrace subscribe: interrupted"
    assert main(["subscribe"]) == 0


@pytest.mark.kafka
def test_ctrl_c_in_replay_is_one_line_and_resumes(
    kafka: KafkaSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the middle: exit 130, the line says how to go on, and going on sends the rest."""
    assert main(["topics", "create"]) == 0
    log = tiny.write_log(tmp_path / "log.csv")
    argv = ["replay", str(log), "--run", "r"]
    port = int(kafka.broker.rpartition(":")[2])
    line = interrupt([*argv, "--speed", "100"], tmp_path, lambda: connections_of_children(port) > 0)
    assert line.startswith("interrupted after ") and "--resume" in line
    capsys.readouterr()
    assert main([*argv, "--resume", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["skipped"] + result["sent"] == tiny.N_USERS * tiny.N_EVENTS_EACH


def connections_of_children(port: int) -> int:
    """Return how many open connections to this port the programs have that this thread started."""
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text().split()
    sockets = set()
    for child in children:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{child}/fd").iterdir()]
        except OSError:  # the process opens and closes files meanwhile
            continue
        sockets |= {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        is_open, remote_port, inode = fields[3] == "01", int(fields[2].rpartition(":")[2], 16), fields[9]
        count += is_open and remote_port == port and inode in sockets
    return count
