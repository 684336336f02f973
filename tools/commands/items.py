"""``headrace items put|delete|list``: changes and lists the catalogue on the topic ``items``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

from streams.contract.records import encode
from streams.errors import InputError
from streams.formats.decoders import refuse_foreign
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.printable import counted
from streams.settings.load import Settings, load_settings
from tools.catalogue import items_of_file, read_titles
from tools.cli import emit, progress, write_row
from tools.files.file_options import FileOptions
from tools.files.log_source import CatalogueSource
from tools.files.refused_rows import RefusedRows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("put", "delete", "list"), help="what to do with the catalogue")
    parser.add_argument(
        "names", nargs="*", metavar="FILE|ID", help="put: one file (JSON lines, CSV, TSV, .item); delete: item ids"
    )
    parser.add_argument(
        "--columns",
        default="",
        metavar="A=B,...",
        help="put: the file's column of each field: item_id=movieId,title=name",
    )
    parser.add_argument("--yes", action="store_true", help="delete: needed, because it cannot be undone")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a line was refused."""
    settings = load_settings(broker=args.broker)
    return {"put": _put, "delete": _delete, "list": _list}[args.action](args, settings)


def _put(args: argparse.Namespace, settings: Settings) -> int:
    if len(args.names) != 1:
        raise InputError(f"put: {counted(len(args.names), 'file')} named, must be one")
    path = Path(args.names[0])
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a catalogue in JSON lines, CSV, TSV or .item")
    refused = RefusedRows("refused items")
    items = items_of_file(CatalogueSource((path,), FileOptions(args.columns)), refused)
    sent = asyncio.run(_publish(settings, ((item.item_id, encode(item)) for item in items)))
    emit(args, {"sent": sent, "refused": refused.n}, f"{counted(sent, 'item')} sent, {refused.n} refused")
    return 1 if refused.n else 0


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    if not args.names:
        raise InputError("delete: no item id is given; name the ids to delete")
    if not args.yes:
        raise InputError(f"delete: would remove {counted(len(args.names), 'item')} from the catalogue; add --yes")
    sent = asyncio.run(_publish(settings, ((name, None) for name in args.names)))
    emit(args, {"sent": sent}, f"{counted(sent, 'item')} deleted")
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    if args.names:
        raise InputError("list: takes no names; leave them out")
    titles = asyncio.run(read_titles(settings.kafka))
    with contextlib.suppress(BrokenPipeError):
        for item_id, title in titles.items():
            write_row([item_id, title])
        emit(args, {"items": len(titles), "sent": 0})
    return 0


async def _publish(settings: Settings, records: Iterable[tuple[str, bytes | None]]) -> int:
    """Publish records by item id; return how many were delivered."""
    refuse_foreign(settings.kafka, "items")
    kafka = (await with_existing_partitions(settings)).kafka
    await prepare(kafka, "catalogue")
    topic = kafka.topic("items")
    sent = 0
    with progress() as bar:
        task = bar.add_task("publishing", total=None)
        async with Publisher(kafka) as publisher:
            for item_id, value in records:
                await publisher.publish(topic, item_id.encode(), value)
                sent += 1
                bar.update(task, completed=sent)
    return sent
