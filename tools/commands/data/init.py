"""``headrace init`` proposes how to read a shop's files.

It looks at them, and writes ``headrace.toml``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from streams.errors import InputError
from streams.settings.load import FILE, load_settings
from tools.cli import check_consent, emit
from tools.init.known_exports import known_export
from tools.init.log_details import LogDetails, log_details
from tools.init.new_sections import new_sections
from tools.init.propose import Part, propose
from tools.init.returns import find_returns
from tools.init.sample import read_tables
from tools.init.settings_file import merge, replaced, write_text
from tools.init.show import as_object, as_tables, next_commands


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="the log, the catalogue, the users, in any order; or a folder that holds them",
    )
    parser.add_argument("--dry-run", action="store_true", help="only show the proposal, write nothing")
    parser.add_argument("--yes", action="store_true", help=f"replace these sections of {FILE} without asking")


def _details(log: Part) -> LogDetails:
    """Return what the log needs beside its columns, with the event types of the settings."""
    settings = load_settings()
    known = settings.sequencer.types().names
    return log_details(log, known, int(time.time() * 1000), may_add="event_types" not in settings.given)


def run(args: argparse.Namespace) -> int:
    """Propose, show, and write; return the exit code."""
    tables, unread = read_tables(args.files)
    proposal = propose(tables, [part for table in tables if (part := known_export(table)) is not None])
    proposal.unused.extend(unread)
    if not proposal.parts():
        raise InputError(
            f"{args.files[0]}: no log, catalogue or users were found: "
            + "; ".join(f"{name}: {why}" for name, why in proposal.unused[:3])
        )
    details = None if proposal.log is None else _details(proposal.log)
    returns = None if proposal.log is None or details is None else find_returns(proposal.log, details)
    written = new_sections(proposal.parts(), details)
    checks = [*proposal.strangers(), *(details.checks if details else []), *written.checks]
    checks += returns.lines() if returns else []
    old = FILE.read_text("utf-8") if FILE.exists() else ""
    text = merge(old, written.sections)
    shown = as_tables(proposal, details, checks)
    if args.dry_run:
        emit(
            args,
            {**as_object(proposal, details, returns, checks, text), "written": False},
            [*shown, f"{FILE} would be:", *text.splitlines()],
        )
        return 0
    changed = replaced(old, written.sections)
    if changed:
        if not args.json:
            emit(args, {}, shown)
            shown = []
        check_consent(args.yes, f"{FILE}: [{'], ['.join(changed)}] would be replaced")
    write_text(FILE, text)
    shown += [
        f"{FILE} is written; change there what is wrong. Then:",
        *(f"  {line}" for line in next_commands(proposal, returns)),
    ]
    emit(args, {**as_object(proposal, details, returns, checks, text), "written": True}, shown)
    return 0
