"""``headrace serve`` answers over HTTP until Ctrl-C; ``headrace serve keys`` keeps API keys."""

from __future__ import annotations

import argparse
import datetime
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams.errors import InputError
from streams.kafka.deployment import load_deployment
from streams.printable import PrintableFormatter
from streams.runtime.worker_logging import JsonFormatter
from streams.server.gate.callers import SCOPES
from streams.server.gate.key_file import SETTING, add_key, read_keys, remove_key
from streams.server.gorse.door import gorse_door
from streams.server.page.routes import page_router
from streams.server.run import run_server
from streams.settings.load import Settings, load_settings
from tools.cli import ResultTable, add_common_arguments, emit, say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--bind", metavar="ADDRESS", help="IP address to listen on (or HEADRACE_SERVE_BIND)")
    parser.add_argument("--port", type=int, metavar="N", help="port, 0 for a free one (or HEADRACE_SERVE_PORT_NUMBER)")
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    keys = actions.add_parser("keys", help="add, list and remove API keys")
    key_actions = keys.add_subparsers(dest="key_action", required=True, metavar="ACTION")
    for name, text in (
        ("add", "make a key, print it once, and keep its hash"),
        ("list", "list the keys' names and scopes"),
        ("remove", "remove a key; running servers refuse it within a second"),
    ):
        action = key_actions.add_parser(name, help=text)
        action.add_argument("--file", metavar="FILE", help="the file of keys (or HEADRACE_SERVE_KEYS_FILE)")
        if name != "list":
            action.add_argument("name", help="name of the key, for people and for the log")
        if name == "add":
            action.add_argument(
                "--scope",
                action="append",
                choices=SCOPES,
                help="what the key may do, may be repeated (default: read); admin may do everything",
            )
        add_common_arguments(action, is_action=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    if args.action == "keys":
        return _keys(args)
    settings = load_deployment(broker=args.broker, serve_bind=args.bind, serve_port_number=args.port)
    _log_to_stderr(settings.watching.log_format)
    run_server(
        settings,
        routers=[page_router(), *gorse_door(settings)],
        listens=lambda url: _listens(url, settings),
        ready=lambda: say("ready", style="green"),
    )
    say("stopped")
    emit(args, {"stopped": True})
    return 0


def _listens(url: str, settings: Settings) -> None:
    say(f"listening on {url}; Ctrl-C stops")
    if not settings.server.serve_keys_file:
        say("no keys: whoever reaches this address of this machine may do everything", style="dim")


def _log_to_stderr(log_format: str) -> None:
    handler = logging.StreamHandler()
    text = PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)


def _keys(args: argparse.Namespace) -> int:
    file = _file_of(args)
    if args.key_action == "add":
        scopes: Sequence[Any] = args.scope or ["read"]
        key = add_key(file, args.name, scopes)
        say(f"key {args.name} with {', '.join(scopes)} is in {file}; it is shown only now:")
        emit(args, {"name": args.name, "scopes": sorted(set(scopes)), "key": key}, key)
    elif args.key_action == "remove":
        remove_key(file, args.name)
        emit(args, {"removed": args.name}, f"key {args.name} removed")
    else:
        keys = read_keys(file)
        rows = [[key.name, ", ".join(key.scopes), _day(key.created_ts)] for key in keys]
        shown = [{"name": key.name, "scopes": key.scopes, "created_ts": key.created_ts} for key in keys]
        emit(args, {"keys": shown}, [ResultTable("", ["name", "scopes", "made"], rows)] if rows else "no keys")
    return 0


def _file_of(args: argparse.Namespace) -> Path:
    # a file that does not exist yet is no reason to refuse the settings
    named = args.file or load_settings().server.serve_keys_file
    if not named:
        raise InputError(f"no file of keys: name one with --file FILE, or set HEADRACE_{SETTING.upper()}")
    return Path(named)


def _day(ts_ms: int) -> str:
    return datetime.datetime.fromtimestamp(ts_ms / 1000, datetime.UTC).strftime("%Y-%m-%d")
