"""Reads entries with an id from files: what items and users have in common.

An entry goes the way of an event: rows, words for nothing, ids, values, and the contract's own
check. Each row ends as an entry, as a refused row, or as an earlier row of an id that comes again.
A value that cannot be used is left out, counted by field, and told once with an example.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from streams.contract.records import VERSION, Item, RecordDecoder, User
from streams.errors import InputError, RecordError
from streams.formats.values import id_text, is_missing, plain_text, shown
from streams.printable import counted
from tools.cli import say
from tools.files.cells.features import FEATURE, feature_columns, feature_value, raw_features
from tools.files.cells.lists import SEPARATOR, list_of
from tools.files.cells.missing import MissingWords
from tools.files.cells.tally import Tally
from tools.files.file_options import FileOptions, shown_paths
from tools.files.mapping import LeftOut as PassedOver
from tools.files.mapping import Removed
from tools.files.presets import find_preset
from tools.files.raw_rows import RawRow, ShortRow, raw_rows
from tools.files.refused_rows import SHOWN_BAD, RefusedRows

RecordT = TypeVar("RecordT", Item, User)


class Row:
    """The values of one row by field, without words for nothing; it counts what is left out."""

    def __init__(self, raws: Mapping[str, Any], place: str, tally: Tally) -> None:
        self.raws = raws
        self.place = place
        self._tally = tally
        for name, raw in raws.items():
            if not is_missing(raw):
                tally.left_out.given(name)
                if tally.missing.has(raw):
                    self.leave_out(name, "are a word for nothing", raw)

    def get(self, name: str) -> Any:
        """Return a raw value, None where it is missing."""
        raw = self.raws.get(name)
        return None if is_missing(raw) or self._tally.missing.has(raw) else raw

    def replaced(self, name: str, by: str) -> None:
        """Count that an empty field takes the value of another one."""
        self._tally.replaced(name, by, self.place)

    def leave_out(self, name: str, cause: str, raw: Any) -> None:
        """Count a value that is left out."""
        self._tally.left_out.add(name, cause, f"{shown(raw)} in {self.place}")

    def text(self, name: str) -> str | None:
        """Return a text, None where there is none.

        Raise :class:`RecordError` for a text that is not UTF-8.
        """
        return self._text_of(name, self.get(name))

    def texts(self, name: str) -> list[str]:
        """Return the texts of a list, without missing ones."""
        found = (self._text_of(name, part) for part in self.parts(name))
        return [text for text in found if text]

    def parts(self, name: str) -> Iterator[Any]:
        """Yield the raw values of a list, without missing ones."""
        raw = self.get(name)
        if raw is None:
            return
        self._tally.look_at_separators(name, raw)
        for part in list_of(raw, self._tally.separator):
            if not is_missing(part) and not self._tally.missing.has(part):
                yield part

    def features(self) -> dict[str, float | str]:
        """Return the features by name: those of the object ``features``, then the columns."""
        given = self.get("features")
        if given is not None and not isinstance(given, dict | list):
            self.leave_out("features", "are no object", given)
        found: dict[str, float | str] = {}
        for name, raw, is_column in raw_features(self.raws):
            if is_missing(raw) or self._tally.missing.has(raw):
                continue
            value = feature_value(raw, is_column=is_column)
            if value is None:
                self.leave_out(FEATURE + name, "are neither a finite number nor text", raw)
            else:
                found[name] = value
        return found

    def _text_of(self, name: str, raw: Any) -> str | None:
        if raw is None:
            return None
        text = plain_text(name, raw)
        if text is None:
            self.leave_out(name, "are no text", raw)
        return text or None


@dataclass(frozen=True)
class Kind(Generic[RecordT]):
    """What makes entries of one kind.

    Parameters
    ----------
    what : an entry in words, ``item``
    record : its record on the wire
    names : fields that are read, the id first; columns of features come in addition
    required : fields without which a file cannot be read
    parse : gives the contract's fields of a row, without the id
    separator_option : the option for what parts the values of a list
    add : gives the fields of an entry to which a later row of its id adds, None where the row
        replaces them; without it each row replaces
    """

    what: str
    record: type[RecordT]
    names: tuple[str, ...]
    required: tuple[str, ...]
    parse: Callable[[str, Row], dict[str, Any]]
    separator_option: str
    add: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | None] | None = None

    @property
    def id_field(self) -> str:
        """Name of the field that holds the id."""
        return self.names[0]


@dataclass(frozen=True)
class EntryFiles(Generic[RecordT]):
    """Files of entries of one kind, and how they are read.

    Parameters
    ----------
    separator : what parts the values of a list in a text
    prefix : of the options' names in messages: ``item-`` where they stand beside those of a log
    finish : completes the fields by id when all rows are read; yields what is to be told
    """

    kind: Kind[RecordT]
    paths: Sequence[Path]
    options: FileOptions
    separator: str = SEPARATOR
    prefix: str = ""
    finish: Callable[[dict[str, dict[str, Any]]], Iterator[str]] | None = None


class EntryReader(Generic[RecordT]):
    """Reads entries of files by id; of several rows with one id the last one counts, or all add up.

    Parameters
    ----------
    refused : counts and shows the refused rows

    Attributes
    ----------
    n_rows : rows that were read
    ids_refused : ids of rows that could not be used, so that nobody takes them for removed
    ids_removed : ids that a file of changes removes
    """

    def __init__(self, files: EntryFiles[RecordT], refused: RefusedRows) -> None:
        self._files: EntryFiles[RecordT] = files
        self._kind: Kind[RecordT] = files.kind
        self._names = (*files.kind.names, *feature_columns(mapped_columns(files.options, files.kind.what)))
        self._refused = refused
        self.tally = Tally(
            MissingWords(files.options.missing_words(), f"--{files.prefix}missing"), files.separator or SEPARATOR
        )
        self.n_rows = 0
        self.ids_refused: set[str] = set()
        self.ids_removed: dict[str, None] = {}

    def read(self) -> dict[str, RecordT]:
        """Return the entries by id, in the order in which the ids first come.

        The reader says what it left out.

        Raises
        ------
        InputError
            When a file cannot be read or lacks a column that is needed, or no file has a row.
        """
        name = shown_paths(self._files.paths)
        found: dict[str, dict[str, Any]] = {}
        places: dict[str, str] = {}
        for raw in self._raw_rows():
            self.n_rows += 1
            if isinstance(raw.values, PassedOver):
                self._pass_over(raw.values, found)
                continue
            place = self._place(raw)
            try:
                entry_id, fields = self._parse(raw, place)
            except RecordError as exc:
                self._refused.refuse(place, exc)
                continue
            self.ids_removed.pop(entry_id, None)
            if entry_id in found:
                added = None if self._kind.add is None else self._kind.add(found[entry_id], fields)
                if added is None:
                    self.tally.repeated(f"{shown(entry_id)} in {place}")
                fields = added or fields
            found[entry_id], places[entry_id] = fields, place
        if not self.n_rows:
            raise InputError(self._nothing(name, "the file has no rows"))
        notes: list[str] = [] if self._files.finish is None else list(self._files.finish(found))
        entries = dict(self._checked(found, places))
        separator_option: str = f"--{self._files.prefix}{self._kind.separator_option}"
        for line in (*self.tally.lines(self._kind.id_field, separator_option), *notes):
            say(f"{name}: {line}", style="yellow")
        return entries

    def read_some(self) -> dict[str, RecordT]:
        """Return the entries as :meth:`read` does.

        Raise :class:`InputError` where there are none.
        """
        entries = self.read()
        name = shown_paths(self._files.paths)
        if not entries:
            raise InputError(
                self._nothing(name, f"none of {counted(self.n_rows, 'row')} can be used, first: {self._refused.first}")
            )
        if self._refused.n:
            say(f"{name}: {self._refused.n:,} of {counted(self.n_rows, 'row')} refused", style="yellow")
        if self._refused.n > SHOWN_BAD or self._refused.left_out:
            self._refused.say_summary()
        return entries

    def _pass_over(self, why: PassedOver, found: dict[str, dict[str, Any]]) -> None:
        """Count a row that is no entry; one that removes an entry drops what came before it."""
        self._refused.leave_out(why)
        if isinstance(why, Removed):
            with contextlib.suppress(RecordError):
                entry_id = id_text(self._kind.id_field, why.values[0])
                found.pop(entry_id, None)
                self.ids_removed[entry_id] = None

    def _nothing(self, name: str, why: str) -> str:
        columns = ",".join(f"{field}=NAME" for field in self._kind.names[:2])
        return f"{name}: no {self._kind.what}s: {why}; map the columns with --{self._files.prefix}columns {columns}"

    def _raw_rows(self) -> Iterator[RawRow]:
        return raw_rows(self._files.paths, self._files.options, self._names, self._kind.required)

    def _place(self, raw: RawRow) -> str:
        return f"line {raw.line}" if len(self._files.paths) == 1 else f"{Path(raw.file).name} line {raw.line}"

    def _parse(self, raw: RawRow, place: str) -> tuple[str, dict[str, Any]]:
        values = raw.values
        if isinstance(values, str):
            raise RecordError("malformed", "", values)
        if isinstance(values, ShortRow):
            self.tally.short(values.why, place)
        row = Row(dict(zip(self._names, values, strict=True)), place, self.tally)
        entry_id = self._id(values[0])
        try:
            return entry_id, self._kind.parse(entry_id, row)
        except RecordError:
            self.ids_refused.add(entry_id)
            raise

    def _id(self, raw: Any) -> str:
        """Return an id; raise :class:`RecordError` for a value that is none."""
        field = self._kind.id_field
        if self.tally.missing.count_id(field, raw):
            raise RecordError("missing", field, f"{shown(raw)} is a word for nothing")
        return id_text(field, raw)

    def _checked(self, found: Mapping[str, dict[str, Any]], places: Mapping[str, str]) -> Iterator[tuple[str, RecordT]]:
        """Yield the entries that keep the contract."""
        decoder = RecordDecoder(self._kind.record)
        for entry_id, fields in found.items():
            try:
                record = {"v": VERSION, self._kind.id_field: entry_id, **fields}
                yield entry_id, decoder.decode(msgspec.json.encode(record))
            except (RecordError, msgspec.MsgspecError, TypeError, ValueError, RecursionError) as exc:
                self.ids_refused.add(entry_id)
                self._refused.refuse(places[entry_id], exc)


def fields_of(record: Item | User) -> dict[str, Any]:
    """Return the fields of a record that have a value, without version and id."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__[2:]}
    return {name: value for name, value in fields.items() if value is not None}


def mapped_columns(options: FileOptions, what: str) -> dict[str, str]:
    """Return the columns of entries by field: those of the preset, and over them the user's."""
    rules = find_preset(options.format, f"{what}s")
    return {**({} if rules is None else rules.columns), **options.columns_map()}
