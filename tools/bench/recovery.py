"""``headrace bench recovery``: how long a sequencer needs to have its windows again.

It fills ``sequences`` with one full window of each user and recovers them in processes of their
own: into memory; into an empty RocksDB directory (*cold*); and from the directory that this leaves
(*kept*). The broker is on the same machine and has just written the records, so they are in its
page cache, as after the crash of a worker. With ``--uncached`` the files of broker and stores leave
the page cache before each recovery, as after the start of a machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.contract.kafka_records import OutRecord
from streams.contract.records import VERSION, encode
from streams.contract.windows import Trigger, WindowItem, WindowState
from streams.errors import InputError, RunError
from streams.kafka.batch_writer import BatchWriter, delivered
from streams.kafka.publisher import KeyHomes
from streams.kafka.topics import create_topics
from streams.settings.event_table import DEFAULT_TABLE
from streams.settings.load import Settings, load_settings
from tools.bench.subject import Subject
from tools.broker.local_broker import running_broker
from tools.cli import progress, say

#: Longest time of a recovery, and of each gigabyte of it.
RUN_LIMIT_S: Final = 280
GB_LIMIT_S: Final = 120
#: Bytes on disk for each byte of windows: in the log, and in a store twice while RocksDB compacts.
DISK_SHARE: Final = 3.5
CHUNK: Final = 4_000
TS_MS: Final = 1_700_000_000_000
#: Stores, and whether the directory of the run before is kept.
KINDS: Final = {"memory": ("memory", False), "rocksdb_cold": ("rocksdb", False), "rocksdb_kept": ("rocksdb", True)}


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    n_bytes : size of a window
    kinds : names of :data:`KINDS`
    is_uncached : whether the files leave the page cache before each recovery
    """

    broker: str | None
    n_windows: int
    n_bytes: int
    repeats: int
    kinds: tuple[str, ...]
    is_uncached: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--windows", type=int, default=100_000, help="users (default: %(default)s)")
    parser.add_argument("--bytes", type=int, default=2_000, help="of a window (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="recoveries of each kind (default: %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), metavar="A,B", help="of recovery (default: %(default)s)")
    parser.add_argument(
        "--uncached", action="store_true", help="before each recovery the files leave the page cache (Linux)"
    )


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    kinds = tuple(args.kinds.split(","))
    if not set(kinds) <= set(KINDS):
        raise InputError(f"--kinds {args.kinds}: must be of {', '.join(KINDS)}, with commas between")
    for name, least, most in (("windows", 1_000, 10_000_000), ("bytes", 500, 100_000), ("repeats", 1, 100)):
        if not least <= (value := getattr(args, name)) <= most:
            raise InputError(f"--{name} {value}: must be {least} to {most}")
    if "rocksdb_kept" in kinds and "rocksdb_cold" not in kinds:
        raise InputError("--kinds rocksdb_kept: needs rocksdb_cold, which leaves the directory")
    if args.uncached and args.broker:
        raise InputError("--uncached: needs a broker that the benchmark starts; leave --broker out")
    if args.uncached and not hasattr(os, "posix_fadvise"):
        raise InputError("--uncached: this system cannot drop files from its page cache; leave the option out")
    return Options(args.broker, args.windows, args.bytes, args.repeats, kinds, args.uncached)


def _check_disk(folder: Path, options: Options) -> None:
    """Raise :class:`InputError` where the windows do not fit on the disk."""
    need, free = int(DISK_SHARE * options.n_windows * options.n_bytes), shutil.disk_usage(folder).free
    if need > free:
        raise InputError(
            f"--windows {options.n_windows} --bytes {options.n_bytes}: need about {need / 1e9:.1f} GB in {folder}, "
            f"which has {free / 1e9:.1f}; name fewer, or a folder with more room in TMPDIR"
        )


