"""``headrace evaluate``, ``train --tensorboard`` and ``bench imputation`` on a small log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.features.columns import item_row
from tools.bench.imputation import remove
from tools.main import main
from tools.training.fit import IMPUTATIONS

pytestmark = pytest.mark.model

N_USERS, N_ITEMS, LENGTH = 24, 10, 7


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep embeddings out of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Give a log in which each user goes round a cycle of items, and its catalogue with a price."""
    log, items = tmp_path / "log.csv", tmp_path / "items.csv"
    rows = [
        f"u{u},i{(u + j) % N_ITEMS},{1_600_000_000 + 100_000 * j + u}" for u in range(N_USERS) for j in range(LENGTH)
    ]
    log.write_text("user_id,item_id,ts\n" + "\n".join(rows) + "\n")
    items.write_text("item_id,title,price\n" + "".join(f"i{i},thing {i},{i + 1}\n" for i in range(N_ITEMS)))
    return log, items


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run a command with the fake encoder and return its JSON result."""
    assert main([*arguments, "--encoder", "fake", "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    return result


def test_one_command_trains_evaluates_and_reports(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Leave one out: it trains without the targets, measures every model and writes the page."""
    log, items = map(str, files)
    out, report = tmp_path / "artifact", tmp_path / "report"
    result = run(
        capsys, "evaluate", str(out), log, "--items", items, "--train", "demo", "--window-text", "--report", str(report)
    )
    assert (result["cases"], result["leaks"], result["masked"], result["protocol"]) == (N_USERS, False, True, "loo")
    assert {"pipeline", "sequence", "window_text", "ease", "ials", "item_knn"} <= set(result["models"])
    assert result["models"]["pipeline"]["hr@10"] == 1.0  # what is left to a user are four items
    assert json.loads((report / "report.json").read_text())["models"] == result["models"]
    assert "<svg" in (report / "report.html").read_text()
    assert not (tmp_path / ".artifact.checkpoints").exists()
    again = run(capsys, "evaluate", str(out), log, "--items", items)
    assert (again["leaks"], again["models"]["pipeline"]) == (False, result["models"]["pipeline"])
    by_time = run(capsys, "evaluate", str(out), log, "--items", items, "--protocol", "time", "--split", "0.7")
    assert by_time["leaks"] is True


def test_prequential_has_curves_and_shuffled_ties_a_seed(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each event is asked, then learnt; the artifact is trained on what lies before the split."""
    arguments = (
        "--protocol",
        "prequential",
        "--split",
        "0.7",
        "--baselines",
        "popularity,markov1",
        "--ties",
        "shuffled",
    )
    result = run(capsys, "evaluate", str(tmp_path / "artifact"), str(files[0]), "--train", "demo", *arguments)
    assert result["leaks"] is False
    assert set(result["curves"]) == set(result["models"]) == {"pipeline", *result["mcnemar"]}
    asked = result["mcnemar"]["popularity"]
    difference = (asked["only_pipeline"] - asked["only_model"]) / result["cases"]
    assert difference == pytest.approx(
        result["models"]["pipeline"]["hr@10"] - result["models"]["popularity"]["hr@10"], abs=1e-9
    )
    assert 0.0 <= asked["p_value"] <= 1.0
    assert set(result["models"]) == {
        "pipeline", "sequence", "mf", "next", "neighbours", "recent_popularity", "popularity", "markov1",
    }  # fmt: skip


def test_tensorboard_gets_curves_and_titles(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Losses and validation scores by epoch, and the projector's labels."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = tmp_path / "board"
    log, items = map(str, files)
    run(capsys, "train", log, "--items", items, "--out", str(tmp_path / "out"), "--tensorboard", str(board))
    events = EventAccumulator(str(board))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"first_fit/loss", "first_fit/validation_ndcg@10", "final_fit/loss"} <= set(tags)
    assert len(events.Scalars("first_fit/loss")) >= 2
    (labels,) = board.rglob("metadata.tsv")
    assert sorted(labels.read_text().split("\n")[:N_ITEMS]) == sorted(f"thing {i}" for i in range(N_ITEMS))


def test_imputation_fills_a_table(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """One row per imputation, one column per removed share; a log without features is refused."""
    log, items = map(str, files)
    result = run(capsys, "bench", "imputation", log, "--items", items)
    assert [row["imputation"] for row in result["missing"]] == list(IMPUTATIONS)
    assert all(0.0 <= row["60% removed"] <= 1.0 for row in result["missing"])
    assert main(["bench", "imputation", log, "--encoder", "fake"]) == 2
    assert "no features" in capsys.readouterr().err


def test_removal_takes_about_the_share_and_keeps_the_rest() -> None:
    """Removed values are gone, others are as they were, and a seed gives the same again."""
    rows = {f"i{i}": item_row({"price": float(i), "category": "a"}) for i in range(500)}
    kept = remove(rows, 0.3, 1)
    n_kept = sum(len(row) for row in kept.values())
    assert 0.65 < n_kept / 1_000 < 0.75
    assert all(rows[key][name] == value for key, row in kept.items() for name, value in row.items())
    assert kept == remove(rows, 0.3, 1) != remove(rows, 0.3, 2)
    assert remove(rows, 0.0, 1) == {key: {"price": row["price"], "category": "a"} for key, row in rows.items()}
