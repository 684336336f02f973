"""``headrace bench lists``: what a list costs, beside the least that its products cost.

Each program has a process of its own; they take turns on the same windows, so that ratios are of
one run: *pipeline*; *limit*, the bare matrix products and selections of the same shapes; *loop*,
the pipeline with one user at a time; *implicit*, that package's ``recommend`` on matrix
factorisation alone; and, where asked for, *beside*, the pipeline of an older checkout, as its
workers ran it, and *beside, told*, the same with one thread and with what this version tells linear
algebra about the processor; and *rules*, the pipeline under the rules of a file. The others compute
on one thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np

from models.base.processor import algebra_environment
from streams.announcements.sending.rules import read_rules
from streams.errors import InputError, RunError
from tools.bench.subject import Subject
from tools.cli import progress

ROOT: Final = Path(__file__).parent.parent.parent
PROGRAM: Final = Path(__file__).parent / "made" / "lists_program.py"
Preset = Literal["demo", "best"]
ITEMS: Final = (2_000, 12_000, 100_000, 1_000_000)
BATCHES: Final = (1, 8, 64, 256)
LENGTHS: Final = (50, 100)
#: Items of a list, as in the program.
LIST_SIZE: Final = 10
#: Lists of one measurement: enough for a tenth of a second, and whole batches.
LISTS_PER_TURN: Final = 512
ONE_BY_ONE: Final = 64
#: Scores of one list by two commits may differ by this.
TOLERANCE: Final = 1e-5
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Options:
    """What a person asked for.

    Parameters
    ----------
    beside : a checkout of an older commit; None for none
    same : how many lists of both commits are compared
    rules : a rules document, under which the lists are made too; empty for none
    """

    presets: tuple[Preset, ...]
    items: tuple[int, ...]
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    repeats: int
    beside: Path | None
    same: int
    rules: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--presets", default="best,demo", metavar="A,B", help="sizes of the models (default: %(default)s)"
    )
    for name, values, what in (
        ("items", ITEMS[:-1], "sizes of the catalogue"),
        ("lengths", LENGTHS, "behaviours of a window"),
        ("batches", BATCHES, "windows of a micro-batch"),
    ):
        shown = ",".join(map(str, values))
        parser.add_argument(f"--{name}", default=shown, metavar="N,M", help=f"{what} (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each program (default: %(default)s)")
    parser.add_argument(
        "--beside", type=Path, metavar="DIR", help="a checkout of an older commit, to measure side by side"
    )
    parser.add_argument(
        "--same", type=int, default=0, metavar="N", help="compare N lists of both commits (default: %(default)s)"
    )
    parser.add_argument("--rules", type=Path, metavar="FILE", help="measure lists under these rules too")


def options_of(args: argparse.Namespace) -> Options:
    """Return the parsed options, checked."""
    presets = tuple(args.presets.split(","))
    for preset in presets:
        if preset not in get_args(Preset):
            raise InputError(f"--presets {preset!r}: must be among {', '.join(get_args(Preset))}")
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: must be at least 1")
    if args.same < 0 or (args.same and args.beside is None):
        raise InputError(f"--same {args.same}: must be at least 0, and needs --beside")
    if args.beside is not None and not (args.beside / "models/__init__.py").is_file():
        raise InputError(f"--beside {args.beside}: is no checkout of headrace; make one with git worktree add")
    numbers = {name: _numbers(f"--{name}", getattr(args, name)) for name in ("items", "lengths", "batches")}
    if min(numbers["items"]) < 100 or max(numbers["items"]) > ITEMS[-1]:
        raise InputError(f"--items {args.items}: must be from 100 to {ITEMS[-1]}")
    if max(numbers["batches"]) > LISTS_PER_TURN:
        raise InputError(f"--batches {args.batches}: must be at most {LISTS_PER_TURN}")
    rules = "" if args.rules is None else read_rules(args.rules, LIST_SIZE)[0]
    return Options(presets, repeats=args.repeats, beside=args.beside, same=args.same, rules=rules, **numbers)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InputError(f"{name} {text!r}: must be whole numbers from 1 with commas between them")
    return numbers


def run(options: Options) -> dict[str, Any]:
    """Make each shop, and let the programs take turns on its windows."""
    table: list[dict[str, Any]] = []
    same: list[dict[str, Any]] = []
    cells = len(options.lengths) * len(options.batches) * options.repeats
    with progress() as bar:
        task = bar.add_task("lists", total=len(options.presets) * len(options.items) * cells)
        for preset in options.presets:
            for n_items in options.items:
                with tempfile.TemporaryDirectory(prefix="headrace-lists-") as name, ExitStack() as stack:
                    folder = Path(name)
                    write_shop(folder, preset, n_items, options)
                    programs = {
                        what: stack.enter_context(started(folder, program, room, environment))
                        for what, (program, room, environment) in programs_of(options).items()
                    }
                    where = {"preset": preset, "items": n_items}
                    for row in measured(programs, options, lambda: bar.advance(task)):
                        table.append(where | row)
                    if options.same:
                        same += [where | row for row in compared(programs, options)]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "algebra": algebra_environment(),
        "repeats": options.repeats,
        "without_implicit": importlib.util.find_spec("implicit") is None,
        "table": with_ratios(table),
        "same_lists": same,
    }


def programs_of(options: Options) -> dict[str, tuple[str, Path, dict[str, str]]]:
    """Return each program's kind, the checkout that it runs in, and its environment."""
    beside = options.beside
    told = algebra_environment() | ONE_THREAD
    found = {name: (name, ROOT, told) for name in ("pipeline", "limit", "loop")}
    if importlib.util.find_spec("implicit") is not None:
        found["implicit"] = ("implicit", ROOT, told)
    if options.rules:
        found["rules"] = ("rules", ROOT, told)
    if beside is not None:
        found |= {"beside": ("beside", beside, {}), "beside, told": ("beside", beside, told)}
    return found


