"""Reads the files of this machine for forgotten users: stores, caches, logs, replay runs."""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from streams.contract.marks import revision_in
from tools.announcing.forgetting.people import Person
from tools.announcing.forgetting.topics_proof import Found, Traces

#: RocksDB's list of files names the first and the last key of each file. A start writes it anew.
LISTS_OF_FILES: Final = "MANIFEST-"
#: The folder of receipts, which keep a digest of the user and no id.
RECEIPTS: Final = "forgotten"
MOST_IDS: Final = 1_000


def read_files(traces: Traces, folders: Iterable[Path], *, skipped: Collection[Path] = ()) -> int:
    """Note what the files below some folders hold of the users; return how many files were read.

    Parameters
    ----------
    skipped : folders that are left out, such as a local broker's, whose topics were read
    """
    stores: dict[Path, dict[bytes, int]] = {}
    patterns = {person.given: _pattern(person, traces) for person in traces.people}
    n_files = 0
    for path in _files(folders, {one.resolve() for one in skipped}):
        n_files += 1
        for person in traces.people:
            n = _count(path, patterns[person.given])
            if n:
                store = stores.setdefault(path.parent, {}) if _is_store(path.parent) else None
                traces.add(person, _judge(path, person, traces, store, n))
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


def _pattern(person: Person, traces: Traces) -> re.Pattern[bytes]:
    ids = sorted(traces.event_ids.get(person.key, ()))[:MOST_IDS]
    parts = [person.text_pattern().pattern, *(re.escape(one.encode()) for one in ids)]
    return re.compile(b"|".join(parts))


def _count(path: Path, pattern: re.Pattern[bytes]) -> int:
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return 0
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return sum(1 for _ in pattern.finditer(content))
    except (OSError, ValueError):
        return 0  # it is gone by now, or is no plain file


def _is_store(folder: Path) -> bool:
    return (folder / "CURRENT").exists()


def _judge(path: Path, person: Person, traces: Traces, store: dict[bytes, int] | None, n: int) -> Found:
    mark = traces.marks.get(person.key)
    what = f"{n} times the id, its short name or an event of the user"
    if store is not None:
        if person.key not in store:
            store[person.key] = stored_revision(path.parent, person.key)
        if mark is not None and store[person.key] > mark:
            return Found(str(path), "new life", "the window of the user who came back", n=n)
        if path.name.startswith(LISTS_OF_FILES):
            return Found(str(path), "stays", "the id, as the border of a file", "the next start of the worker", n)
    return Found(str(path), "left", what, "you delete the file or the worker rewrites it", n)


def stored_revision(folder: Path, key: bytes) -> int:
    """Return the revision of a user's window in a RocksDB store; 0 for none.

    The store is opened for reading, beside the worker that has it open.
    """
    import rocksdict

    try:
        options = rocksdict.Options(raw_mode=True)
        store = rocksdict.Rdict(str(folder), options, access_type=rocksdict.AccessType.read_only())
    except Exception:  # rocksdict raises Exception itself: the store is being written, or damaged
        return 0
    try:
        value = store.get(key)
        return 0 if value is None else revision_in(value)
    finally:
        store.close()


def places(folders: Sequence[str | None]) -> list[Path]:
    """Return the folders that are named and exist."""
    return [Path(one) for one in folders if one and Path(one).exists()]
