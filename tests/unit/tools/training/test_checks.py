"""``train`` and ``evaluate`` refuse what they can know before they work, and say what is odd."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tools.commands.learning.evaluate
import tools.commands.learning.train
import tools.training.fit
from models.factors import item_neighbours
from streams.errors import InputError
from tools.files.logs.log_reader import LogReader
from tools.main import main
from tools.training.checks import choose_baselines, named_baselines

pytestmark = pytest.mark.model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep embeddings out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a training or an evaluation begins."""
    for module in (tools.commands.learning.train, tools.commands.learning.evaluate):
        monkeypatch.setattr(module, "train_artifact", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(tools.commands.learning.evaluate, "_evaluate", lambda *_: pytest.fail("evaluated"))


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch, no_work: None) -> None:
    """Fail where the log is read, too: reading a large one takes minutes."""
    monkeypatch.setattr(LogReader, "__iter__", lambda _: pytest.fail("read"))


def write(folder: Path, n_each: int = 6) -> list[str]:
    """Write a log and its catalogue; return the arguments that name them."""
    rows = (f"u{u},i{(u + j) % 12},{1_600_000_000 + 1_003 * u + 61 * j}" for u in range(30) for j in range(n_each))
    (folder / "log.csv").write_text("user_id,item_id,ts\n" + "\n".join(rows) + "\n")
    (folder / "items.csv").write_text("item_id,title\n" + "".join(f"i{i},lamp {i}\n" for i in range(12)))
    return [str(folder / "log.csv"), "--items", str(folder / "items.csv"), "--device", "cpu", "--encoder", "fake"]


def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1 << 20))


def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def _nothing(_monkeypatch: pytest.MonkeyPatch) -> None:
    pass


#: What is wrong: further arguments, what the machine lacks, what the message names.
EARLY: dict[str, tuple[list[str], Callable[[pytest.MonkeyPatch], None], str]] = {
    "tensorboard over a file": (["--tensorboard", __file__], _nothing, "is not a folder"),
    "no such device": (["--device", "cuda"], _no_gpu, "no CUDA device"),
    "no such encoder": (["--encoder", "/no/such/model"], _nothing, "/no/such/model"),
    "no room": ([], _no_disk, "make room"),
    "no catalogue": (["--items", "/no/such/items.csv"], _nothing, "/no/such/items.csv"),
    "no users": (["--users", "/no/such/users.csv"], _nothing, "/no/such/users.csv"),
    "a column that the catalogue lacks": (["--item-columns", "title=nope"], _nothing, "nope"),
    "no minutes": (["--minutes", "nan"], _nothing, "--minutes"),
}


@pytest.mark.parametrize("command", ["train", "evaluate"])
@pytest.mark.parametrize("fault", EARLY)
@pytest.mark.usefixtures("no_reading")
def test_what_the_options_tell_is_refused_before_the_log_is_read(
    command: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more, spoil, named = EARLY[fault]
    files = write(tmp_path)
    spoil(monkeypatch)
    out = str(tmp_path / "out")
    argv = ["train", *files, "--out", out] if command == "train" else ["evaluate", out, *files, "--train", "demo"]
    assert main([*argv, *more]) == 2
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--report", __file__], "--report"),
        (["--baselines", "popularity,nope"], "'nope': must be one of popularity"),
        (["--split", "1.5"], "--split 1.5"),
    ],
)
@pytest.mark.usefixtures("no_reading")
def test_evaluates_own_options_are_refused_before_the_log_is_read(
    more: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "out"), *write(tmp_path), "--train", "demo", *more]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(("n_each", "named"), [(2, "no user has 3 events"), (3, "log too small")])
@pytest.mark.usefixtures("no_work")
def test_a_protocol_without_questions_is_refused_before_the_training(
    n_each: int, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(tmp_path / "out"), *write(tmp_path, n_each), "--train", "demo"]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.usefixtures("no_work")
def test_a_baseline_that_was_named_and_cannot_run_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(item_neighbours, "MAX_EASE_ITEMS", 10)
    argv = ["evaluate", str(tmp_path / "out"), *write(tmp_path), "--train", "demo", "--baselines", "markov1,ease"]
    assert main(argv) == 2
    assert "--baselines ease: EASE takes at most 10, the log and the catalogue have 12" in capsys.readouterr().err


def test_a_default_baseline_that_cannot_run_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error before the training, in the result, and in the report."""
    monkeypatch.setattr(item_neighbours, "MAX_EASE_ITEMS", 10)
    report = tmp_path / "report"
    argv = ["evaluate", str(tmp_path / "out"), *write(tmp_path), "--train", "demo", "--report", str(report), "--json"]
    assert main(argv) == 0
    said = capsys.readouterr()
    result = json.loads(said.out.splitlines()[-1])
    why = "EASE takes at most 10, the log and the catalogue have 12"
    assert result["baselines_left_out"] == {"ease": why}
    assert {"ials", "item_knn"} < set(result["models"]) and "ease" not in result["models"]
    assert f"baseline ease is left out: {why}" in said.err
    assert why in (report / "report.html").read_text()
    assert json.loads((report / "report.json").read_text())["baselines_left_out"] == {"ease": why}


def test_names_of_baselines_are_taken_as_typed() -> None:
    assert named_baselines(None) is None
    assert named_baselines("") == []
    assert named_baselines(" ease ,popularity,ease") == ["ease", "popularity"]
    with pytest.raises(InputError, match="'EASE': must be one of"):
        named_baselines("EASE")
    assert choose_baselines(["ease"], 15_000) == (["ease"], {})
    with pytest.raises(InputError, match="at most 15000, the log and the catalogue have 15001"):
        choose_baselines(["ease"], 15_001)
    assert "ease" not in choose_baselines(None, 16_874)[0]


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_an_odd_log_is_told_in_one_line_before_the_work(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It trains all the same; the result names the finding."""
    files, log = write(tmp_path), tmp_path / "log.csv"
    log.write_text(log.read_text() + "".join(f"robot,i{n % 12},{1_600_000_777 + n}\n" for n in range(90)))
    out = str(tmp_path / "out")
    order: list[str] = []
    made: Any = SimpleNamespace(
        manifest=SimpleNamespace(
            n_events=1, n_users=1, item_ids=[], epochs=1, metrics={"hr@10": 0.0, "n": 9.0}, policy="never"
        ),
        version="v",
    )

    def train_artifact(*_: Any) -> Any:
        order.append(capsys.readouterr().err)
        if command == "evaluate":
            raise InputError("stop here")
        return made

    monkeypatch.setattr(tools.commands.learning.train, "train_artifact", train_artifact)
    monkeypatch.setattr(tools.commands.learning.evaluate, "train_artifact", train_artifact)
    argv = ["train", *files, "--out", out] if command == "train" else ["evaluate", out, *files, "--train", "demo"]
    code = main([*argv, "--json"])
    (before,) = order
    assert [line for line in before.splitlines() if "user 'robot' has 90 of the 270 events (33%)" in line]
    if command == "train":
        said = capsys.readouterr()
        assert code == 0 and "HR@10 is 0: none of 9 next items" in said.err
        assert [w["name"] for w in json.loads(said.out)["warnings"]] == ["giant-user", "many-repeats", "no-hits"]