def write_shop(folder: Path, preset: Preset, n_items: int, options: Options) -> None:
    """Write an artifact, texts and windows, all made."""
    from models.artifact.artifact import save_artifact
    from tools.bench.made.shop import made_shop, made_windows

    shop = made_shop(preset, n_items)
    save_artifact(shop.artifact, folder / "artifact")
    (folder / "rules.toml").write_text(options.rules, "utf-8")
    arrays: dict[str, Any] = {"vectors": shop.vectors, "lengths": np.array(options.lengths)}
    for length in options.lengths:
        windows = made_windows(shop.groups, max(LISTS_PER_TURN, options.same), length)
        arrays |= {f"{name}-{length}": values for name, values in windows.items()}
    np.savez(folder / "items.npz", **arrays)


class Program:
    """A program that waits for requests."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name, self._process = name, process
        self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RunError(f"the program {self._name!r} ended with code {self._process.wait()}; its error is above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def started(folder: Path, program: str, room: Path, environment: dict[str, str]) -> Iterator[Program]:
    """Start a program in a checkout; end it with the block."""
    chosen = algebra_environment() | ONE_THREAD
    inherited = {name: value for name, value in os.environ.items() if name not in chosen}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.read_text(encoding="utf-8"), program, str(folder)],
        cwd=room,
        env=inherited | environment | {"PYTHONPATH": str(room.absolute())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Program(program, process)
    finally:
        process.kill()
        process.communicate()


def measured(programs: dict[str, Program], options: Options, on_turn: Any) -> Iterable[dict[str, Any]]:
    """Yield a row for each length, batch and program."""
    for length in options.lengths:
        for batch in options.batches:
            n = ONE_BY_ONE if batch == 1 else LISTS_PER_TURN // batch * batch
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in programs}
            for _ in range(options.repeats):
                for name, program in programs.items():
                    n_own = min(n, ONE_BY_ONE) if name == "loop" else n
                    asked = {"length": length, "batch": min(batch, n_own), "first": 0, "n": n_own}
                    found[name].append(program.ask(what="times", **asked))
                on_turn()
            for name, turns in found.items():
                yield {"length": length, "batch": batch, "program": name} | summarize(turns)


def summarize(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median and the range of processor time and of time over turns, per list."""
    cpu = sorted(1e6 * turn["cpu_s"] / turn["n"] for turn in turns)
    wall = [1e6 * turn["wall_s"] / turn["n"] for turn in turns]
    return {
        "cpu_us": statistics.median(cpu),
        "least_cpu_us": cpu[0],
        "most_cpu_us": cpu[-1],
        "wall_us": statistics.median(wall),
        "lists_per_cpu_s": 1e6 / statistics.median(cpu),
    }


