"""Faults for drills: the file decides, on every call."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from models.ranking.pipeline import Pipeline
from streams.errors import SettingsError
from streams.settings.load import load_settings
from tests.support import tiny_models
from tools.drills.faulty_model import (
    VARIABLE,
    Fault,
    InjectedError,
    build_faulty_recommender,
    read_fault,
    with_faults,
    write_fault,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the file with the fault."""
    return tmp_path / "fault.json"


def test_the_file_decides_on_every_call(path: Path) -> None:
    """None, crash, nan and none again, in one process."""
    recommend = with_faults(Pipeline(tiny_models.artifact()).recommend, path)
    windows = [tiny_models.window("i01", "i02"), tiny_models.window("i03")]
    expected = recommend(tiny_models.catalogue(), windows)
    write_fault(path, Fault("crash"))
    with pytest.raises(InjectedError):
        recommend(tiny_models.catalogue(), windows)
    write_fault(path, Fault("nan", item_id="i03"))
    sound, spoilt = recommend(tiny_models.catalogue(), windows)
    assert all(math.isfinite(item.score) for item in sound.items)
    assert spoilt.items and all(math.isnan(item.score) for item in spoilt.items)
    write_fault(path, Fault())
    assert [made.items for made in recommend(tiny_models.catalogue(), windows)] == [made.items for made in expected]


def test_a_hang_ends_with_the_fault(path: Path) -> None:
    """The call lasts as long as the fault."""
    write_fault(path, Fault("hang"))
    recommend = with_faults(cast(Any, lambda *_: []), path)
    call = threading.Thread(target=recommend, args=(None, []))
    call.start()
    call.join(0.2)
    assert call.is_alive()
    write_fault(path, Fault())
    call.join(10)
    assert not call.is_alive()


def test_a_file_that_is_no_fault_is_an_error(path: Path) -> None:
    """A misspelt mode would be a drill that tests nothing."""
    path.write_text('{"mode": "slwo"}')
    with pytest.raises(SettingsError, match="fault.json"):
        read_fault(path)


def test_without_the_variable_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a fault file the module does not run."""
    with pytest.raises(SettingsError, match=VARIABLE):
        build_faulty_recommender(load_settings({}, file=Path("none.toml")))
