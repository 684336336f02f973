"""The proof reads a server's stores record by record, and an erased user leaves no byte in them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.contract.records import User, encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.server.lists.records import KeptRecords, forget_user
from streams.server.lists.rocksdb_store import RocksDbStore
from streams.server.lists.store import Span
from tests.unit.streams.server.served import NOW_MS, a_list, begun, change
from tools.announcing.forgetting.files_proof import read_files
from tools.announcing.forgetting.people import Person
from tools.announcing.forgetting.topics_proof import Traces

USER, MARK = "user-of-before", NOW_MS


def traces_in(folder: Path) -> list[tuple[str, str, str]]:
    """Return place, kind and end of each trace of the user, other users' apart."""
    traces = Traces([Person(USER, USER)], marks={USER.encode(): MARK})
    assert read_files(traces, [folder]) > 0
    return sorted({(Path(one.place).name, one.kind, one.until) for one in traces.found.get(USER, ())})


def fill(folder: Path, revision: int, written_ms: int) -> tuple[RocksDbStore, KeptRecords]:
    """Give a server's stores with the user's list, window and record, among many others."""
    store, records = RocksDbStore(folder / "lists"), KeptRecords(folder / "records")
    item = WindowItem(NOW_MS, "e", "a", "view")
    window = WindowState(1, revision, NOW_MS, [item], Trigger("e", NOW_MS, 0))
    changes = [change(n, a_list(f"other-{n:04}", 1)) for n in range(300)]

    async def put() -> None:
        await (await begun(store)).apply(Span(0, 0, 301), [*changes, change(300, a_list(USER, revision))])

    asyncio.run(put())
    records.put("windows", USER.encode(), encode(window), written_ms)
    records.put("users", USER.encode(), encode(User(1, USER, {"age": 3.0})), written_ms)
    return store, records


def test_a_copy_of_a_former_life_is_left_and_one_of_a_later_life_is_not(tmp_path: Path) -> None:
    """While the server runs; it says what, and when it goes."""
    until = "the server that uses the folder has read the request, at its next start at the latest"
    for revision, written_ms, kind, end in ((3, MARK, "left", until), (MARK + 2, MARK + 1, "new life", "")):
        folder = tmp_path / kind
        store, records = fill(folder, revision, written_ms)
        found = traces_in(folder)
        assert ("lists", kind, end) in found and ("records", kind, end) in found
        assert kind == "left" or {one[1] for one in found} <= {kind, "stays"}
        asyncio.run(store.close())
        records.close()


def test_an_erased_user_leaves_no_byte(tmp_path: Path) -> None:
    store, records = fill(tmp_path, 3, MARK)

    async def erase() -> None:
        await store.remove(USER.encode(), MARK)
        await store.scrub([USER.encode()])

    asyncio.run(erase())
    forget_user(records, USER.encode(), MARK)
    records.put("windows", USER.encode(), None)
    records.scrub([USER.encode()])
    assert [one for one in traces_in(tmp_path) if one[1] != "stays"] == []
    assert asyncio.run(store.get(b"other-0007")) is not None
    asyncio.run(store.close())
    records.close()
