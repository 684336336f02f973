"""A recommender whose model a drill can slow, hang, crash or make give NaN.

``faust -A tools.drills.faulty_model worker`` runs the same app as ``streams.recommender``. Only the
answers of its pipeline pass through this module. The JSON file that ``HEADRACE_DRILL_FAULTS`` names
says what is wrong with the model. The app reads it on each call; a missing file means no fault::

    {"mode": "none"}                     no fault
    {"mode": "slow", "factor": 100}      each call takes 100 times its processor time
    {"mode": "hang"}                     a call ends when the file names another mode
    {"mode": "crash"}                    every call raises
    {"mode": "nan", "item_id": "i7"}     scores are not finite for users whose window holds the item
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np

from models.base.types import Behaviour
from models.files.atomic import replace_file
from models.ranking.lists import RankedBatch
from streams.errors import SettingsError
from streams.recommender.agent import build_recommender
from streams.runtime.app import StreamApp, start_app
from streams.settings.load import Settings

VARIABLE: Final = "HEADRACE_DRILL_FAULTS"
POLL_S: Final = 0.05
Recommend = Callable[..., RankedBatch]


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """What is wrong with the model now."""

    mode: Literal["none", "slow", "hang", "crash", "nan"] = "none"
    factor: Annotated[float, msgspec.Meta(ge=1)] = 1.0
    item_id: str = ""


class InjectedError(Exception):
    """The error of a model that a drill has crashed."""


def read_fault(path: Path) -> Fault:
    """Return the fault in a file; a missing file means no fault.

    Raises
    ------
    SettingsError
        When the file holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Fault)
    except FileNotFoundError:
        return Fault()
    except msgspec.DecodeError as exc:
        raise SettingsError(f"{path}: not a fault: {exc}; see tools/drills/faulty_model.py for the form") from exc


def write_fault(path: Path, fault: Fault) -> None:
    """Replace the file by one that holds this fault."""
    replace_file(path, msgspec.json.encode(fault))


def with_faults(recommend: Recommend, path: Path) -> Recommend:
    """Return ``Pipeline.recommend`` with the fault that a file names at each call."""

    def faulty(catalogue: Any, windows: Sequence[Sequence[Behaviour]], *args: Any, **kwargs: Any) -> RankedBatch:
        fault = read_fault(path)
        while fault.mode == "hang":
            time.sleep(POLL_S)
            fault = read_fault(path)
        if fault.mode == "crash":
            raise InjectedError("the drill has crashed the model")
        began_s = time.thread_time()
        lists = recommend(catalogue, windows, *args, **kwargs)
        if fault.mode == "slow":
            time.sleep((fault.factor - 1) * (time.thread_time() - began_s))
        if fault.mode == "nan":
            is_spoilt = [any(b.item_id == fault.item_id for b in window) for window in windows]
            lists = dataclasses.replace(
                lists, scores=np.where(np.array(is_spoilt)[:, None], np.float32(np.nan), lists.scores)
            )
        return lists

    return faulty


def build_faulty_recommender(settings: Settings) -> StreamApp:
    """Return the recommender's app with a model that obeys the fault file; connect to nothing."""
    name = os.environ.get(VARIABLE)
    if not name:
        raise SettingsError(f"{VARIABLE} is not set: name the JSON file with the fault")
    app = build_recommender(settings)
    recommender: Any = app.serving
    start = recommender.start

    async def start_with_faults() -> None:
        await start()
        pipeline = recommender.collector.maker.served.model.pipeline
        pipeline.recommend = with_faults(pipeline.recommend, Path(name))

    recommender.start = start_with_faults
    return app


def __getattr__(name: str) -> Any:
    """Build the app when the Faust command asks for it."""
    if name != "app":
        raise AttributeError(name)
    globals()["app"] = app = start_app(build_faulty_recommender)
    return app
