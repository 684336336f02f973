"""``headrace bench``: ratios against peers, measured side by side in one run."""

from __future__ import annotations

import argparse

SUMMARY = "measure against peers, side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("what", choices=["sequencer"], help="what to measure")
    parser.add_argument("--events", type=int, default=300_000, help="events of each run (default 300000)")
    parser.add_argument(
        "--obvious-events", type=int, default=10_000, help="events of each run of the per-event agent (default 10000)"
    )
    parser.add_argument("--users", type=int, default=50_000, help="users (default 50000)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each program, interleaved (default 3)")


def run(args: argparse.Namespace) -> int:
    """Run the benchmark named by ``args.what``."""
    from tools import bench_sequencer

    return bench_sequencer.run(args)
