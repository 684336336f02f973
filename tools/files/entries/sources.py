"""Names the catalogue and the users that a command reads, beside a log or alone.

Both have the options of every file, and one of their own: what stands between the parts of a list
in one cell. The sections ``[items]`` and ``[users]`` of ``headrace.toml`` hold their defaults.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from streams.contract.records import Item, User
from tools.files.cells.lists import SEPARATOR
from tools.files.entries.items import item_files
from tools.files.entries.reader import EntryFiles, EntryReader, fields_of
from tools.files.entries.users import as_fields, user_files
from tools.files.file_options import FileOptions
from tools.files.refused_rows import RefusedRows
from tools.files.sections import ReplaceDefault, Section

EntryT = TypeVar("EntryT", Item, User)


@dataclass(frozen=True)
class EntrySource(Generic[EntryT]):
    """Entries in files. In the columns, ``features.NAME=COLUMN`` names a feature.

    Parameters
    ----------
    separator : what stands between the parts of a list in one cell
    prefix : what the names of the options begin with: that of the class beside a log's options
    """

    paths: tuple[Path, ...]
    files: FileOptions = FileOptions()
    separator: str = SEPARATOR
    prefix: str = ""

    #: The section of ``headrace.toml``, and the option that names files beside a log.
    name: ClassVar[str]
    #: Name of the option for ``separator``, without prefix, and what its value stands between.
    separator_option: ClassVar[str]
    between: ClassVar[str]
    #: The files in words, in the genitive; and what they hold.
    whose: ClassVar[str]
    holds: ClassVar[str]

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser, *, instead: str = "none") -> None:
        """Add ``--items`` or ``--users``, and the options for reading the files.

        Parameters
        ----------
        instead : what the command reads without it
        """
        parser.add_argument(
            f"--{cls.name}",
            type=Path,
            action=ReplaceDefault,
            default=list(cls.section().paths) if instead == "none" else [],
            metavar="FILE",
            help=f"{cls.holds}; may be repeated (default: {instead})",
        )
        cls.add_file_options(parser, cls.prefix)

    @classmethod
    def add_file_options(cls, parser: argparse.ArgumentParser, prefix: str) -> None:
        """Add the options for reading the files; their names begin with ``prefix``."""
        FileOptions.add_options(parser, prefix, cls.whose)
        parser.add_argument(
            f"--{prefix}{cls.separator_option}",
            default=SEPARATOR,
            metavar="TEXT",
            help=f"what stands between {cls.between}, in one cell (default: %(default)s)",
        )
        cls.section().set_defaults(parser, prefix)

    @classmethod
    def section(cls) -> Section:
        """Return the section of ``headrace.toml``."""
        return Section.read(cls.name, {**vars(FileOptions()), cls.separator_option.replace("-", "_"): SEPARATOR})

    @classmethod
    def of(cls, args: argparse.Namespace) -> Self | None:
        """Return what parsed options name, None without ``--items`` or ``--users``."""
        paths = getattr(args, cls.name)
        return cls.of_files(args, paths, cls.prefix) if paths else None

    @classmethod
    def of_files(cls, args: argparse.Namespace, paths: Sequence[Path], prefix: str) -> Self:
        """Return these files, read as parsed options say."""
        separator = getattr(args, f"{prefix}{cls.separator_option}".replace("-", "_"))
        return cls(tuple(paths), FileOptions.of(args, prefix), separator, prefix)

    @classmethod
    def of_section(cls) -> Self | None:
        """Return what ``headrace.toml`` names, None where it names nothing."""
        parser = argparse.ArgumentParser()
        cls.add_file_options(parser, "")
        paths = cls.section().paths
        return cls.of_files(parser.parse_args([]), paths, "") if paths else None

    def reader(self, refused: RefusedRows) -> EntryReader[EntryT]:
        """Return a reader of the entries; ``refused`` counts and shows rows that are none."""
        return EntryReader(self._entry_files(), refused)

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the fields of the entries by id; raise :class:`InputError` without entries."""
        return self._fields(self.reader(RefusedRows(f"refused {self.name}")).read_some())

    def _entry_files(self) -> EntryFiles[EntryT]:
        raise NotImplementedError

    def _fields(self, entries: dict[str, EntryT]) -> dict[str, dict[str, Any]]:
        raise NotImplementedError


@dataclass(frozen=True)
class CatalogueSource(EntrySource[Item]):
    """A catalogue in files; ``separator`` stands between tags, and between categories."""

    prefix: str = "item-"

    name = "items"
    separator_option = "tag-separator"
    between = "tags, and between categories"
    whose = "the catalogue's"
    holds = "the catalogue: titles, texts, categories, features"

    def _entry_files(self) -> EntryFiles[Item]:
        return item_files(self.paths, self.files, separator=self.separator, prefix=self.prefix)

    def _fields(self, entries: dict[str, Item]) -> dict[str, dict[str, Any]]:
        """Return the contract's fields by item id."""
        return {item_id: fields_of(item) for item_id, item in entries.items()}


@dataclass(frozen=True)
class UserSource(EntrySource[User]):
    """Users in files; ``separator`` stands between the ids that a user follows."""

    prefix: str = "user-"

    name = "users"
    separator_option = "follow-separator"
    between = "the ids that a user follows"
    whose = "the users'"
    holds = "features and follows of users"

    def _entry_files(self) -> EntryFiles[User]:
        return user_files(self.paths, self.files, separator=self.separator, prefix=self.prefix)

    def _fields(self, entries: dict[str, User]) -> dict[str, dict[str, Any]]:
        """Return features and follows by user id."""
        return as_fields(entries)
