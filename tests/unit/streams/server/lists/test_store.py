"""What every store of lists does: it has a user's newest list, and the offset behind it."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from streams.contract.records import Recommendation
from streams.errors import RunError
from streams.server.lists.redis_store import open_redis_store
from streams.server.lists.rocksdb_store import NOTE_EVERY_MS, RocksDbStore
from streams.server.lists.store import FORM, Change, ListStore, Span, StoreLostError, packed_rank
from streams.settings.server import ServerSettings
from tests.unit.streams.server.served import NOW_MS, a_list, begun, change, removal

Opens = Callable[[], ListStore]


@pytest.fixture(params=["rocksdb", "redis", "valkey"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Opens:
    """Give a function that opens the same store again after it was closed."""
    if request.param == "rocksdb":
        return lambda: RocksDbStore(tmp_path / "store")
    server = request.getfixturevalue(f"{request.param}_server")
    settings, name = ServerSettings(serve_store=f"{request.param}://{server.address}"), uuid.uuid4().hex
    return lambda: open_redis_store(settings, name)


async def revision(store: ListStore, user_id: str) -> int | None:
    """Return the revision of a user's list; None without one."""
    value = await store.get(user_id.encode())
    return None if value is None else msgspec.msgpack.decode(value, type=Recommendation).revision


def test_a_later_list_takes_the_place_of_an_earlier_one_and_a_repeat_changes_nothing(opens: Opens) -> None:
    """Delivery is at least once: an earlier list may come again after a later one."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 1), [change(0, a_list(revision=1))])
        assert await revision(store, "u") == 1
        await store.apply(Span(0, 1, 3), [change(1, a_list(revision=2)), change(2, a_list(revision=1))])
        assert await revision(store, "u") == 2 and await revision(store, "other") is None
        await store.close()

    asyncio.run(run())


def test_a_removal_takes_the_list_and_a_new_life_begins_at_a_low_revision(opens: Opens) -> None:
    """A forgotten user who comes back has revisions of his own."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 2), [change(0, a_list(revision=9)), removal(1, "u")])
        assert await revision(store, "u") is None
        await store.apply(Span(0, 2, 3), [change(2, a_list(revision=1))])
        assert await revision(store, "u") == 1
        await store.close()

    asyncio.run(run())


def test_a_removal_of_another_partition_leaves_the_list(opens: Opens) -> None:
    """Producers with two partitioners give a user two windows, and each partition its own list."""

    async def run() -> None:
        store = await begun(opens(), 2)
        await store.apply(Span(0, 0, 1), [change(0, a_list(revision=5))])
        await store.apply(Span(1, 0, 1), [removal(0, "u")])
        assert await revision(store, "u") == 5
        await store.close()

    asyncio.run(run())


def test_what_was_applied_is_there_after_it_is_opened_again_and_is_not_applied_twice(opens: Opens) -> None:
    """List and offset are one step: a kill neither loses a list nor takes a removal twice."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 2), [change(0, a_list(revision=1)), removal(1, "u")])
        await store.apply(Span(0, 2, 3), [change(2, a_list(revision=1, items=["z"]))])
        await store.close()
        again = opens()
        state = await again.state()
        assert state.offsets == {0: 3} and state.form == FORM
        again.follow(state.life)
        await again.apply(Span(0, 0, 2), [change(0, a_list(revision=7)), removal(1, "u")])
        assert await revision(again, "u") == 1
        await again.close()

    asyncio.run(run())


def test_only_the_records_behind_the_offset_of_a_batch_count(opens: Opens) -> None:
    """A batch that begins before the known offset was read in part already."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 2), [change(0, a_list(revision=1)), change(1, a_list(revision=2))])
        await store.apply(Span(0, 1, 4), [removal(1, "u"), change(3, a_list("v", revision=1))])
        assert (await revision(store, "u"), await revision(store, "v")) == (2, 1)
        await store.close()

    asyncio.run(run())


def test_records_that_were_passed_over_are_missed(opens: Opens) -> None:
    """A store that was emptied, or is an older copy, must not look as if it had everything."""

    async def run() -> None:
        store = await begun(opens(), 2)
        for spans in ([Span(0, 1, 2)], [Span(2, 0, 0)], [Span(0, 0, 5), Span(1, 1, 5)]):
            with pytest.raises(StoreLostError):
                await store.keep(spans, is_complete=True)
        with pytest.raises(StoreLostError):
            await store.apply(Span(0, 1, 2), [change(1, a_list())])
        assert (await store.state()).offsets == {0: 0, 1: 0} and await revision(store, "u") is None
        await store.close()

    asyncio.run(run())


