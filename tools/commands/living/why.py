"""``headrace why``: says why an item is in a published list of a user, or why it is not.

The answer comes from the topics, for as long as they hold what it needs, and from the artifact that
the list names.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from streams.contract.pseudonyms import open_pseudonyms
from streams.errors import InputError
from streams.kafka.deployment import load_deployment
from streams.settings.load import Settings
from tools.cli import emit
from tools.oracle.why import engineer, shopper
from tools.oracle.why.answer import Answer
from tools.oracle.why.case import open_cases
from tools.oracle.why.explain import explain
from tools.oracle.why.published import place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("user", metavar="USER", help="the shop's own id, also with pseudonyms")
    parser.add_argument("item", metavar="ITEM", help="id of an item, in the list or not")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--list", metavar="ID", help="the list with this list_id (default: the user's newest list)")
    which.add_argument(
        "--at",
        metavar="PARTITION:OFFSET",
        help="the list at this offset of recommendations, or the first one with the event at this offset of events; "
        "recommendations: or events: before it says which",
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="the artifact that made the list (default: looked for)"
    )
    parser.add_argument(
        "--for", dest="reader", choices=("engineer", "user"), default="engineer", help="default: %(default)s"
    )
    parser.add_argument("--language", choices=shopper.LANGUAGES, help="of the words for a user (default: en)")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    if args.language is not None and args.reader != "user":
        raise InputError(f"--language {args.language}: is for --for user; add that, or leave --language out")
    place = None if args.at is None else place_of(args.at)
    settings = load_deployment(broker=args.broker)
    pseudonyms = open_pseudonyms(settings.kafka)
    user_id = args.user if pseudonyms is None else pseudonyms.of(args.user)

    async def answered(settings: Settings) -> Answer:
        async with open_cases(settings, args.artifact) as cases:
            return explain(await cases.find(user_id, list_id=args.list, place=place), args.item)

    answer = asyncio.run(answered(settings))
    if args.reader == "user":
        text = shopper.sentences(answer, args.language or "en")
        emit(args, answer.as_dict() | {"text": text}, text)
    else:
        emit(args, answer.as_dict(), engineer.lines(answer))
    return 0
