r"""Makes the text of strangers fit for a screen.

Commands, logs and errors write nothing that has not been through here.

Ids, titles and messages come from whoever may write a topic or a file. A terminal obeys escape
sequences, it shows text behind a directional mark in another order than the text is stored in, and
a newline forges a line.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import unicodedata
from types import TracebackType
from typing import Any, Final

#: Stands before every further line of a log record, so that no text in it can look like a record.
CONTINUATION: Final = "  "
#: Loggers whose records may have several lines: Faust draws tables of topics and partitions.
_LIBRARIES: Final = ("faust", "mode", "aiokafka")
#: What a spreadsheet takes for the beginning of a formula, in the wide forms of Chinese and
#: Japanese keyboards too, or of a quoted cell.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠", '"')
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: ``1 item``, ``2 items``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def printable(text: str) -> str:
    r"""Return text as one line that a terminal shows as it is.

    Control, format and directional characters, line separators, unassigned characters and lone
    surrogates are spelled as in Python's source: ``\n``, ``\x1b``, ``\u202e``. Every letter, mark,
    number, symbol and space of every script stays.

    Examples
    --------
    >>> print(printable("茶\x1b[2J\nuser 7"))
    茶\x1b[2J\nuser 7
    """
    return text if text.isprintable() else "".join(c if is_shown(c) else _spelled(c) for c in text)


def printable_json(text: str) -> str:
    r"""Return JSON text without characters that a terminal obeys or hides.

    It decodes to the same values.

    Such a character becomes ``\uXXXX``: it stands within a string, because JSON has none of them
    elsewhere but the line break.
    """
    if text.isprintable():
        return text
    return "".join(c if is_shown(c) or c == "\n" else _json_spelled(c) for c in text)


def table_cell(text: str) -> str:
    """Return text as one cell of a table that a spreadsheet may open.

    The cell is printable, and never a formula.

    What begins as a formula or with a quote gets an apostrophe before it; a number stays a number.
    """
    line = printable(text)
    return f"'{line}" if line.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(line) else line


def is_shown(character: str) -> bool:
    """Whether a terminal shows a character in its place.

    Such characters are those of Python's ``isprintable``, and spaces as in Chinese text (U+3000).
    """
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _json_spelled(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class PrintableFormatter(logging.Formatter):
    """Gives each log record one line.

    A library's further lines and a traceback follow it, indented.

    Put it before another formatter among the bases: what that one adds itself, such as colours,
    stays.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the record's line, or a library's lines."""
        is_library = record.name.split(".")[0] in _LIBRARIES
        lines = record.message.split("\n") if is_library else [record.message]
        record.message = f"\n{CONTINUATION}".join(map(printable, lines))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        """Return a traceback; the message of an exception often quotes what the code failed on."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        """Return a stack."""
        return _indented(super().formatStack(stack_info))


def show_all_uncaught() -> None:
    """Make this process show every uncaught error, in any thread, as :func:`show_uncaught` does.

    Only in the place of Python's own hooks: a debugger or a test run that set others has its
    reason.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show_uncaught
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda given: show_uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def show_uncaught(kind: type[BaseException], exc: BaseException | None, trace: TracebackType | None) -> None:
    """Write the traceback of an error that nobody caught to standard error."""
    sys.stderr.write(_indented("".join(traceback.format_exception(kind, exc, trace)).rstrip("\n")) + "\n")


def _indented(text: str) -> str:
    return "\n".join(CONTINUATION + printable(line) for line in text.split("\n"))