def test_a_store_says_how_far_it_is_and_since_when(opens: Opens) -> None:
    """A store that never had all of the topic says so, and a fresh one that it has nothing."""

    async def run() -> None:
        store = opens()
        assert await store.state() == ("", "", {}, None, None)
        await store.begin("", {0: 7, 1: 0})
        state = await store.state()
        store.follow(state.life)
        assert (state.form, state.offsets, state.followed_ago_ms) == (FORM, {0: 7, 1: 0}, None)
        assert state.life and state.filled_ago_ms is not None and 0 <= state.filled_ago_ms < 60_000
        await store.close()
        store = opens()
        store.follow(state.life)
        await store.keep([Span(0, 7, 9), Span(1, 0, 0)], is_complete=True)
        after = await store.state()
        assert after.life == state.life and after.offsets == {0: 9, 1: 0}
        assert after.followed_ago_ms is not None and 0 <= after.followed_ago_ms < 60_000
        await store.close()

    asyncio.run(run())


def test_a_list_of_a_former_life_is_gone_and_one_of_a_later_life_stays(opens: Opens) -> None:
    """Another user's stays; removing what is not there changes nothing."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 2), [change(0, a_list("u", 256)), change(1, a_list("v", 1))])
        await store.remove(b"u", 255)
        assert (await revision(store, "u"), await revision(store, "v")) == (256, 1)
        for _ in range(2):
            await store.remove(b"u", 256)
        assert (await revision(store, "u"), await revision(store, "v")) == (None, 1)
        await store.apply(Span(0, 2, 3), [change(2, a_list("u", 1))])
        assert await revision(store, "u") == 1 and await store.count() >= 2
        await store.remove(b"u", 10**15)
        await store.scrub([b"u"])
        assert (await revision(store, "u"), await revision(store, "v")) == (None, 1)
        await store.close()

    asyncio.run(run())


def test_a_new_life_leaves_nothing_of_the_one_before(opens: Opens) -> None:
    """A store that cannot be trusted is filled anew."""

    async def run() -> None:
        store = await begun(opens())
        await store.apply(Span(0, 0, 1), [change(0, a_list())])
        await store.keep([Span(0, 1, 1)], is_complete=True)
        await store.begin((await store.state()).life, {0: 4, 1: 2})
        state = await store.state()
        store.follow(state.life)
        assert (state.offsets, state.followed_ago_ms, await revision(store, "u")) == ({0: 4, 1: 2}, None, None)
        await store.close()

    asyncio.run(run())


def test_every_store_comes_to_the_same_lists_whatever_the_pieces(opens: Opens, tmp_path: Path) -> None:
    """Ranks have every byte; lists and removals of two partitions come in pieces that overlap."""
    rng = random.Random(7)
    numbers = [0, 1, 127, 128, 255, 256, 2**31, 2**40]

    def a_change(offset: int) -> Change:
        key = rng.choice([b"u", b"ife", b"\xff\x00", "小".encode()])
        if rng.random() < 0.2:
            return Change(offset, key, b"", None)
        rank = packed_rank((rng.choice(numbers), rng.choice(numbers) - 1, rng.random() < 0.5, rng.choice(numbers)))
        return Change(offset, key, rank, rng.randbytes(rng.choice([1, 40])))

    async def run() -> None:
        stores = [await begun(RocksDbStore(tmp_path / "other"), 2), await begun(opens(), 2)]
        read = {0: 0, 1: 0}
        for _ in range(120):
            partition = rng.randrange(2)
            first = max(0, read[partition] - rng.randrange(3))
            end = read[partition] + rng.randrange(1, 4)
            changes = [a_change(offset) for offset in range(first, end)]
            read[partition] = end
            for store in stores:
                await store.apply(Span(partition, first, end), changes)
            for key in (b"u", b"ife", b"\xff\x00", "小".encode()):
                assert await stores[1].get(key) == await stores[0].get(key)
        for store in stores:
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
        store = await begun(RocksDbStore(tmp_path))
        await store.apply(Span(0, 0, 1), [change(0, a_list())])
        await store.close()
        (tmp_path / "CURRENT").write_text("nonsense")
        again = RocksDbStore(tmp_path)
        assert (await again.state()).life == "" and await again.get(b"u") is None
        await again.close()

    asyncio.run(run())


def test_a_second_server_may_not_use_the_folder_of_the_first(tmp_path: Path) -> None:
    """Nor may it remove its files."""

    async def run() -> None:
        store = await begun(RocksDbStore(tmp_path))
        with pytest.raises(RunError, match="another server uses this folder; set HEADRACE_SERVE_DIR"):
            RocksDbStore(tmp_path)
        await store.apply(Span(0, 0, 1), [change(0, a_list())])
        assert await store.get(b"u") is not None
        await store.close()

    asyncio.run(run())


def test_a_database_notes_now_and_then_that_it_is_followed(tmp_path: Path) -> None:
    """Each note counts as a list in the estimate until files are merged."""
    now_ms = NOW_MS

    async def run() -> None:
        nonlocal now_ms
        store = await begun(RocksDbStore(tmp_path, lambda: now_ms / 1000))
        for _ in range(3):
            await store.keep([Span(0, 0, 0)], is_complete=True)
            now_ms += NOTE_EVERY_MS // 3
        assert (await store.state()).followed_ago_ms is None
        await store.keep([Span(0, 0, 0)], is_complete=True)
        assert (await store.state()).followed_ago_ms == 0
        await store.close()

    asyncio.run(run())
