"""``headrace broker start|status|stop``: a local broker for development, tests and the demo."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from streams.errors import InputError, RunError
from tools.broker.choice import naming, on_bar
from tools.broker.known import chosen_data, remember
from tools.broker.local_broker import DEFAULT_DATA, ENGINES, BrokerInfo, broker_status, start_broker, stop_broker
from tools.cli import emit, progress, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("start", "status", "stop"), help="what to do with the local broker")
    parser.add_argument(
        "--engine", choices=("auto", *ENGINES), default="auto", help="auto: the best engine that works here"
    )
    parser.add_argument("--port", type=int, help="port to listen on; 0: any free port (default: 9092, or a free port)")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help=f"the broker's data (start: default {DEFAULT_DATA}; status and stop: the broker that was started here)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    if args.port is not None and not 0 <= args.port <= 65535:
        raise InputError(f"--port {args.port}: must be 0 to 65535; leave it out for 9092 or a free one")
    return {"start": _run_start, "status": _run_status, "stop": _run_stop}[args.action](args)


def _run_start(args: argparse.Namespace) -> int:
    named = naming(args.broker)
    if named is not None:
        how, remedy = named
        raise InputError(
            f"{how}: names a broker, and every command uses that one, so none is started here; "
            f"{remedy} to start and use a local broker"
        )
    data = args.data or DEFAULT_DATA
    with progress() as bar:
        info = start_broker(args.engine, args.port, data, on_bar(bar))
    remember(data)
    for note in info.notes:
        say(note, style="dim")
    how = "started" if info.started else "runs already"
    emit(args, _as_json(info), f"{_describe(info)} {how}; stop it with headrace broker stop")
    return 0


def _run_status(args: argparse.Namespace) -> int:
    data = chosen_data(args.data)
    info = broker_status(data)
    if info is None:
        raise RunError(f"--data {data}: no broker runs there; start one with headrace broker start")
    emit(args, _as_json(info), f"{_describe(info)} runs")
    return 0


def _run_stop(args: argparse.Namespace) -> int:
    data = chosen_data(args.data)
    info = broker_status(data)
    stopped = stop_broker(data)
    result = {**(_as_json(info) if info is not None else {"data": str(data)}), "stopped": stopped}
    text = f"no broker was running in {data}"
    if info is not None and stopped:
        text = f"{_describe(info)} stopped; its records {'are gone' if info.engine == 'noida' else 'stay'}"
    emit(args, result, text)
    return 0


def _describe(info: BrokerInfo) -> str:
    pid = f", pid {info.pid}" if info.pid is not None else ""
    return f"{info.engine} {info.version} on {info.bootstrap}{pid}, data in {info.data}"


def _as_json(info: BrokerInfo) -> dict[str, Any]:
    return {
        "engine": info.engine,
        "version": info.version,
        "bootstrap": info.bootstrap,
        "pid": info.pid,
        "data": None if info.data is None else str(info.data),
        "started": info.started,
        "notes": info.notes,
    }
