"""What a training or an evaluation reads: a log, its catalogue and its users, and the embeddings of the items' texts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streams.errors import InputError
from streams.settings.load import load_settings
from tools.cli import progress
from tools.files.log_reader import LogReader, LogSpec, parse_columns, read_items, sorted_rows
from tools.files.user_reader import read_users
from tools.replay.publish_log import Tally

if TYPE_CHECKING:
    from models.interactions import Interactions
    from models.text.encoder_files import Access
    from models.types import Float32


def add_log_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a log, its catalogue and its users."""
    parser.add_argument("log", type=Path, metavar="LOG", help="CSV, TSV, JSON lines or Parquet; gzip or zstd too")
    parser.add_argument("--items", type=Path, metavar="FILE", help="the catalogue: titles, texts, categories, features")
    parser.add_argument("--users", type=Path, metavar="FILE", help="features of users")
    parser.add_argument("--columns", default="", metavar="A=B,...", help="contract names to the log's columns")
    parser.add_argument(
        "--item-columns", default="", metavar="A=B,...", help="contract names to the catalogue's; features.NAME=COLUMN"
    )
    parser.add_argument("--user-columns", default="", metavar="A=B,...", help="likewise of the users' file")
    parser.add_argument("--types", default="", metavar="A=B,...", help="the log's types to the contract's: pv=view")
    parser.add_argument("--time-unit", choices=("auto", "s", "ms", "iso"), default="auto", help="of the log's times")


@dataclass(frozen=True)
class Sides:
    """What is known of items and users beside the log: contract fields by id, and their features by name."""

    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    item_features: Mapping[str, dict[str, float | str | None]] = field(default_factory=dict)
    user_features: Mapping[str, dict[str, float | str | None]] = field(default_factory=dict)


def read_log(args: argparse.Namespace, until_ms: int | None = None) -> Interactions:
    """Return the log's events before ``until_ms`` in time order; bad rows are shown with their line, up to a ceiling."""
    from models.interactions import Interactions

    spec = LogSpec(args.log, parse_columns(args.columns), parse_columns(args.types), args.time_unit)
    rows = sorted_rows(LogReader(spec, Tally().refuse))
    log = Interactions.from_rows(
        (row.user_id, row.item_id, row.type, row.ts_ms) for row in rows if until_ms is None or row.ts_ms < until_ms
    )
    if not len(log):
        raise InputError(
            f"{args.log}: no rows{' before --until ' + str(args.until) if until_ms else ''}: nothing to work on"
        )
    return log


def read_sides(args: argparse.Namespace) -> Sides:
    """Return the catalogue and the users; empty without ``--items`` and ``--users``."""
    from models.features.columns import item_row, user_row

    items = read_items(args.items, parse_columns(args.item_columns)) if args.items else {}
    users = read_users(args.users, parse_columns(args.user_columns)) if args.users else {}
    return Sides(
        items,
        {item_id: item_row(item) for item_id, item in items.items()},
        {user_id: user_row(user) for user_id, user in users.items()},
    )


def encoder_access() -> Access:
    """Return what may be read for an encoder that a person names: anything, and the hub where the setting allows it."""
    from models.text.encoder_files import Access

    return Access(may_download=load_settings().recommender.encoder_download == "on")


def embed_items(items: Mapping[str, dict[str, Any]], encoder: Any, cache: Any) -> dict[str, Float32]:
    """Return the raw text embedding of each item of a catalogue, by item id."""
    from models.text.clean import item_text
    from models.text.embedding_cache import embed_texts

    texts = [item_text(i["title"], i.get("text"), i.get("category"), i.get("tags")) for i in items.values()]
    with progress() as bar:
        task = bar.add_task("item texts", total=None)
        vectors = embed_texts(texts, encoder, cache, lambda done, total: bar.update(task, completed=done, total=total))
    return dict(zip(items, vectors, strict=True))
