"""A worker shows its own pages on loopback and obeys its own settings.

It shows and obeys nothing of Faust's.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streams.runtime.app import build_app, is_loopback
from streams.sequencer.agent import build_sequencer
from streams.settings.load import Settings, load_settings


def test_the_environment_cannot_open_the_pages_or_change_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust reads sixty variables of its own, which win over what an app sets."""
    hostile = {"WEB_BIND": "0.0.0.0", "BROKER_URL": "kafka://elsewhere:1", "APP_VALUE_SERIALIZER": "pickle"}  # noqa: S104
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    app = build_app("sequencer", Settings(), changelog="sequences", batch_max_records=1, batch_max_bytes=65_536)
    assert (app.conf.web_bind, app.conf.value_serializer) == ("127.0.0.1", "json")
    assert [str(url) for url in app.conf.broker] == ["aiokafka://127.0.0.1:9092"]


def test_faust_shows_no_pages_of_its_own() -> None:
    """Its table pages list the keys, which are user ids, and show the windows."""
    web = build_sequencer(Settings()).web
    names = [str(blueprint) for _, blueprint in web.blueprints._enabled]
    assert names == ["faust.web.apps.production_index:blueprint"], "an empty page"


def test_the_pages_bind_where_a_setting_says() -> None:
    """Beyond loopback only by a setting of ours, and each app on a port of its own."""
    settings = load_settings({"HEADRACE_WEB_BIND": "0.0.0.0"}, file=Path("/nonexistent"))  # noqa: S104
    options = {"changelog": "sequences", "batch_max_records": 1, "batch_max_bytes": 65_536}
    sequencer = build_app("sequencer", settings, **options)  # type: ignore[arg-type]
    recommender = build_app("recommender", Settings(), **options)  # type: ignore[arg-type]
    assert (sequencer.conf.web_bind, sequencer.conf.web_port) == ("0.0.0.0", 6066)  # noqa: S104
    assert (recommender.conf.web_bind, recommender.conf.web_port) == ("127.0.0.1", 6067)


@pytest.mark.parametrize(
    ("host", "is_safe"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.1.2.3", False),
        ("pod", False),
    ],  # noqa: S104
)
def test_only_loopback_needs_no_warning(host: str, is_safe: bool) -> None:
    """A name may stand for any address."""
    assert is_loopback(host) is is_safe


@pytest.mark.parametrize("is_open", [True, False])
def test_open_pages_are_warned_of(is_open: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody who opens them is left to think that they are protected."""
    settings = load_settings({"HEADRACE_WEB_BIND": "::" if is_open else "::1"}, file=tmp_path / "none")
    app = build_app("sequencer", settings, changelog="sequences", batch_max_records=1, batch_max_bytes=65_536)
    warned: list[str] = []
    monkeypatch.setattr(app.log, "warning", lambda text, *values: warned.append(text % values))

    async def nothing(*_: object) -> None:
        """Connect to nothing."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streams.runtime.app.prepare", nothing)
    monkeypatch.setattr(app.health, "start", nothing)
    monkeypatch.setattr("streams.runtime.app.keep_for_good", lambda: None)
    asyncio.run(app._get_ready())
    assert warned == (["everybody who reaches :::6066 can read the pages: no token protects them"] if is_open else [])
