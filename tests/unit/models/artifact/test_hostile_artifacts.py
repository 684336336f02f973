"""Hostile artifacts at ``doctor`` and ``evaluate``: one line, no outside file, no request."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import hostile, tiny
from tests.unit.models.text.test_encoder import save_bert

MAX_PEAK_KIB = 1 << 20
#: What the doctor does to find that there is no broker.
BROKER = ("look up 127.0.0.1", "connect ('127.0.0.1', 1)")
ROOT = Path(__file__).parents[4]
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="inotify and /proc watch what is opened and taken"),
    pytest.mark.long,
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a log, a catalogue, and in ``models`` an artifact with its text model."""
    return hostile.good(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def found(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """Give output, opened files and memory by command and case; ``good`` is unchanged."""
    folder = tmp_path_factory.mktemp("cases")
    artifacts = {"good": shop / "models" / "a"} | hostile.make(shop / "models", folder)
    files = [str(shop / "log.csv"), "--items", str(shop / "items.csv"), "--device", "cpu", "--baselines", "popularity"]
    runs = {
        f"doctor {name}": ["doctor", "--broker", "127.0.0.1:1", "--artifact", str(a)] for name, a in artifacts.items()
    }
    runs |= {f"evaluate {name}": ["evaluate", str(a), *files] for name, a in artifacts.items()}
    spec, result, hub = folder / "spec.json", folder / "result.json", hostile.Hub()
    spec.write_text(json.dumps({"runs": runs, "outside": [str(folder / hostile.OUTSIDE)], "result": str(result)}))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "HF_"))}
    environ |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(folder / "hub"), "XDG_CACHE_HOME": str(folder / "cache")}
    environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.watched", str(spec)]
    try:
        subprocess.run(command, cwd=folder, env=environ, check=True, timeout=240)
        assert hub.n_connections == 0
        assert not list(folder.rglob("mark"))  # what the pickle would have made
        yield json.loads(result.read_text())
    finally:
        hub.close()


@pytest.mark.timeout(300)
def test_the_artifact_that_was_trained_is_taken(found: dict[str, dict[str, Any]]) -> None:
    """The trained artifact passes; otherwise the refusals would prove nothing."""
    assert found["evaluate good"]["code"] == 0
    assert "ok    encoder: " in found["doctor good"]["out"]


@pytest.mark.parametrize("name", hostile.CASES)
def test_doctor_names_the_fault_in_one_line(found: dict[str, dict[str, Any]], name: str) -> None:
    """Only the check of the artifact or of its text model fails."""
    lines, good = (found[f"doctor {case}"]["out"].splitlines() for case in (name, "good"))
    wrong = [line for line in lines if line not in good]
    assert len(wrong) == (2 if hostile.CASES[name][0] == "encoder" else 1), lines
    assert wrong[-1].startswith(f"FAIL  {hostile.CASES[name][0]}: ")
    assert all("ok" in line for line in wrong[:-1])
    assert found[f"doctor {name}"]["err"] == "" and found[f"doctor {name}"]["code"] == 1


@pytest.mark.parametrize("name", hostile.CASES)
def test_evaluate_ends_in_one_line(found: dict[str, dict[str, Any]], name: str) -> None:
    """An error of one line, and no traceback."""
    run = found[f"evaluate {name}"]
    assert run["code"] not in (0, "raised") and run["out"] == ""
    assert len(run["err"].splitlines()) == 1, run["err"]


@pytest.mark.parametrize("command", ["doctor", "evaluate"])
@pytest.mark.parametrize("name", hostile.CASES)
def test_nothing_is_opened_run_or_asked_and_little_is_taken(
    found: dict[str, dict[str, Any]], command: str, name: str
) -> None:
    """No outside file, no connection but the broker's, no pickle, no process, below 1 GB."""
    run = found[f"{command} {name}"]
    assert run["opened"] == []
    assert [entry for entry in run["seen"] if entry not in BROKER] == []
    assert run["peak_kib"] < MAX_PEAK_KIB


def test_the_watch_sees(tmp_path: Path) -> None:
    """The watch sees an encoder that the operator names outside the roots."""
    outside = tmp_path / "outside"
    save_bert(outside)
    log, items = tiny.write_log(tmp_path / "log.csv", n_users=20), tiny.write_items(tmp_path / "items.csv")
    arguments = ["train", str(log), "--items", str(items), "--out", str(tmp_path / "a"), "--device", "cpu"]
    runs = {"train": [*arguments, "--encoder", str(outside)], "doctor": ["doctor", "--broker", "127.0.0.1:1"]}
    spec, result = tmp_path / "spec.json", tmp_path / "result.json"
    spec.write_text(json.dumps({"runs": runs, "outside": [str(outside)], "result": str(result)}))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-m", "tests.support.watched", str(spec)], cwd=tmp_path, env=environ, check=True)
    seen = json.loads(result.read_text())
    assert seen["train"]["code"] == 0
    assert {"config.json", "model.safetensors"} <= set(seen["train"]["opened"])
    assert seen["train"]["peak_kib"] > 10 << 10
    assert BROKER[1] in seen["doctor"]["seen"]
