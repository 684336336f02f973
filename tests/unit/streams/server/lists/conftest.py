"""Stores of every kind for the tests of ``streams/server/lists``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.streams.server.lists.store_servers import StoreServer


def _server(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Give a server that the tests of this process share: each of them has a key of its own."""
    server = StoreServer(engine, tmp_path_factory.mktemp(engine))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Give a Redis."""
    yield from _server("redis", tmp_path_factory)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    """Give a Valkey."""
    yield from _server("valkey", tmp_path_factory)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[StoreServer]:
    """Give a Valkey that the test may stop."""
    server = StoreServer("valkey", tmp_path)
    yield server
    server.resume()
    server.stop()
