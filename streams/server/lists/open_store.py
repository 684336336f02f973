"""Opens the store of lists that the settings name."""

from __future__ import annotations

from pathlib import Path

from streams.errors import SettingsError
from streams.kafka.group_watch import GroupWatch
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.store import FORM, ListStore
from streams.settings.load import Settings


async def open_store(settings: Settings, folder: Path) -> ListStore:
    """Return the store of lists: a shared one, or a RocksDB in a folder.

    A shared store holds deployments apart by the id of their Kafka cluster and the name of their
    topic, and releases by the form of what they put into it.

    Raises
    ------
    SettingsError
        When the client of a shared store is not installed, or the file of its password cannot be
        used.
    RunError
        When the folder cannot be used.
    BrokerError
        When the broker does not answer.
    """
    if not settings.server.serve_store:
        return RocksDbStore(folder / "lists")
    try:
        from streams.server.lists.redis_store import open_redis_store
    except ImportError as exc:
        raise SettingsError(
            "serve_store needs the package redis: install headrace[redis], or leave HEADRACE_SERVE_STORE empty"
        ) from exc
    watch = GroupWatch(settings.kafka, settings.kafka.group("server"))
    try:
        cluster = await watch.cluster_id()
    finally:
        await watch.stop()
    return open_redis_store(settings.server, f"{FORM}:{cluster}:{settings.kafka.topic('recommendations')}")
