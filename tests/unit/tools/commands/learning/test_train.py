"""``headrace train``: it refuses bad input before it trains, and then changes nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch

import tools.commands.learning.train
from models.artifact.artifact import load_artifact
from models.text.encoder_use import USE_ENCODER
from tools.main import main

pytestmark = pytest.mark.model

HEADER = "user_id,item_id,ts\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep embeddings out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_log(folder: Path, n_users: int = 20) -> Path:
    """Write a log in which each user goes round a cycle of ten items, six events each."""
    path = folder / "log.csv"
    rows = (f"u{u},i{(u + j) % 10},{1_600_000_000 + 1_000 * u + j}" for u in range(n_users) for j in range(6))
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def train(log: Path, out: Path, *more: str) -> int:
    """Run the command on the CPU with the fake encoder; ``more`` comes last and wins."""
    return main(["train", str(log), "--out", str(out), "--encoder", "fake", "--device", "cpu", *more])


def test_the_default_encoder_is_one() -> None:
    """The command's default is written out, so that its help needs no PyTorch."""
    parser = argparse.ArgumentParser()
    tools.commands.learning.train.add_arguments(parser)
    assert parser.get_default("encoder") == USE_ENCODER


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--columns", "ts=nope"], "nope"),
        (["--until", "2001-01-01"], "no rows before --until 2001-01-01"),
        (["--until", "soon"], "--until 'soon'"),
        (["--minutes", "0"], "--minutes 0.0"),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    more: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line that names what is wrong, and nothing written."""
    assert train(write_log(tmp_path), tmp_path / "out", *more) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_too_small_a_log_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A log that cannot be cut into slices is the caller's, so code 2, with the number it has."""
    assert train(write_log(tmp_path, n_users=2), tmp_path / "out") == 2
    assert "number of events 12, of items 7" in capsys.readouterr().err


def test_a_missing_device_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CUDA that is asked for and not there is never replaced silently by the CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train(write_log(tmp_path), tmp_path / "out", "--device", "cuda") == 2
    assert "CUDA" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_out_that_is_no_artifact_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory with other things in it is not replaced."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    assert train(write_log(tmp_path), tmp_path / "out") == 2
    assert "is not an artifact" in capsys.readouterr().err
    assert (tmp_path / "out" / "thesis.txt").read_text() == "mine"


def test_until_bounds_what_is_trained_on_and_replaces_an_artifact(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only events before ``--until`` count; an old artifact is replaced; no other file remains."""
    log, out = write_log(tmp_path, n_users=30), tmp_path / "made" / "out"
    assert train(log, out, "--json") == 0
    whole = json.loads(capsys.readouterr().out.splitlines()[-1])
    until_ms = 1_600_000_000_000 + 20 * 1_000_000
    assert train(log, out, "--json", "--until", str(until_ms)) == 0
    part = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (whole["events"], whole["users"]) == (180, 30)
    assert (part["events"], part["users"], part["items"]) == (120, 20, 10)
    artifact = load_artifact(out)
    assert artifact.version == part["artifact"] != whole["artifact"]
    assert artifact.manifest.trained_to_ms < until_ms
    assert [entry.name for entry in out.parent.iterdir()] == ["out"]
