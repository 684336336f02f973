"""The engine follows the settings; what it cannot do without is refused before a worker serves."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from streams.catalogue.index_engine import open_index_engine, report, worker_name
from streams.errors import SettingsError
from streams.health.counters import Metrics
from streams.settings.load import RecommenderSettings, load_settings

HERE = "http://127.0.0.1:6333"


def test_without_an_address_each_worker_searches_itself() -> None:
    assert open_index_engine(RecommenderSettings(), "worker", "a1") is None


def test_the_engine_has_the_settings() -> None:
    """Address, deadline, and a name that no other worker of the machine has."""
    settings = load_settings({"HEADRACE_INDEX_ENGINE": HERE, "HEADRACE_INDEX_ENGINE_TIMEOUT_MS": "70"})
    engine = open_index_engine(settings.recommender, worker_name("shop.", 6067), "a1")
    assert engine is not None and engine.timeout_s == 0.07 and engine.problem == ""
    assert re.fullmatch(r"shop\.headrace-[\w.-]+-6067", engine.name)
    assert len(worker_name("x" * 200, 65_535)) <= 100


def test_the_key_comes_from_a_private_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    key.chmod(0o644)
    settings = RecommenderSettings(index_engine=HERE, index_engine_key_file=str(key))
    with pytest.raises(SettingsError, match="index_engine_key_file"):
        open_index_engine(settings, "worker", "a1")
    key.chmod(0o600)
    with pytest.warns(UserWarning, match="insecure connection"):  # on this machine alone
        assert open_index_engine(settings, "worker", "a1") is not None


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(SettingsError, match=r"needs the package qdrant-client: install headrace\[qdrant\]"):
        open_index_engine(RecommenderSettings(index_engine=HERE), "worker", "a1")


@pytest.mark.parametrize(
    "given, why",
    [
        ({"index_engine": "qdrant:6333"}, r"index_engine='\*\*\*' must be http"),
        ({"index_engine": "http://ann:pw@qdrant:6333"}, r"index_engine='\*\*\*' must be http.*index_engine_key_file"),
        ({"index_engine": "http://qdrant:6333", "index_engine_key_file": "k"}, "https:// where index_engine_key_file"),
        ({"index_engine": HERE, "index_engine_timeout_ms": 5}, "index_engine_timeout_ms=5 must be a whole number"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError, match=why) as refused:
        RecommenderSettings(**given)  # type: ignore[arg-type]
    assert "pw" not in str(refused.value)


def test_failures_are_on_the_pages() -> None:
    """The gauge follows the engine's count."""
    engine = open_index_engine(RecommenderSettings(index_engine=HERE), "worker", "a1")
    assert engine is not None
    engine.note_failure("away")
    metrics = Metrics()

    async def run() -> None:
        task = asyncio.ensure_future(report(engine, metrics))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    assert metrics.values["index_engine_failures"] == 1
