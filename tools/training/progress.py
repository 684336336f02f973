"""Shows the stages of a training or an evaluation, each with its count, its metric and its end."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from rich.progress import Progress, TaskID

from tools.reports.metrics import metric_name
from tools.reports.verdict import DECIDES

#: What the stages count, by the last word of their names.
UNITS: Final = {
    "sequence model": "epochs",
    "factors": "rounds",
    "fusion": "epochs",
    "candidates": "events",
    "fitting baselines": "baselines",
}
#: The figures that a stage shows, by the last word of their names.
SHOWN: Final = ("loss", DECIDES)


class StageBars:
    """Gives each stage a task of its own; the metric that was told last stands beside it.

    Parameters
    ----------
    bar : where the stages are shown
    unit : what a stage counts that :data:`UNITS` does not name
    known : further fields of a stage's task, by stage, such as the most seconds that it takes
    """

    def __init__(
        self, bar: Progress, unit: str = "", known: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> None:
        self._bar, self._unit, self._known = bar, unit, known
        self._tasks: dict[str, TaskID] = {}
        self._newest: TaskID | None = None

    def on_progress(self, what: str, done: float, total: int) -> None:
        """Show how much of a stage is done; a stage that continues an earlier run begins there."""
        if what not in self._tasks:
            for earlier in self._tasks.values():  # a fit may stop before its last epoch
                self._bar.stop_task(earlier)
                self._bar.update(earlier, ended=True)
            unit = UNITS.get(what.rpartition(": ")[2], self._unit)
            self._tasks[what] = self._bar.add_task(
                what, total=total, unit=unit, base=int(done), **self._known.get(what, {})
            )
        self._newest = self._tasks[what]
        self._bar.update(self._newest, completed=done, total=total, ended=False)

    def on_scalar(self, name: str, value: float, _step: int) -> None:
        """Show the loss or NDCG@10 beside the newest stage; other figures are for the results."""
        of, _, key = name.rpartition("/")[2].rpartition(" ")
        if self._newest is not None and key in SHOWN:
            self._bar.update(self._newest, note=f"{of} {metric_name(key)} {value:.4f}".strip())


def training_ends(preset: str, minutes: float | None) -> dict[str, dict[str, Any]]:
    """Return what the options say of the end of a training, by stage, for :class:`StageBars`.

    The fits of the sequence model take nearly all the time. The second one has its own number of
    epochs, over the whole log instead of its first slice.
    """
    from models.training.log_slices import FIT_SHARE
    from models.training.train import FIRST_FIT_SHARE, PRESETS

    training = PRESETS[preset].sequence_training
    first, final = "first fit: sequence model", "final fit: sequence model"
    if minutes is None:
        return {first: {"after": training.refit_epochs / training.epochs / FIT_SHARE}}
    share = (1 - FIRST_FIT_SHARE) / FIRST_FIT_SHARE
    return {
        first: {"limit_s": 60 * minutes * FIRST_FIT_SHARE, "after": share},
        final: {"limit_s": 60 * minutes * (1 - FIRST_FIT_SHARE)},
    }
