"""The stages of a training as tasks.

The tests show units, the work of an earlier run, metrics, and the end.
"""

from __future__ import annotations

import pytest
from rich.progress import Progress

from tools.reports.progress_lines import count_of
from tools.training.progress import StageBars, training_ends


def test_each_stage_is_a_task_with_its_unit() -> None:
    bar = Progress(disable=True)
    told = StageBars(bar, unit="users")
    told.on_progress("first fit: sequence model", 0.5, 16)
    told.on_progress("first fit: sequence model", 1, 16)
    told.on_progress("fusion: candidates", 64, 300)
    told.on_progress("fitting baselines", 2, 5)
    told.on_progress("evaluating", 128, 700)
    counts = ["1 of 16 epochs", "64 of 300 events", "2 of 5 baselines", "128 of 700 users"]
    assert [count_of(task) for task in bar.tasks] == counts
    assert [task.fields["ended"] for task in bar.tasks] == [True, True, True, False]


def test_a_resumed_stage_begins_where_it_was() -> None:
    """The speed of this run is not that of the run before."""
    bar = Progress(disable=True)
    StageBars(bar).on_progress("first fit: sequence model", 5.25, 16)
    assert bar.tasks[0].fields["base"] == 5


def test_the_newest_metric_stands_beside_the_newest_stage() -> None:
    """Before any stage a metric is passed over, and so is what is no metric of the fit."""
    bar = Progress(disable=True)
    told = StageBars(bar)
    told.on_scalar("first fit/loss", 3.5, 1)
    told.on_progress("first fit: sequence model", 1, 16)
    told.on_scalar("first fit/loss", 3.25, 1)
    assert bar.tasks[0].fields["note"] == "loss 3.2500"
    told.on_scalar("first fit/validation ndcg@10", 0.125, 1)
    told.on_scalar("validation/n", 36.0, 1)
    assert bar.tasks[0].fields["note"] == "validation NDCG@10 0.1250"


@pytest.mark.model
@pytest.mark.parametrize("preset", ["best", "demo"])
def test_minutes_bound_both_fits(preset: str) -> None:
    """Of 100 seconds the first fit gets 85, the final one 15.

    Without a bound the epochs tell the progress.
    """
    from models.training.options import PRESETS

    ends = training_ends(preset, 100 / 60)
    first, final = ends["first fit: sequence model"], ends["final fit: sequence model"]
    assert (first["limit_s"], final["limit_s"]) == pytest.approx((85, 15))
    assert first["after"] == pytest.approx(15 / 85)
    training = PRESETS[preset].sequence_training
    (open_end,) = training_ends(preset, None).values()
    assert open_end == {"after": pytest.approx(training.refit_epochs / training.epochs * 1.25)}
