"""Workers of a machine hold the rows of a rebuild once, and make the lists of private rows."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.ranking.catalogue import Catalogue, rebuild
from models.ranking.catalogue.shared_rows import SHARED, SharedRows
from models.ranking.catalogue.store import CatalogueStore, Entry
from models.text.encoder import FakeEncoder
from tests.support.tiny_models import artifact

pytestmark = pytest.mark.model
IDS = [f"new-{number:04}" for number in range(600)]
ROOT = Path(__file__).parents[4]


def entry(item_id: str, text: str) -> Entry:
    """Return an item whose vector follows from a text."""
    return Entry(item_id, {}, FakeEncoder(16).encode([text])[0], text_key=text.rjust(16)[-16:].encode())


def opened(folder: Path | None, least: int = 100) -> CatalogueStore:
    """Return a store with some items, not rebuilt."""
    store = CatalogueStore(artifact(), sharing=None if folder is None else SharedRows(folder, least))
    store.apply([entry(item_id, item_id) for item_id in IDS])
    return store


def change(store: CatalogueStore, number: int) -> None:
    """Change, add, withdraw and hide items."""
    store.apply([entry(IDS[number], f"text {number}"), entry(f"later {number}", "later")], removed=[IDS[-1 - number]])
    store.show({IDS[number + 100]: False})


def bits(catalogue: Catalogue) -> dict[str, bytes]:
    """Return every array by row of a snapshot, and what a search over it finds."""
    n = len(catalogue.is_shown)
    found = {name: array[:n].tobytes() for name, array in catalogue.rows.arrays.items()}
    queries = np.random.default_rng(1).standard_normal((5, catalogue.vectors.shape[1]), dtype=np.float32)
    rows, scores = catalogue.index.search(queries, 30)
    for name in ("vectors", "unit", "text_unit", "factors", "features", "known", "is_shown"):
        found[f"snapshot {name}"] = getattr(catalogue, name).tobytes()
    return found | {"rows": rows.tobytes(), "scores": scores.tobytes(), "keys": catalogue.rows.keys[:n].tobytes()}


def names(folder: Path) -> set[str]:
    """Return the names of the files of a folder."""
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("exact_up_to", [50_000, 100])
def test_shared_rows_have_the_bits_of_private_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact_up_to: int
) -> None:
    """After the first rebuild, with a tail, and after the next rebuild; in both workers."""
    monkeypatch.setattr(rebuild, "EXACT_UP_TO", exact_up_to)
    private, workers = opened(None), [opened(tmp_path), opened(tmp_path)]
    for store in (private, *workers):
        store.rebuild_now()
    files = names(tmp_path)
    assert len(files) == len([name for name in SHARED if private.rows.arrays[name].nbytes]) + 1
    for number in range(3):
        snapshots = [store.snapshot() for store in (private, *workers)]
        wanted = bits(snapshots[0])
        assert all(bits(snapshot) == wanted for snapshot in snapshots[1:])
        for store in (private, *workers):
            change(store, number)
    assert names(tmp_path) == files
    for store in (private, *workers):
        store.rebuild_now()
    wanted = bits(private.snapshot())
    assert all(bits(store.snapshot()) == wanted for store in workers)


def test_rows_written_later_are_one_workers_own(tmp_path: Path) -> None:
    """Two workers that read other changes after equal rebuilds do not see each other's."""
    one, other = opened(tmp_path), opened(tmp_path)
    one.rebuild_now()
    other.rebuild_now()
    n = one.rows.n
    one.apply([entry("mine", "mine")])
    other.apply([entry("yours", "yours")])
    assert one.rows.arrays["vectors"][n].tobytes() != other.rows.arrays["vectors"][n].tobytes()
    private = opened(None)
    private.rebuild_now()
    private.apply([entry("mine", "mine")])
    assert bits(one.snapshot()) == bits(private.snapshot())


def test_a_snapshot_outlives_its_file(tmp_path: Path) -> None:
    """A list that began before a rebuild ends with the rows that it began with."""
    store = opened(tmp_path)
    store.rebuild_now()
    before, files = store.snapshot(), names(tmp_path)
    wanted = bits(before)
    for path in tmp_path.iterdir():
        path.unlink()
    change(store, 1)
    store.rebuild_now()
    assert bits(before) == wanted and not names(tmp_path) & files
    del before
    store.snapshot()
    store.rebuild_now()  # nothing changed: the files are those of the rebuild before
    assert not names(tmp_path) & files


