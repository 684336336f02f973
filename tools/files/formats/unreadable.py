"""Names files that hold no rows as headrace reads them, and says what to do with each."""

from __future__ import annotations

import re
from typing import Final

from streams.errors import InputError

#: What a file begins with, what it is then, and what to do.
_BINARY: Final = (
    (b"%PDF", "a PDF document", "export its table as CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (xls)", "save the sheet as CSV UTF-8"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it first"),
    (b"\x04\x22\x4d\x18", "packed with lz4", "unpack it first: lz4 -d"),
    (b"\xff\x06\x00\x00sNaPpY", "packed with snappy", "unpack it first"),
    (b"LZIP", "packed with lzip", "unpack it first: lzip -d"),
    (b"\x1f\x9d", "packed with compress", "unpack it first: gzip -d"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table: sqlite3 -header -csv FILE 'select * from T'"),
    (b"PGDMP", "a dump of PostgreSQL", "load it, then export the table: COPY t TO STDOUT (FORMAT csv, HEADER)"),
    (b"ARROW1", "an Arrow or Feather file", "write it as Parquet"),
    (b"FEA1", "an old Feather file", "write it as Parquet"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "write the table as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write it as CSV or Parquet"),
    (b"PARE", "an encrypted Parquet file", "decrypt it first"),
    (b"\x89PNG", "a picture", "name a file with rows"),
    (b"\xff\xd8\xff", "a picture", "name a file with rows"),
    (b"GIF8", "a picture", "name a file with rows"),
    (b"\x7fELF", "a program", "name a file with rows"),
)
#: Python pickles can run code when they are loaded, so nobody should load one from elsewhere.
_PICKLE: Final = re.compile(rb"\x80[\x02-\x05](?:\x95.{8}|[\]}(cX\x8a-\x8e])", re.DOTALL)
_TAR_MARK: Final = slice(257, 262)
_PYTHON: Final = re.compile(rb"[\[({][\s\[({]*(?:u?'|b')|\{[^\"\n]{0,80}\bu?'")
_TEXT: Final = (
    (
        re.compile(rb"<\?xml|<!DOCTYPE (?!html)|<[A-Za-z_][\w:.-]*(?:\s[^<>]*)?>\s*<", re.IGNORECASE),
        "XML",
        "convert it to CSV or JSON lines",
    ),
    (
        re.compile(
            rb"(?:--[^\n]*\n\s*|/\*.*?\*/;?\s*|SET [^\n]*\n\s*)*(?:CREATE |INSERT INTO |DROP TABLE |COPY \S+ \(|LOCK TABLES )|-- "
            rb"(?:MySQL|MariaDB|PostgreSQL|pgloader|SQL|phpMyAdmin)",
            re.IGNORECASE | re.DOTALL,
        ),
        "a dump in SQL",
        "load it, then export the table as CSV",
    ),
    (re.compile(rb"%YAML|---\s*\n", re.IGNORECASE), "YAML", "convert it to JSON lines"),
    (re.compile(rb"@relation\b", re.IGNORECASE), "ARFF", "convert it to CSV"),
    (re.compile(rb"version https://git-lfs.github.com/spec"), "a pointer of Git LFS, not the data", "run git lfs pull"),
)  # fmt: skip
_HTML: Final = re.compile(rb"(?:<!--.*?-->\s*)*<(?:!DOCTYPE html|html|head|body|table)\b", re.IGNORECASE | re.DOTALL)


def check_readable(head: bytes, name: str) -> None:
    """Raise :class:`InputError` where a file's first bytes show a format that has no rows for us.

    Parameters
    ----------
    head : the first 512 bytes or more, unpacked
    """
    for magic, what, remedy in _BINARY:
        if head.startswith(magic):
            raise InputError(f"{name}: is {what}; {remedy}")
    if head[_TAR_MARK] == b"ustar":
        raise InputError(f"{name}: is a tar archive; unpack it and name one file or the folder")
    if _PICKLE.match(head):
        raise InputError(f"{name}: is a Python pickle; write the table as Parquet")


def check_text(head: bytes, name: str) -> None:
    """Raise :class:`InputError` where a text is in a language that has no rows for us.

    Parameters
    ----------
    head : the beginning of the text, as UTF-8
    """
    head = head.lstrip()[: 1 << 12]
    if _HTML.match(head):
        raise InputError(f"{name}: is HTML, perhaps the page of a login or an error; fetch the data itself")
    for pattern, what, remedy in _TEXT:
        if pattern.match(head):
            raise InputError(f"{name}: is {what}; {remedy}")


def check_python(line: bytes, name: str, number: int) -> None:
    """Raise :class:`InputError` where the first line that is no JSON is a Python literal."""
    if _PYTHON.match(line.lstrip()):
        raise InputError(
            f"{name}: line {number} is no JSON object (single quotes: a Python literal?); convert each line: "
            'python3 -c "import ast,json,sys; [print(json.dumps(ast.literal_eval(l))) for l in sys.stdin]"'
        )
