"""Reads files of this machine for forgotten users: stores of workers and servers, caches, logs."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tools.announcing.forgetting.people import Person
from tools.announcing.forgetting.search import Names
from tools.announcing.forgetting.stores_proof import Stored, is_servers, is_store, stored_of
from tools.announcing.forgetting.topics_proof import Found, Traces

#: RocksDB's list of files names the first and the last key of each file. A start writes it anew.
LISTS_OF_FILES: Final = "MANIFEST-"
#: The folder of receipts, which keep a digest of the user and no id.
RECEIPTS: Final = "forgotten"
MOST_IDS: Final = 1_000
SERVERS_NEXT: Final = "the server that uses the folder has read the request, at its next start at the latest"


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
    stores: dict[Path, Mapping[bytes, Sequence[Stored]]] = {}
    sought, n_files, keys = Sought(traces), 0, [one.key for one in traces.people]
    for path in _files(folders, {one.resolve() for one in skipped}):
        n_files += 1
        if is_store(path.parent) and path.parent not in stores:
            stores[path.parent] = stored_of(path.parent, keys)
            if is_servers(path.parent):
                _note_copies(traces, path.parent, stores[path.parent])
        for person, n in sought.count_in(path).items():
            traces.add(person, _judge(path, person, traces, stores.get(path.parent), n))
    return n_files


def _note_copies(traces: Traces, folder: Path, stored: Mapping[bytes, Sequence[Stored]]) -> None:
    """Note what a server's store holds of each user: files may hold it compressed."""
    for person in traces.people:
        for what, life in stored.get(person.key, ()):
            traces.add_copy(person, str(folder), f"{what}, in the server's store", life, until=SERVERS_NEXT)


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


def _judge(path: Path, person: Person, traces: Traces, store: Mapping[bytes, Sequence[Stored]] | None, n: int) -> Found:
    mark = traces.marks.get(person.key)
    what = f"{n} times the id, its short name or an event of the user"
    if store is not None:
        held = store.get(person.key, ())
        if mark is not None and held and all(one.life > mark for one in held):
            return Found(str(path), "new life", "the window of the user who came back", n=n)
        if path.name.startswith(LISTS_OF_FILES):
            return Found(str(path), "stays", "the id, as the border of a file", "the next start of its process", n)
    return Found(str(path), "left", what, "you delete the file or the worker rewrites it", n)


def places(folders: Sequence[str | None]) -> list[Path]:
    """Return the folders that are named and exist."""
    return [Path(one) for one in folders if one and Path(one).exists()]
