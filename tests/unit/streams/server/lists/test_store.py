"""What every store of lists does: it has a user's newest list, and the offset behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streams.contract.records import Recommendation
from streams.errors import RunError
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.store import ListStore, packed_rank
from tests.unit.streams.server.served import a_list, change, removal

Opens = Callable[[], ListStore]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    """Give a function that opens the same store again after it was closed."""
    return lambda: RocksDbStore(tmp_path / "store")


async def revision(store: ListStore, user_id: str) -> int | None:
    """Return the revision of a user's list; None without one."""
    value = await store.get(user_id.encode())
    return None if value is None else msgspec.msgpack.decode(value, type=Recommendation).revision


def test_a_later_list_takes_the_place_of_an_earlier_one_and_a_repeat_changes_nothing(opens: Opens) -> None:
    """Delivery is at least once: an earlier list may come again after a later one."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 1, [change(0, a_list(revision=1))])
        assert await revision(store, "u") == 1
        await store.apply(0, 3, [change(1, a_list(revision=2)), change(2, a_list(revision=1))])
        assert await revision(store, "u") == 2 and await revision(store, "other") is None
        await store.close()

    asyncio.run(run())


def test_a_removal_takes_the_list_and_a_new_life_begins_at_a_low_revision(opens: Opens) -> None:
    """A forgotten user who comes back has revisions of his own."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 2, [change(0, a_list(revision=9)), removal(1, "u")])
        assert await revision(store, "u") is None
        await store.apply(0, 3, [change(2, a_list(revision=1))])
        assert await revision(store, "u") == 1
        await store.close()

    asyncio.run(run())


def test_a_removal_of_another_partition_leaves_the_list(opens: Opens) -> None:
    """Producers with two partitioners give a user two windows, and each partition its own list."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 1, [change(0, a_list(revision=5))])
        await store.apply(1, 1, [removal(0, "u")])
        assert await revision(store, "u") == 5
        await store.close()

    asyncio.run(run())


def test_what_was_applied_is_there_after_it_is_opened_again_and_is_not_applied_twice(opens: Opens) -> None:
    """List and offset are one step: a kill neither loses a list nor takes a removal twice."""

    async def run() -> None:
        store = opens()
        await store.apply(3, 2, [change(0, a_list(revision=1)), removal(1, "u")])
        await store.apply(3, 3, [change(2, a_list(revision=1, items=["z"]))])
        await store.note("form", "1")
        await store.close()
        again = opens()
        assert await again.offsets() == {3: 3} and await again.notes() == {"form": "1"}
        await again.apply(3, 2, [change(0, a_list(revision=7)), removal(1, "u")])
        assert await revision(again, "u") == 1
        await again.close()

    asyncio.run(run())


def test_only_the_records_behind_the_offset_of_a_batch_count(opens: Opens) -> None:
    """A batch that begins before the known offset was read in part already."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 2, [change(0, a_list(revision=1)), change(1, a_list(revision=2))])
        await store.apply(0, 4, [removal(1, "u"), change(3, a_list("v", revision=1))])
        assert (await revision(store, "u"), await revision(store, "v")) == (2, 1)
        await store.close()

    asyncio.run(run())


def test_a_partition_without_records_has_an_offset_too(opens: Opens) -> None:
    """Else a store of a quiet deployment would be filled anew at each start."""

    async def run() -> None:
        store = opens()
        await store.apply(2, 0, ())
        assert await store.offsets() == {2: 0}
        await store.close()

    asyncio.run(run())


def test_a_removed_list_is_gone_and_a_later_one_is_taken(opens: Opens) -> None:
    """Another user's stays; removing what is not there changes nothing."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 2, [change(0, a_list("u", 5)), change(1, a_list("v", 1))])
        for _ in range(2):
            await store.remove(b"u")
        assert (await revision(store, "u"), await revision(store, "v")) == (None, 1)
        await store.apply(0, 3, [change(2, a_list("u", 1))])
        assert await revision(store, "u") == 1
        await store.close()

    asyncio.run(run())


def test_clear_leaves_nothing(opens: Opens) -> None:
    """A store that cannot be trusted is filled anew."""

    async def run() -> None:
        store = opens()
        await store.apply(0, 1, [change(0, a_list())])
        await store.note("form", "1")
        await store.clear()
        assert (await store.offsets(), await store.notes(), await revision(store, "u")) == ({}, {}, None)
        await store.close()

    asyncio.run(run())


def test_a_full_list_is_news_after_the_provisional_one_of_its_window() -> None:
    """Ranks as bytes sort as the consumer's rule compares."""
    ranks = [
        (-1, -1, False, 0), (0, -1, True, 0), (1, -1, False, 0), (1, -1, True, 0), (1, 4, False, 9), (1, 4, True, 0),
        (300, 0, False, 0),
    ]  # fmt: skip
    assert sorted(map(packed_rank, ranks)) == [packed_rank(rank) for rank in sorted(ranks)]


def test_a_damaged_database_is_made_anew(tmp_path: Path) -> None:
    """The topic has the lists: a server must not stay down for its copy."""

    async def run() -> None:
        store = RocksDbStore(tmp_path)
        await store.apply(0, 1, [change(0, a_list())])
        await store.close()
        (tmp_path / "CURRENT").write_text("nonsense")
        again = RocksDbStore(tmp_path)
        assert await again.offsets() == {} and await again.get(b"u") is None
        await again.close()

    asyncio.run(run())


def test_a_second_server_may_not_use_the_folder_of_the_first(tmp_path: Path) -> None:
    """Nor may it remove its files."""

    async def run() -> None:
        store = RocksDbStore(tmp_path)
        with pytest.raises(RunError, match="another server uses this folder; set HEADRACE_SERVE_DIR"):
            RocksDbStore(tmp_path)
        await store.apply(0, 1, [change(0, a_list())])
        assert await store.get(b"u") is not None
        await store.close()

    asyncio.run(run())
