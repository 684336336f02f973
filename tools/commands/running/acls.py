"""``headrace acls ROLE``: prints the smallest list of access control entries of a role; grants
nothing itself.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from streams.contract.roles import ROLES, acls
from streams.settings.load import load_settings
from tools.cli import emit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("role", choices=ROLES, help="what the principal does")
    parser.add_argument("--principal", metavar="NAME", help="who gets the rights (default: the role's name)")


def run(args: argparse.Namespace) -> int:
    """Print the commands of Kafka's own tool, one for each entry."""
    kafka = load_settings(broker=args.broker).kafka
    entries = acls(args.role, kafka)
    lines = [entry.command(kafka.broker, args.principal or args.role) for entry in entries]
    emit(args, {"role": args.role, "acls": [asdict(entry) for entry in entries]}, lines)
    return 0