def test_the_files_of_earlier_rebuilds_go(tmp_path: Path) -> None:
    """The rebuild before the last one is held by nobody."""
    store = opened(tmp_path)
    seen: list[set[str]] = []
    for number in range(4):
        change(store, number)
        store.rebuild_now()
        store.snapshot()
        seen.append(names(tmp_path))
    assert not seen[0] & seen[3] and len(seen[3]) <= 2 * len(seen[0])


def test_rows_beyond_the_room_are_copied_into_private_memory(tmp_path: Path) -> None:
    """Arrays that grow leave the file; the next rebuild shares again."""
    store, private = opened(tmp_path), opened(None)
    for each in (store, private):
        each.rebuild_now()
        each.apply([entry(f"more {number}", f"more {number}") for number in range(each.rows.capacity)])
    assert store.rows.arrays["vectors"].flags.owndata
    assert bits(store.snapshot()) == bits(private.snapshot())
    for each in (store, private):
        each.rebuild_now()
    assert not store.rows.arrays["vectors"].flags.owndata
    assert bits(store.snapshot()) == bits(private.snapshot())


def test_a_small_catalogue_needs_no_folder(tmp_path: Path) -> None:
    """Files of it would save less than they cost."""
    store = opened(tmp_path / "folder", least=10_000)
    store.rebuild_now()
    assert store.rows.arrays["vectors"].flags.owndata and not (tmp_path / "folder").exists()


def test_a_folder_that_cannot_be_used_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The lists are those of private memory; the message names folder, cause and remedy."""
    (tmp_path / "folder").write_text("a file")
    store, private = opened(tmp_path / "folder"), opened(None)
    with caplog.at_level(logging.WARNING):
        for number in range(2):
            for each in (store, private):
                change(each, number)
                each.rebuild_now()
            assert bits(store.snapshot()) == bits(private.snapshot())
    (message,) = [record.getMessage() for record in caplog.records if "catalogue" in record.getMessage()]
    assert str(tmp_path / "folder") in message and "HEADRACE_ENCODER_CACHE_DIR" in message


HOLD = """
import sys
from pathlib import Path
import numpy as np
from models.ranking.catalogue.shared_rows import SharedRows
from models.ranking.catalogue.store import CatalogueStore, Entry
from tests.support.tiny_models import artifact
store = CatalogueStore(artifact(), sharing=SharedRows(Path(sys.argv[1])))
texts = np.random.default_rng(1).standard_normal((60_000, 16), dtype=np.float32)
store.apply([Entry(f"i{row:06}", {}, text) for row, text in enumerate(texts)])
plan = store.plan()
store.finish(plan.build())
print(store.rows.arrays["vectors"].ctypes.data, store.rows.arrays["vectors"][:60_000].nbytes, flush=True)
sys.stdin.read()
"""


def held_kb(pid: int, address: int) -> dict[str, int]:
    """Return what the system says of one mapping of a process, in kB."""
    lines = iter(Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines())
    next(line for line in lines if line.startswith(f"{address:x}-"))
    found: dict[str, int] = {}
    for line in lines:
        if not line.endswith(" kB"):
            break
        found[line.split()[0].rstrip(":")] = int(line.split()[1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how many processes hold a page")
def test_two_processes_hold_each_page_once(tmp_path: Path) -> None:
    """Of the rows of a rebuild each process has about half by proportion, and none of its own."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    try:
        held = []
        for process in processes:
            assert process.stdout is not None
            address, n_bytes = map(int, process.stdout.readline().split())
            held.append((process.pid, address, n_bytes // 1024))
        for pid, address, size_kb in held:
            found = held_kb(pid, address)
            assert found["Rss"] > 0.9 * size_kb
            assert 0.4 * size_kb < found["Pss"] < 0.6 * size_kb
            assert found["Private_Dirty"] + found["Private_Clean"] < 0.05 * size_kb
    finally:
        for process in processes:
            process.kill()
            process.communicate()
