"""A log without times: what is trained on it, and who says why it cannot be used."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from models.training.options import TextSource
from models.training.train import TrainingData, TrainingOptions, train
from streams.errors import InputError
from tests.support.programs import arguments
from tools.commands.learning import evaluate
from tools.files.log_source import LogSource
from tools.main import main
from tools.replay.identity import LogReplay
from tools.training.checks import choose_baselines
from tools.training.inputs import TrainingSources

pytestmark = pytest.mark.model


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give 300 plays of 30 users without times, item by item, as exports of counts often are."""
    chance = random.Random(3)
    rows = sorted((item, user) for user in range(30) for item in chance.sample(range(40), 10))
    path = tmp_path / "plays.tsv"
    path.write_text("user_id\titem_id\tvalue\n" + "".join(f"{user}\t{item}\t7\n" for item, user in rows))
    return path


def sources(log: Path) -> TrainingSources:
    """Return the sources of a training on the log."""
    return TrainingSources(LogSource((log,), no_times=True), None, None)


def test_the_events_come_in_random_order_at_one_time(log: Path) -> None:
    """The order of the file says nothing about users; a second reading gives the same order."""
    found, again = sources(log).read_log(), sources(log).read_log()
    assert len(found) == 300 and len(set(found.ts_ms.tolist())) == 1 and found.ts_ms[0] > 1_600_000_000_000
    assert np.any(np.diff(found.items) < 0) and np.array_equal(found.items, again.items)


def test_what_needs_no_order_is_fitted(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training fits factors, neighbours and popularity.

    It does not fit the sequence model and next items, and says so.
    """
    options = TrainingOptions(cut="last", is_ordered=False)
    data = TrainingData(sources(log).read_log(), {}, TextSource("", "", ""))
    artifact = train(data, options)
    assert artifact.manifest.epochs == 0
    assert (artifact.next_rows == -1).all() and (artifact.neighbour_rows >= 0).any()
    assert np.abs(artifact.factors.factors).sum() > 0 and artifact.popularity.sum() == 300
    assert "has no times, so the sequence model" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", [TrainingOptions(is_ordered=False), TrainingOptions(cut="last", is_ordered=False, imputation="time")]
)
def test_a_training_without_order_uses_no_time(log: Path, options: TrainingOptions) -> None:
    """Neither for its slices nor for its features."""
    with pytest.raises(ValueError, match="without times"):
        train(TrainingData(sources(log).read_log(), {}, TextSource("", "", "")), options)


def test_commands_that_publish_say_why_not(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An event on the topic has a time."""
    with pytest.raises(InputError, match="an event on the topic needs its time"):
        LogReplay(LogSource((log,), no_times=True))
    assert main(["produce", str(log), "--no-times", "--dry-run"]) == 2
    assert "needs its time" in capsys.readouterr().err
    with pytest.raises(InputError, match="--until 2020-01-01: the log has no times"):
        sources(log).read_log("2020-01-01")


def test_an_evaluation_cannot_cut_by_time(log: Path) -> None:
    """Leave-one-out needs no time: a random event of each user is asked."""
    args = arguments(evaluate, "model", str(log), "--no-times", "--protocol", "time")
    with pytest.raises(InputError, match="--protocol time: cuts by time"):
        evaluate.run(args)


def test_the_baseline_that_needs_an_order_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said; named by the user, it is an error."""
    kept, left_out = choose_baselines(None, 10, is_ordered=False)
    assert "markov1" not in kept and "markov1" in left_out and "markov1 is left out" in capsys.readouterr().err
    with pytest.raises(InputError, match="markov1: learns what follows what"):
        choose_baselines(["markov1"], 10, is_ordered=False)
