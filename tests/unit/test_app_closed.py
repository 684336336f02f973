"""What a worker shows and obeys: its own pages on loopback, its own settings, nothing of Faust's."""

from __future__ import annotations

import pytest

from streams.app import build_app
from streams.sequencer import build_sequencer
from streams.settings import Settings


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
