"""``train`` and ``evaluate`` measure which share of the log the catalogue has, and refuse 0."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tools.commands.learning.evaluate
import tools.commands.learning.train
from streams.errors import InputError
from tools.main import main
from tools.training.catalogue_share import catalogue_share

ITEMS = [str(number) for number in range(10)]


@pytest.mark.parametrize(
    "catalogue",
    [[f"{i}.0" for i in ITEMS], [i.zfill(4) for i in ITEMS], [f"sku-{i}" for i in ITEMS], ["x" * 500], []],
)
def test_a_catalogue_of_other_ids_is_refused(catalogue: list[str]) -> None:
    """One line: the counts, an id of each side, the remedy."""
    with pytest.raises(InputError) as caught:
        catalogue_share("log.csv", ITEMS, "items.csv", catalogue)
    message = str(caught.value)
    assert f"0 of the 10 items in log.csv are among its {len(catalogue)} entries" in message
    assert "the log has for example '0'" in message and "--item-columns" in message
    assert "\n" not in message and len(message) < 400
    if catalogue:
        assert catalogue[0][:40] in message


@pytest.mark.parametrize(("n_known", "is_warned"), [(1, True), (4, True), (5, False), (10, False)])
def test_under_a_half_is_warned_of(n_known: int, is_warned: bool, capsys: pytest.CaptureFixture[str]) -> None:
    share = catalogue_share("log.csv", ITEMS, "items.csv", {*ITEMS[:n_known], "other"})
    assert share == n_known / 10
    assert (f"{n_known} of the 10 items" in capsys.readouterr().err) is is_warned


def files(folder: Path, ids: list[str]) -> tuple[str, str]:
    """Write a log of ten items, and a catalogue of ``ids``."""
    log, items = folder / "log.csv", folder / "items.csv"
    rows = (f"u{u},{(u + j) % 10},{1_600_000_000 + 1_000 * u + j}" for u in range(20) for j in range(6))
    log.write_text("user_id,item_id,ts\n" + "\n".join(rows) + "\n")
    items.write_text("item_id,title\n" + "".join(f"{i},thing {i}\n" for i in ids))
    return str(log), str(items)


@pytest.mark.parametrize(
    "command", [["train", "--out", "OUT"], ["evaluate", "OUT"], ["evaluate", "OUT", "--train", "demo"]]
)
def test_both_commands_refuse_before_they_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, items = files(tmp_path, [f"B{i}" for i in ITEMS])
    for module in (tools.commands.learning.train, tools.commands.learning.evaluate):
        monkeypatch.setattr(module, "train_artifact", lambda *_: pytest.fail("trained"))
    name, *rest = [str(tmp_path / "out") if word == "OUT" else word for word in command]
    argv = [name, *rest[:1], log, *rest[1:]] if name == "evaluate" else [name, log, *rest]
    assert main([*argv, "--items", items, "--encoder", "fake", "--device", "cpu"]) == 2
    message = capsys.readouterr().err
    assert "0 of the 10 items in log.csv" in message and message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_result_of_train_has_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, items = files(tmp_path, [*ITEMS[:4], "other"])
    manifest = SimpleNamespace(n_events=120, n_users=20, item_ids=ITEMS, epochs=1, metrics={}, policy="never")
    made: Any = SimpleNamespace(manifest=manifest, version="v")
    monkeypatch.setattr(tools.commands.learning.train, "train_artifact", lambda *_: made)
    base = ["train", log, "--out", str(tmp_path / "out"), "--encoder", "fake", "--device", "cpu", "--json"]
    assert main([*base, "--items", items]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["catalogue_share"] == 0.4
    assert "(40%)" in said.err
    assert main(base) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["catalogue_share"], said.err) == (None, "")


@pytest.mark.model
def test_the_result_of_evaluate_has_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a catalogue; without one there is none to have a share."""
    log, items = files(tmp_path, [*ITEMS[:4], *(f"new-{i}" for i in range(30))])
    out = str(tmp_path / "artifact")
    assert main(["train", log, "--items", items, "--out", out, "--encoder", "fake", "--device", "cpu"]) == 0
    capsys.readouterr()
    base = ["evaluate", out, log, "--device", "cpu", "--baselines", "popularity", "--json"]
    assert main([*base, "--items", items]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["catalogue_share"] == 0.4
    assert "(40%)" in said.err
    assert main(base) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["catalogue_share"] is None
