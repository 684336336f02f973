"""``headrace rules`` checks business rules of lists, puts them into force, and takes them back."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from models.rules.document import as_plain, version_of
from streams.announcements.sending.answers import Answers
from streams.announcements.sending.rules import (
    PREVIOUS,
    put_rules,
    read_rules,
    rollback_rules,
    rules_by_key,
    summary,
    warnings,
)
from streams.contract.announcements import Answering
from streams.errors import InputError
from streams.settings.load import Settings, load_settings
from tools.announcing.receipts import wait_with_bar
from tools.cli import add_common_arguments, emit, say, write_line, write_row

#: Seconds for which a command waits for receipts.
TIMEOUT_S = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("check", "say whether a document can be used, and what it does"),
        ("put", "check a document, publish it, and wait until every recommender obeys it"),
        ("list", "list the scenarios that have rules"),
        ("show", "print the rules of a scenario"),
        ("rollback", "put the rules of before into force again"),
    ):
        action = actions.add_parser(name, help=text)
        if name in ("check", "put"):
            action.add_argument("file", metavar="FILE", help="rules in TOML, see docs/rules.md")
        if name != "list":
            action.add_argument("--scenario", help="whose rules (default: the setting scenario)")
        if name in ("put", "rollback"):
            action.add_argument("--no-wait", action="store_true", help="do not wait for the recommenders")
            action.add_argument(
                "--timeout",
                type=float,
                default=TIMEOUT_S,
                metavar="SECONDS",
                help="wait this long (default: %(default)g)",
            )
        add_common_arguments(action, is_action=True)


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    settings = load_settings(broker=args.broker)
    if args.action == "list":
        return _list(args, settings)
    scenario = args.scenario or settings.recommender.scenario
    load_settings(scenario=scenario)  # refuses a name that no deployment could have
    if args.action == "show":
        return _show(args, settings, scenario)
    if args.action == "rollback":
        announcement, version = asyncio.run(rollback_rules(settings.kafka, scenario))
        return _wait(args, settings, scenario, announcement, version)
    text, document = read_rules(args.file, settings.recommender.list_size)
    version = version_of(text)
    for warning in warnings(document, settings.recommender.list_size):
        say(f"warning: {warning}", "yellow")
    if args.action == "check":
        found = {"ok": True, "version": version, "rules": as_plain(document)}
        found["warnings"] = warnings(document, settings.recommender.list_size)
        emit(args, found, text=f"{args.file}: rules {version}: {summary(document)}")
        return 0
    announcement = asyncio.run(put_rules(settings.kafka, scenario, text))
    return _wait(args, settings, scenario, announcement, version)


def _list(args: argparse.Namespace, settings: Settings) -> int:
    known = asyncio.run(rules_by_key(settings.kafka))
    found: dict[str, Any] = {}
    for key, record in known.items():
        if not key.endswith(PREVIOUS):
            before = known.get(key + PREVIOUS)
            found[key] = {
                "version": version_of(record.rules),
                "created_ts": record.created_ts,
                "previous": None if before is None else version_of(before.rules),
            }
    if not args.json:
        for key, told in found.items():
            write_row([key, told["version"], str(told["created_ts"]), told["previous"] or "-"])
    emit(args, {"scenarios": found})
    return 0


def _show(args: argparse.Namespace, settings: Settings, scenario: str) -> int:
    record = asyncio.run(rules_by_key(settings.kafka)).get(scenario)
    if record is None:
        raise InputError(f"scenario {scenario!r} has no rules; headrace rules list names those that have")
    if not args.json:
        for line in record.rules.splitlines():
            write_line(line)
    emit(args, {"scenario": scenario, "version": version_of(record.rules), "rules": record.rules})
    return 0


def _wait(args: argparse.Namespace, settings: Settings, scenario: str, announcement: str, version: str) -> int:
    """Wait for the recommenders and the servers, and print their receipts."""
    what = f"rules {version}" if version else "no rules"
    answers = Answers((), (), 0)
    if not args.no_wait:
        apps: list[Answering] = ["recommender", "server"]
        waiting = wait_with_bar(settings.kafka, "rules", announcement, apps=apps, timeout_s=args.timeout)
        answers = asyncio.run(waiting)
        for line in answers.as_lines():
            say(line)
        answers.check(f"scenario {scenario}, {what}")
    told = f"scenario {scenario}: {what}"
    told += " published" if args.no_wait else f" in force on {answers.n_live} recommenders and servers"
    emit(args, {"scenario": scenario, "version": version, "announcement": announcement, **answers.as_dict()}, text=told)
    return 0
