"""The follower of lists: what it takes from records, and when it trusts the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.contract.records import encode
from streams.errors import StoreError
from streams.server.lists.follower import MAX_FILLING_GAP_MS, MAX_GAP_MS, ListFollower, distrust
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.store import Change, Span, State
from streams.settings.load import KafkaSettings
from tests.unit.streams.server.served import a_list, begun


def record(offset: int, key: bytes | None, value: bytes | None) -> Any:
    return SimpleNamespace(topic="recommendations", partition=0, offset=offset, key=key, value=value)


def test_lists_removals_and_nonsense(tmp_path: Path) -> None:
    """Nonsense is counted and passed over: the lists behind it are taken."""

    async def run() -> None:
        store = await begun(RocksDbStore(tmp_path))
        counted: dict[str, int] = {}

        def count(name: str, n: int) -> None:
            counted[name] = counted.get(name, 0) + n

        told: list[bytes] = []
        follower = ListFollower(KafkaSettings(), store, lambda changes: told.extend(one.key for one in changes), count)
        await follower.take(0, [
            record(0, b"u", encode(a_list("u"))),
            record(1, b"u", b"no list"),
            record(2, None, encode(a_list("u", 2))),
            record(3, b"v", encode(a_list("v"), as_json=True)),
            record(4, b"w", None),
        ])  # fmt: skip
        assert await store.get(b"u") == encode(a_list("u"))
        assert await store.get(b"v") == encode(a_list("v")), "JSON is kept as msgpack"
        assert counted == {"lists_read": 5, "lists_malformed": 2} and told == [b"u", b"v", b"w"]
        assert (await store.state()).offsets == {0: 5}
        await store.close()

    asyncio.run(run())


def test_a_list_of_a_former_life_never_enters_the_store(tmp_path: Path) -> None:
    """The topic may still have it, and a piece may be on its way when the request comes."""

    async def run() -> None:
        store, marks = await begun(RocksDbStore(tmp_path)), {b"u": 5}
        follower = ListFollower(
            KafkaSettings(), store, is_former=lambda key, revision: revision <= marks.get(key, -1)
        )  # fmt: skip
        await follower.take(0, [record(n, key.encode(), encode(a_list(key, 5))) for n, key in enumerate("uvw")])
        assert await store.get(b"u") is None and await store.get(b"v") is not None
        assert (await store.state()).offsets == {0: 3}
        await follower.take(0, [record(3, b"u", encode(a_list("u", 6)))])
        assert await store.get(b"u") == encode(a_list("u", 6)), "the user came back"

        apply, is_reached, may_go = store.apply, asyncio.Event(), asyncio.Event()

        async def slow(span: Span, changes: Sequence[Change]) -> None:
            is_reached.set()
            await may_go.wait()
            await apply(span, changes)

        store.apply = slow  # type: ignore[method-assign]
        taking = asyncio.create_task(follower.take(0, [record(4, b"v", encode(a_list("v", 6)))]))
        await is_reached.wait()
        marks[b"v"] = 9
        removing = asyncio.create_task(follower.remove(b"v", 9))
        await asyncio.sleep(0)
        may_go.set()
        await asyncio.gather(taking, removing)
        assert await store.get(b"v") is None
        await store.close()

    asyncio.run(run())


def test_a_piece_that_is_tried_again_lacks_the_user_who_was_forgotten_meanwhile(tmp_path: Path) -> None:
    async def run() -> None:
        store, marks = await begun(RocksDbStore(tmp_path)), dict[bytes, int]()
        follower = ListFollower(
            KafkaSettings(), store, is_former=lambda key, revision: revision <= marks.get(key, -1)
        )  # fmt: skip
        apply = store.apply

        async def fails_once(span: Span, changes: Sequence[Change]) -> None:
            store.apply = apply  # type: ignore[method-assign]
            marks[b"u"] = 5
            raise StoreError("away")

        store.apply = fails_once  # type: ignore[method-assign]
        await follower.take(0, [record(n, key.encode(), encode(a_list(key, 5))) for n, key in enumerate("uv")])
        assert await store.get(b"u") is None and await store.get(b"v") is not None
        await store.close()

    asyncio.run(run())


GOOD = State("life", "1", {0: 5, 1: 7}, 1_000, None)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (GOOD, ""),
        (State(), "another form"),
        (GOOD._replace(form="0"), "another form"),
        (GOOD._replace(offsets={0: 5}), "knows 1 partitions of 2"),
        (GOOD._replace(followed_ago_ms=None), "removals may be missed"),
        (GOOD._replace(followed_ago_ms=MAX_GAP_MS + 1), "removals may be missed"),
        (GOOD._replace(followed_ago_ms=-1), "removals may be missed"),
        (GOOD._replace(followed_ago_ms=None, filled_ago_ms=MAX_FILLING_GAP_MS), ""),
        (GOOD._replace(followed_ago_ms=None, filled_ago_ms=MAX_FILLING_GAP_MS + 1), "removals may be missed"),
        (GOOD._replace(offsets={0: 1, 1: 7}), "partition 0 were deleted"),
        (GOOD._replace(offsets={0: 5, 1: 11}), "made anew"),
    ],
)
def test_a_store_is_trusted_only_where_no_removal_can_be_missing(state: State, why: str) -> None:
    """Two partitions, of which the first begins at 2 and both end at 10."""
    found = distrust(state, {0: 2, 1: 0}, {0: 10, 1: 10})
    assert why in found and bool(why) == bool(found)
