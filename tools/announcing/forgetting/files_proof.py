"""Reads the files of this machine for forgotten users: stores, caches, logs, replay runs."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from streams.contract.marks import revision_in
from tools.announcing.forgetting.people import Person
from tools.announcing.forgetting.search import Names
from tools.announcing.forgetting.topics_proof import Found, Traces

#: RocksDB's list of files names the first and the last key of each file. A start writes it anew.
LISTS_OF_FILES: Final = "MANIFEST-"
#: The folder of receipts, which keep a digest of the user and no id.
RECEIPTS: Final = "forgotten"
MOST_IDS: Final = 1_000


class Sought:
    """What is looked for in files: the users' names, and the events of their former lives.

    Parameters
    ----------
    traces : whom to look for, and the events that the topics hold of them
    """

    def __init__(self, traces: Traces) -> None:
        self._owners: dict[bytes, list[tuple[Person, frozenset[int]]]] = {}
        for person in traces.people:
            events = sorted(traces.event_ids.get(person.key, ()))[:MOST_IDS]
            for text, beside in (person.in_text() | {one.encode(): frozenset[int]() for one in events}).items():
                self._owners.setdefault(text, []).append((person, beside))
        self._names = Names(frozenset(self._owners))

    def count(self, content: memoryview) -> Counter[Person]:
        """Return how often bytes name each of the users whom they name."""
        found: Counter[Person] = Counter()
        for begin, text in self._names.find(content):
            end = begin + len(text)
            neighbours = {content[at] for at in (begin - 1, end) if 0 <= at < len(content)}
            for person, beside in self._owners[text]:
                found[person] += beside.isdisjoint(neighbours)
        return +found

    def count_in(self, path: Path) -> Counter[Person]:
        """Return how often a file names each of the users; nothing where it is gone by now."""
        try:
            with path.open("rb") as file:
                if not path.stat().st_size:
                    return Counter()
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
                    return self.count(view)
        except (OSError, ValueError):
            return Counter()  # it is gone by now, or is no plain file


def read_files(traces: Traces, folders: Iterable[Path], *, skipped: Collection[Path] = ()) -> int:
    """Note what the files below some folders hold of the users; return how many files were read.

    Parameters
    ----------
    skipped : folders that are left out, such as a local broker's, whose topics were read
    """
    stores: dict[Path, dict[bytes, int]] = {}
    sought, n_files = Sought(traces), 0
    for path in _files(folders, {one.resolve() for one in skipped}):
        n_files += 1
        for person, n in sought.count_in(path).items():
            if _is_store(path.parent) and path.parent not in stores:
                stores[path.parent] = stored_revisions(path.parent, [one.key for one in traces.people])
            traces.add(person, _judge(path, person, traces, stores.get(path.parent), n))
    return n_files


def _files(folders: Iterable[Path], skipped: set[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            real = path.resolve()
            if real in seen or not path.is_file() or path.is_symlink():
                continue
            seen.add(real)
            if not any(real.is_relative_to(one) for one in skipped) and RECEIPTS not in path.parts:
                yield path


def _is_store(folder: Path) -> bool:
    return (folder / "CURRENT").exists()


def _judge(path: Path, person: Person, traces: Traces, store: dict[bytes, int] | None, n: int) -> Found:
    mark = traces.marks.get(person.key)
    what = f"{n} times the id, its short name or an event of the user"
    if store is not None:
        if mark is not None and store.get(person.key, 0) > mark:
            return Found(str(path), "new life", "the window of the user who came back", n=n)
        if path.name.startswith(LISTS_OF_FILES):
            return Found(str(path), "stays", "the id, as the border of a file", "the next start of the worker", n)
    return Found(str(path), "left", what, "you delete the file or the worker rewrites it", n)


def stored_revisions(folder: Path, keys: Iterable[bytes]) -> dict[bytes, int]:
    """Return the revisions of users' windows in a RocksDB store, of those whom it holds.

    The store is opened for reading, beside the worker that has it open.
    """
    import rocksdict

    try:
        options = rocksdict.Options(raw_mode=True)
        store = rocksdict.Rdict(str(folder), options, access_type=rocksdict.AccessType.read_only())
    except Exception:  # rocksdict raises Exception itself: the store is being written, or damaged
        return {}
    try:
        held = {key: store.get(key) for key in keys}
        return {key: revision_in(value) for key, value in held.items() if value is not None}
    finally:
        store.close()


def places(folders: Sequence[str | None]) -> list[Path]:
    """Return the folders that are named and exist."""
    return [Path(one) for one in folders if one and Path(one).exists()]
