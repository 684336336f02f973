"""Reads what a training or an evaluation needs: a log, its catalogue, its users, and embeddings."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from streams.errors import InputError
from streams.settings.load import load_settings
from tools.cli import progress
from tools.files.cells.times import TimeRange, parse_time
from tools.files.entries.sources import CatalogueSource, UserSource
from tools.files.formats.named_files import check_exist, find_files
from tools.files.log_source import LogSource
from tools.files.logs.log_preview import LogPreview, add_dry_run, emit_preview
from tools.files.logs.log_reader import LogReader, sorted_rows
from tools.files.logs.log_rows import EventRules
from tools.files.reading import told_reading
from tools.files.refused_rows import RefusedRows

if TYPE_CHECKING:
    from models.base.types import Float32
    from models.features.columns import Row
    from models.interactions import Interactions
    from models.text.encoder import TextEncoder
    from models.text.encoder_files import Access


#: What a command says of a log without times.
WITHOUT_TIMES: Final = (
    "has no times, so the sequence model and the counts of what follows what are not fitted; factors, neighbours and "
    "popularity are"
)


@dataclass(frozen=True)
class Sides:
    """What is known of items and users apart from the log.

    Parameters
    ----------
    items : the contract's fields, by item id
    item_features, user_features : features by name, by item id and by user id
    follows : the users whom a user follows, by user id
    """

    items: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    item_features: Mapping[str, Row] = field(default_factory=dict)
    user_features: Mapping[str, Row] = field(default_factory=dict)
    follows: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def has_text(self) -> bool:
        """Whether an item has a text of its own.

        A title that is only the item's id says nothing.
        """
        from models.text.clean import fields_text

        return any(fields_text(item, item_id) for item_id, item in self.items.items())


@dataclass(frozen=True)
class TrainingSources:
    """The files of a training or an evaluation."""

    log: LogSource
    catalogue: CatalogueSource | None
    users: UserSource | None
    #: Counts the log's rows that cannot be used.
    refused: RefusedRows = field(default_factory=RefusedRows, compare=False)

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Add what names a log, its catalogue and its users."""
        LogSource.add_options(parser)
        CatalogueSource.add_options(parser)
        UserSource.add_options(parser)
        add_dry_run(parser)

    @classmethod
    def of(cls, args: argparse.Namespace) -> TrainingSources:
        """Return the files that parsed options name."""
        return cls(LogSource.of(args), CatalogueSource.of(args), UserSource.of(args))

    def check(self) -> None:
        """Raise :class:`InputError` where a file is missing, before the first of them is read."""
        for source in (self.log, self.catalogue, self.users):
            if source is not None:
                check_exist(source.paths)

    def read_log(self, until: str | None = None) -> Interactions:
        """Return the log's events in time order; ``refused`` counts the rows that cannot be used.

        These are the rows that ``headrace replay`` publishes under the same settings. The events of
        a log without times come in random order, at the time when its files were written: the order
        of its rows is often that of items or counts, which would give an evaluation's answers away.

        Parameters
        ----------
        until : ``--until`` as the user gave it; later events are left out

        Raises
        ------
        InputError
            When the log cannot be read, or has no event before ``until``.
        """
        from models.interactions import Interactions

        times = TimeRange(end=parse_time("--until", until))
        if until and self.log.no_times:
            raise InputError(f"--until {until}: the log has no times (--no-times); leave one of them out")
        written_ms = _written_ms(self.log.paths) if self.log.no_times else None
        with progress() as bar, told_reading(bar, "reading the log", self.log.paths):
            rows = sorted_rows(self.log_reader())
            log = Interactions.from_events(
                (
                    (row.user_id, row.item_id, row.type, written_ms or row.ts_ms, row.value)
                    for row in rows
                    if row.ts_ms in times
                ),
                load_settings().sequencer.types(),
            )
        if written_ms:
            log = log.where(np.random.default_rng(0).permutation(len(log)))
            self.refused.tell(f"{self.log.name}: {WITHOUT_TIMES}")
        self.refused.say_summary()
        if not len(log):
            before = f" before --until {until}" if until else ""
            raise InputError(f"{self.log.name}: no rows{before}; name a log with events")
        return log

    def log_reader(self) -> LogReader:
        """Return a reader of the log, which holds its rows to the contract."""
        return LogReader(self.log, self.refused, EventRules.of(load_settings()))

    def preview(self, args: argparse.Namespace, would: str) -> int:
        """Print the content of the log, the catalogue and the users for ``--dry-run``.

        It returns the exit code.
        """
        times = TimeRange(end=parse_time("--until", getattr(args, "until", None)))
        found = LogPreview(self.log_reader(), times)
        items = 0 if self.catalogue is None else len(self.catalogue.read())
        users = 0 if self.users is None else len(self.users.read())
        more = {"catalogue_items": items, "catalogue_users": users}
        return emit_preview(
            args, found, self.refused, f"{would}; items of a catalogue: {items:,}, users: {users:,}", more
        )

    def read_sides(self) -> Sides:
        """Return the catalogue and the users; empty without ``--items`` and ``--users``."""
        from models.features.columns import item_row, user_row

        items: dict[str, dict[str, Any]] = {}
        users: dict[str, dict[str, Any]] = {}
        with progress() as bar:
            if self.catalogue is not None:
                with told_reading(bar, "reading the catalogue", self.catalogue.paths):
                    items = self.catalogue.read()
            if self.users is not None:
                with told_reading(bar, "reading the users", self.users.paths):
                    users = self.users.read()
        return Sides(
            items,
            {item_id: item_row(item) for item_id, item in items.items()},
            {user_id: user_row(user) for user_id, user in users.items()},
            {user_id: user["follows"] for user_id, user in users.items() if user.get("follows")},
        )


@dataclass(frozen=True)
class TrainingInputs:
    """A log and what is known of its items and users, as they were read from their sources.

    Parameters
    ----------
    encoder : of the items' texts, if it was opened already
    """

    sources: TrainingSources
    log: Interactions
    sides: Sides
    encoder: TextEncoder | None = None


def _written_ms(paths: Sequence[Path]) -> int:
    """Return when the newest of some files was written, in ms since 1970."""
    return max(file.path.stat().st_mtime_ns // 1_000_000 for file in find_files(paths))


def encoder_access() -> Access:
    """Return what an encoder that the user names may read: any file, downloads if allowed."""
    from models.text.encoder_files import Access

    return Access(may_download=load_settings().recommender.encoder_download == "on")


def embed_items(items: Mapping[str, dict[str, Any]], encoder: Any, cache: Any) -> dict[str, Float32]:
    """Return the raw text embedding of each item of a catalogue, by item id."""
    from models.text.clean import fields_text
    from models.text.embedding_cache import embed_texts

    texts = [fields_text(item, item_id) for item_id, item in items.items()]
    with progress() as bar:
        task = bar.add_task("embedding texts", total=len(texts), unit="texts")
        vectors = embed_texts(texts, encoder, cache, lambda done, total: bar.update(task, completed=done, total=total))
    return dict(zip(items, vectors, strict=True))
