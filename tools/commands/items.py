"""``headrace items put|delete|list``: the catalogue on the compacted topic ``items``."""

from __future__ import annotations

import argparse
import asyncio
import codecs
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.contract.records import MAX_RECORD_BYTES, VERSION, Item, RecordDecoder, encode
from streams.errors import InputError, RecordError
from streams.kafka.deployment import with_existing_partitions
from streams.kafka.permissions import prepare
from streams.kafka.publisher import Publisher
from streams.settings.load import Settings, load_settings
from tools.catalogue import read_titles
from tools.cli import emit, progress, say, write_row
from tools.files.log_reader import parse_columns, read_items

SUMMARY = "put, delete and list catalogue items"
JSON_LINES: Final = (".jsonl", ".ndjson", ".json")
SHOWN_REFUSED: Final = 1_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("action", choices=("put", "delete", "list"))
    parser.add_argument(
        "names", nargs="*", metavar="FILE|ID", help="put: one file (JSON lines, CSV, TSV, .item); delete: item ids"
    )
    parser.add_argument(
        "--columns", metavar="A=B,...", help="put: contract names to the file's columns: item_id=movieId,title=name"
    )
    parser.add_argument("--yes", action="store_true", help="delete: needed, for it cannot be undone")


def run(args: argparse.Namespace) -> int:
    """Run the command; return its exit code: 1 where a line was refused."""
    settings = load_settings(broker=args.broker)
    return {"put": _put, "delete": _delete, "list": _list}[args.action](args, settings)


def _put(args: argparse.Namespace, settings: Settings) -> int:
    if len(args.names) != 1:
        raise InputError(f"put: {len(args.names)} files named, must be one")
    path = Path(args.names[0])
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a catalogue in JSON lines, CSV, TSV or .item")
    refused: list[str] = []
    items = _check_items(_read_fields(path, args.columns), refused)
    sent = asyncio.run(_publish(settings, ((item.item_id, encode(item)) for item in items)))
    for message in refused[:SHOWN_REFUSED]:
        say(message, style="yellow")
    emit(args, {"sent": sent, "refused": len(refused)}, f"{sent} items sent, {len(refused)} refused")
    return 1 if refused else 0


def _delete(args: argparse.Namespace, settings: Settings) -> int:
    if not args.names:
        raise InputError("delete: no item id given")
    if not args.yes:
        raise InputError(f"delete: would remove {len(args.names)} items from the catalogue; add --yes")
    sent = asyncio.run(_publish(settings, ((name, None) for name in args.names)))
    emit(args, {"sent": sent}, f"{sent} items deleted")
    return 0


def _list(args: argparse.Namespace, settings: Settings) -> int:
    if args.names:
        raise InputError("list: takes no names")
    titles = asyncio.run(read_titles(settings.kafka))
    with contextlib.suppress(BrokenPipeError):
        for item_id, title in titles.items():
            write_row([item_id, title])
        emit(args, {"items": len(titles), "sent": 0})
    return 0


def _read_fields(path: Path, columns: str | None) -> Iterator[tuple[str, Any]]:
    """Yield where each entry stands and its fields as they were read; fields are not checked."""
    if path.suffix in JSON_LINES and columns is None:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_RECORD_BYTES + 1):
                number += 1
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # Windows tools write one
                if line.strip():
                    yield f"{path.name} line {number}", line
        return
    for item_id, fields in read_items(path, parse_columns(columns or "")).items():
        yield f"{path.name} item {item_id}", {"item_id": item_id, **fields}


def _check_items(entries: Iterable[tuple[str, Any]], refused: list[str]) -> Iterator[Item]:
    decoder = RecordDecoder(Item)
    for place, entry in entries:
        try:
            fields = entry if isinstance(entry, dict) else msgspec.json.decode(entry, type=dict[str, Any])
            yield decoder.decode(msgspec.json.encode({"v": VERSION, **fields}))
        except (RecordError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            refused.append(f"{place}: {exc}")


async def _publish(settings: Settings, records: Iterable[tuple[str, bytes | None]]) -> int:
    """Publish records by item id; return how many were delivered."""
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