def leave_page_cache(folder: Path) -> None:
    """Write what waits for the disk, and drop the files of a folder from the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a broker deletes and renames files
            if path.is_file():
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
                finally:
                    os.close(handle)


def full_window(n_bytes: int) -> bytes:
    """Return an encoded window of 50 behaviours, filled with remembered events to about a size."""
    items = [WindowItem(TS_MS + i, f"e{i:09d}", f"item-{i}", "view") for i in range(50)]
    state = WindowState(VERSION, 1_000, TS_MS + 49, items, Trigger("e000000049", TS_MS + 49, 1))
    while len(encode(state)) < n_bytes and len(state.recent) < 100:
        state.recent = [*state.recent, (TS_MS - len(state.recent), f"r{len(state.recent):09d}")]
    state.recent.reverse()
    state.seen = bytes(4 * max(0, (n_bytes - len(encode(state))) // 4))
    return encode(state)


def _records(n: int, value: bytes, home: KeyHomes) -> Iterator[tuple[int, list[OutRecord]]]:
    waiting: dict[int, list[OutRecord]] = {}
    for user in range(n):
        key = b"user-%d" % user
        held = waiting.setdefault(home[key], [])
        held.append(OutRecord(key, value))
        if len(held) == CHUNK:
            yield home[key], waiting.pop(home[key])
    yield from waiting.items()


async def _fill(settings: Settings, options: Options) -> int:
    """Publish the windows; return the size of one in bytes."""
    await create_topics(settings.kafka)
    writer = BatchWriter(settings.kafka)
    await writer.start()
    value = full_window(options.n_bytes)
    home = KeyHomes(settings.kafka.partitions, settings.kafka.partitioner)
    try:
        for partition, records in _records(options.n_windows, value, home):
            await delivered(await writer.send(settings.kafka.topic("sequences"), partition, records))
    finally:
        await writer.stop()
    return len(value)


def _recover(kind: str, settings: Settings, parent: Path, options: Options) -> dict[str, float]:
    store, is_kept = KINDS[kind]
    folder = parent / store
    if not is_kept:
        shutil.rmtree(folder, ignore_errors=True)
    if options.is_uncached:
        leave_page_cache(parent)
    environment = os.environ | {
        "HEADRACE_BROKER": settings.kafka.broker,
        "HEADRACE_TOPIC_PREFIX": settings.kafka.topic_prefix,
        "HEADRACE_DATA_DIR": str(folder),
        "HEADRACE_SEQUENCE_STORE": store,
    }
    command = [sys.executable, "-m", "tools.bench.live.peers.recover"]
    limit_s = RUN_LIMIT_S + GB_LIMIT_S * options.n_windows * options.n_bytes / 1e9
    done = subprocess.run(command, env=environment, capture_output=True, timeout=limit_s, check=False)
    if done.returncode:
        raise RunError(f"{kind}: exit {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run(options: Options) -> dict[str, Any]:
    """Measure each kind of recovery on one broker."""
    runs: dict[str, list[dict[str, float]]] = {kind: [] for kind in options.kinds}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name, progress() as bar:
        folder = Path(name)
        _check_disk(folder, options)
        task = bar.add_task("bench recovery", total=1 + options.repeats * len(options.kinds))
        with running_broker(options.broker, data_dir=folder / "broker") as broker:
            prefix = f"bench{int(time.time())}."
            settings = load_settings(broker=broker.bootstrap, topic_prefix=prefix, event_types=DEFAULT_TABLE)
            size = asyncio.run(_fill(settings, options))
            bar.advance(task)
            for _ in range(options.repeats):
                for kind in options.kinds:
                    runs[kind].append(_recover(kind, settings, folder, options))
                    say(f"  {kind}: {runs[kind][-1]['records']:,.0f} records in {runs[kind][-1]['seconds']:.2f} s")
                    bar.advance(task)
    for kind, results in runs.items():
        missing = [r["records"] for r in results if not KINDS[kind][1] and r["records"] != options.n_windows]
        if missing:
            raise RunError(f"{kind}: {missing[0]:g} of {options.n_windows} windows were recovered")
    return {
        "kinds": {kind: _summary(results) for kind, results in runs.items()},
        "windows": options.n_windows,
        "bytes": size,
        "repeats": options.repeats,
        "uncached": options.is_uncached,
        "broker": f"{broker.engine} {broker.version}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }


def _summary(results: list[dict[str, float]]) -> dict[str, float]:
    seconds = [result["seconds"] for result in results]
    return {
        "records": results[-1]["records"],
        "seconds": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "cpu_s": statistics.median(result["cpu_s"] for result in results),
        "peak_mb": max(result["peak_mb"] for result in results),
    }


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'recovery':<14} {'records':>10} {'seconds':>8} {'min':>7} {'max':>7} {'CPU s':>7} {'peak MB':>8}"]
    for kind, row in result["kinds"].items():
        lines.append(
            f"{kind:<14} {row['records']:>10,.0f} {row['seconds']:>8.2f} {row['min']:>7.2f} {row['max']:>7.2f} "
            f"{row['cpu_s']:>7.2f} {row['peak_mb']:>8,.0f}"
        )
    cache = ", files not in the page cache" if result["uncached"] else ""
    lines.append(
        f"{result['windows']:,} windows of {result['bytes']:,} bytes; {result['repeats']} interleaved runs{cache}"
    )
    lines.append(f"{result['machine']}; {result['broker']}; {result['date']}")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