def with_ratios(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with how many times as cheap as each program the pipeline is."""
    keys = ("preset", "items", "length", "batch")
    ours = {tuple(row[key] for key in keys): row["cpu_us"] for row in table if row["program"] == "pipeline"}
    return [row | {"times_as_cheap": row["cpu_us"] / ours[tuple(row[key] for key in keys)]} for row in table]


def compared(programs: dict[str, Program], options: Options) -> Iterable[dict[str, Any]]:
    """Yield, for each length, how many lists of both commits are equal."""
    for length in options.lengths:
        asked = {"what": "lists", "length": length, "batch": 64, "first": 0, "n": options.same}
        ours, theirs = (programs[name].ask(**asked)["lists"] for name in ("pipeline", "beside"))
        yield {"length": length} | differences(ours, theirs)


def differences(ours: Sequence[Any], theirs: Sequence[Any]) -> dict[str, Any]:
    """Return how many lists have the same items in the same order, and how far their scores differ.

    Lists that differ are told apart: in some, each item at another place has the score of the other
    commit's item there within :data:`TOLERANCE`; those are ties.

    Parameters
    ----------
    ours, theirs : lists of (item id, score)

    Returns
    -------
    ``far`` counts the same lists in which a score differs by more than :data:`TOLERANCE`.
    """
    n_same, n_ties, n_far, greatest = 0, 0, 0, 0.0
    for mine, other in zip(ours, theirs, strict=True):
        gaps = [abs(a[1] - b[1]) for a, b in zip(mine, other, strict=False)]
        if [item for item, _ in mine] == [item for item, _ in other]:
            n_same += 1
            greatest = max([greatest, *gaps])
            n_far += max(gaps, default=0.0) > TOLERANCE
        elif len(mine) == len(other) and max(gaps) <= TOLERANCE:
            n_ties += 1
    n = len(ours)
    others = n - n_same - n_ties
    return {"lists": n, "same": n_same, "ties": n_ties, "others": others, "far": n_far, "greatest_score_gap": greatest}


def as_table(result: dict[str, Any]) -> list[str]:
    """Return the result for people, as lines."""
    lines = [
        f"{'preset':<6} {'items':>9} {'window':>6} {'batch':>5} {'program':<13} {'CPU us/list (range)':>27} "
        f"{'wall us':>8} {'lists/CPU s':>11} {'pipeline is':>11}"
    ]
    for row in result["table"]:
        cpu = f"{row['cpu_us']:,.0f} ({row['least_cpu_us']:,.0f} to {row['most_cpu_us']:,.0f})"
        lines.append(
            f"{row['preset']:<6} {row['items']:>9,} {row['length']:>6} {row['batch']:>5} {row['program']:<13} {cpu:>27} "
            f"{row['wall_us']:>8,.0f} {row['lists_per_cpu_s']:>11,.0f} {row['times_as_cheap']:>9.2f} x"
        )
    if result["without_implicit"]:
        lines.append("implicit is not installed and was left out: install headrace[dev]")
    for row in result["same_lists"]:
        lines.append(
            f"{row['preset']}, {row['items']:,} items, windows of {row['length']}: of {row['lists']:,} lists {row['same']:,} are "
            f"the same, {row['ties']} differ in ties, {row['others']} otherwise; {row['far']} have scores that differ by more "
            f"than {TOLERANCE:g}; greatest gap of scores {row['greatest_score_gap']:.1e}"
        )
    return lines


SUBJECT: Final = Subject(add_arguments, options_of, run, as_table)
