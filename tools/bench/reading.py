"""``headrace bench reading``: rows a second of a log as CSV and as Parquet, mapped and checked.

Each program runs in a process of its own, one after another on the same files, so that the ratios
and the memory are of one run. A bare read by pyarrow, on one thread, checks nothing: it is the
limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from streams.errors import InputError, RunError
from tools.bench.subject import Subject
from tools.cli import progress

CHUNK_ROWS: Final = 1_000_000
T0_S: Final = 1_600_000_000
ROOT: Final = Path(__file__).parent.parent.parent
#: Each prints how many rows it has read, the processor time in s, and the peak memory in MB.
_PROGRAM: Final = """
import json, re, sys, time
from pathlib import Path
path = Path(sys.argv[1])
{begin}
started = time.process_time()
n = {count}
cpu_s = time.process_time() - started
# not getrusage, whose peak begins with that of the process before exec
status = Path("/proc/self/status")
peak = re.search(r"VmHWM:\\s+(\\d+)", status.read_text()) if status.exists() else None
print(json.dumps([n, cpu_s, int(peak[1]) / 1024 if peak else 0.0]))
"""
_HEADRACE: Final = _PROGRAM.format(
    begin="""
try:
    from tools.files.logs.log_reader import LogReader
except ImportError:  # where it lay before
    from tools.files.log_reader import LogReader
from tools.files.log_source import LogSource
from tools.files.refused_rows import RefusedRows
source = LogSource((path,))
if not hasattr(source, "paths"):  # before a log could be several files
    source = LogSource(path)
""",
    count="sum(1 for _ in LogReader(source, RefusedRows(shown=0)))",
)
_PYARROW: Final = {
    "csv": _PROGRAM.format(
        begin="""
from pyarrow import csv
read = csv.ReadOptions(use_threads=False)
""",
        count="sum(batch.num_rows for batch in csv.open_csv(path, read_options=read))",
    ),
    "parquet": _PROGRAM.format(
        begin="from pyarrow import parquet",
        count="sum(batch.num_rows for batch in parquet.ParquetFile(path).iter_batches(use_threads=False))",
    ),
}


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    before : a checkout of an earlier commit, which is measured beside this one; None for none
    """

    rows: int
    repeats: int
    before: Path | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the log (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats, interleaved (default: %(default)s)")
    parser.add_argument(
        "--before", type=Path, metavar="DIR", help="a checkout of an earlier commit, to measure side by side"
    )


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    for name, value in (("rows", args.rows), ("repeats", args.repeats)):
        if value < 1:
            raise InputError(f"--{name} {value}: must be at least 1")
    if args.before is not None and not any(args.before.glob("tools/files/**/log_reader.py")):
        raise InputError(f"--before {args.before}: is no checkout of headrace; make one with git worktree add")
    return Options(args.rows, args.repeats, args.before)


def run(options: Options) -> dict[str, Any]:
    """Write the log in both formats, and let each program read it."""
    table: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="headrace-reading-") as folder, progress() as bar:
        files = write_log(Path(folder), options.rows)
        programs = programs_of(options.before)
        task = bar.add_task("reading", total=len(files) * len(programs) * options.repeats)
        for kind, path in files.items():
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
            for _ in range(options.repeats):
                for name, (code, room) in programs.items():
                    found[name].append(measure(code or _PYARROW[kind], room, path, options.rows))
                    bar.advance(task)
            table += [summarize(kind, name, of_one, options.rows) for name, of_one in found.items()]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "rows": options.rows,
        "repeats": options.repeats,
        "table": with_ratios(table),
    }


def programs_of(before: Path | None) -> dict[str, tuple[str, Path]]:
    """Return each program's code and the folder that it runs in; no code for a bare read."""
    earlier = {} if before is None else {"before": (_HEADRACE, before)}
    return {"headrace": (_HEADRACE, ROOT), **earlier, "pyarrow": ("", ROOT)}


def write_log(folder: Path, n_rows: int) -> dict[str, Path]:
    """Write a log of a shop as CSV and as Parquet, in chunks; return the files by format."""
    import pyarrow
    from pyarrow import csv, parquet

    rng = np.random.default_rng(1)
    kinds = np.array(["view", "click", "purchase"])
    schema = pyarrow.schema(
        [
            ("user_id", pyarrow.int64()),
            ("item_id", pyarrow.int64()),
            ("type", pyarrow.string()),
            ("ts", pyarrow.int64()),
        ]
    )
    files = {"csv": folder / "log.csv", "parquet": folder / "log.parquet"}
    with (
        csv.CSVWriter(files["csv"], schema, write_options=csv.WriteOptions(quoting_style="none")) as text,
        parquet.ParquetWriter(files["parquet"], schema) as table,
    ):
        for start in range(0, n_rows, CHUNK_ROWS):
            n = min(CHUNK_ROWS, n_rows - start)
            chunk = pyarrow.table(
                [
                    rng.integers(0, 500_000, n),
                    rng.zipf(1.3, n) % 50_000,
                    kinds[rng.choice(3, n, p=[0.9, 0.07, 0.03])],
                    T0_S + start + np.arange(n),
                ],
                schema=schema,
            )
            text.write_table(chunk)
            table.write_table(chunk)
    return files


def measure(code: str, room: Path, path: Path, n_rows: int) -> tuple[float, float]:
    """Run a program; return its processor time in s and its peak memory in MB."""
    environment = os.environ | {"PYTHONPATH": str(room.absolute())}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=room, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise RunError(f"a reader in {room} ended with code {done.returncode}: {last}")
    n_read, cpu_s, memory_mb = json.loads(done.stdout)
    if n_read != n_rows:
        raise RunError(f"a reader in {room} has read {n_read} of {n_rows} rows")
    return cpu_s, memory_mb


def summarize(kind: str, name: str, found: Sequence[tuple[float, float]], n_rows: int) -> dict[str, Any]:
    """Return medians and ranges of one program on one format."""
    rates = sorted(n_rows / cpu_s for cpu_s, _ in found)
    return {
        "format": kind,
        "program": name,
        "rows_per_s": statistics.median(rates),
        "least": rates[0],
        "most": rates[-1],
        "memory_mb": max(memory_mb for _, memory_mb in found),
    }


def with_ratios(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with headrace's rate as a multiple of each program's."""
    ours = {row["format"]: row["rows_per_s"] for row in table if row["program"] == "headrace"}
    return [row | {"times_as_fast": ours[row["format"]] / row["rows_per_s"]} for row in table]


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [f"{'format':<8} {'program':<9} {'rows/s of one core (range)':>36} {'headrace is':>12} {'peak MB':>8}"]
    for row in result["table"]:
        rate = f"{row['rows_per_s']:,.0f} ({row['least']:,.0f} to {row['most']:,.0f})"
        times = f"{row['times_as_fast']:.2f} x"
        lines.append(f"{row['format']:<8} {row['program']:<9} {rate:>36} {times:>12} {row['memory_mb']:>8.0f}")
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
