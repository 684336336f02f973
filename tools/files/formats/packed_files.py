"""Opens files in their containers: gzip, zstd, bzip2, xz, or a zip archive with one member.

What a file is, its first bytes say, not its name. A container is unpacked as a stream, in bounded
memory, and the reading stops at a file that unpacks to far too much.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from streams.errors import InputError
from tools.files.formats.read_bytes import READ

#: A real log shrinks to between a third and a fiftieth. A file that grows far more was made to fill
#: the disk or the memory.
MAX_RATIO: Final = 200
FREE_BYTES: Final = 128 << 20
BUFFER_BYTES: Final = 1 << 16
HEAD_BYTES: Final = 512
#: ``xz -9`` needs 65 MiB for its dictionary; a file may ask for 4 GiB.
XZ_MEMORY_BYTES: Final = 128 << 20
#: A container in a container, as a zip archive of a ``.csv.gz``. More was made to cost time.
MAX_DEPTH: Final = 3
SHOWN_MEMBERS: Final = 5
GZIP: Final = b"\x1f\x8b"
ZSTD: Final = b"\x28\xb5\x2f\xfd"
BZIP2: Final = b"BZh"
XZ: Final = b"\xfd7zXZ\x00"
ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06")
SUFFIXES: Final = (".gz", ".zst", ".bz2", ".xz", ".zip")
#: What Office programs and other tools keep in zip archives, by a member that each has.
_DOCUMENTS: Final = {
    "xl/": "an Excel workbook (xlsx); save the sheet as CSV UTF-8",
    "word/": "a Word document; export its table as CSV",
    "ppt/": "a presentation; export its table as CSV",
    "content.xml": "an OpenDocument file; save the sheet as CSV",
    "Index/": "a Numbers spreadsheet; export it as CSV",
}
#: Members that archivers add.
_BESIDE: Final = ("__MACOSX/", ".DS_Store", "Thumbs.db")


def check_unpacked(path: Path | str, n_bytes: int, size: int) -> None:
    """Raise :class:`InputError` where a file of ``size`` bytes unpacks to far too many."""
    if n_bytes > FREE_BYTES + MAX_RATIO * size:
        raise InputError(
            f"{path}: unpacks to more than {FREE_BYTES >> 20} MiB and {MAX_RATIO} times its {size} bytes; if that is "
            "right, unpack it first"
        )


@contextmanager
def open_unpacked(path: Path, name: str) -> Iterator[BinaryIO]:
    """Open a file, and the container that it is; reading gives the innermost content.

    Parameters
    ----------
    name : what messages call the file

    Raises
    ------
    InputError
        When the file cannot be opened, is no container although its name says so, or is an archive
        of something else than one file. While reading, also when the data is damaged, ends early or
        unpacks to far too much.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            with READ.counted(file, size):
                content = _content(cast(BinaryIO, file), name, size)
                if content is file and size and path.suffix.lower() in SUFFIXES:
                    raise InputError(
                        f"{name}: its name ends in {path.suffix}, its content is not; rename it or fetch it again"
                    )
                yield content
    except OSError as exc:
        raise InputError(f"{name}: cannot be read ({exc.strerror or exc})") from exc


def seekable(content: BinaryIO) -> BinaryIO:
    """Return an open file at its beginning.

    The content of a container is copied to a temporary file.
    """
    if isinstance(content, io.BufferedReader) and isinstance(content.raw, _Unpacked):
        copy = tempfile.TemporaryFile(prefix="headrace-unpacked-")
        while piece := content.read(1 << 20):
            copy.write(piece)
        content = cast(BinaryIO, copy)
    content.seek(0)
    return content


def _content(file: BinaryIO, name: str, size: int) -> BinaryIO:
    content = file
    for _ in range(MAX_DEPTH):
        inner = unpacked(content, name, size)
        if inner is None:
            return content
        content = inner
    raise InputError(f"{name}: is packed more than {MAX_DEPTH} times; unpack it first")


def unpacked(file: BinaryIO, name: str, size: int) -> BinaryIO | None:
    """Return the content of a container, None for a file that is none.

    Parameters
    ----------
    file : at its beginning, where it stays if it is no container
    size : of the file on disk, in bytes, which bounds what it may unpack to
    """
    magic = peek(file)
    stream: Any
    if magic[:2] == GZIP:
        stream = gzip.GzipFile(fileobj=file)
    elif magic[:4] == ZSTD or (magic[1:4] == b"\x2a\x4d\x18" and magic[0] & 0xF0 == 0x50):
        import pyarrow

        # pyarrow, because zstandard's stream does not tell a truncated file from one that has ended
        stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(file, mode="r"), "zstd")
    elif magic[:3] == BZIP2 and magic[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        stream = _Streams(file, bz2.BZ2Decompressor)
    elif magic[:6] == XZ:
        stream = _Streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES))
    elif magic[:4] in ZIP:
        stream = _only_member(file, name)
    else:
        return None
    return cast(BinaryIO, io.BufferedReader(_Unpacked(name, stream, size), BUFFER_BYTES))


def peek(file: BinaryIO) -> bytes:
    """Return the first bytes of a file that is at its beginning, and leave it there."""
    if isinstance(file, io.BufferedReader):
        return file.peek(HEAD_BYTES)[:HEAD_BYTES]
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _only_member(file: BinaryIO, name: str) -> Any:
    """Return the stream of an archive's only file."""
    try:
        archive = zipfile.ZipFile(seekable(file))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as exc:
        raise InputError(f"{name}: damaged zip ({exc}); fetch the file again") from exc
    names = [info.filename for info in archive.infolist()]
    for sign, what in _DOCUMENTS.items():
        if any(each.startswith(sign) for each in names):
            raise InputError(f"{name}: is {what}")
    members = [m for m in archive.infolist() if not m.is_dir() and not any(each in m.filename for each in _BESIDE)]
    if len(members) != 1:
        shown = ", ".join(member.filename for member in members[:SHOWN_MEMBERS])
        more = f" and {len(members) - SHOWN_MEMBERS} more" if len(members) > SHOWN_MEMBERS else ""
        what = f"{len(members)} files: {shown}{more}" if members else "no file"
        raise InputError(f"{name}: is a zip archive of {what}; unpack it and name one file or the folder")
    (member,) = members
    if member.flag_bits & 1:
        raise InputError(f"{name}: is a zip archive with a password; unpack it first")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        raise InputError(f"{name}: {member.filename} in it is packed in an unusual way; unpack it first")
    try:
        return archive.open(member)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as exc:
        raise InputError(f"{name}: damaged zip ({exc}); fetch the file again") from exc


class _Streams:
    """Unpacks bzip2 or xz, in which one stream may follow another."""

    def __init__(self, file: BinaryIO, new: Callable[[], Any]) -> None:
        self._file = file
        self._new = new
        self._unpacker: Any = new()

    def readinto(self, buffer: Any) -> int:
        """Put the next bytes into ``buffer``; return their number, 0 at the end."""
        while True:
            if self._unpacker.eof and not self._begin():
                return 0
            piece = b""
            if self._unpacker.needs_input:
                piece = self._file.read(BUFFER_BYTES)
                if not piece:
                    raise EOFError("it ends early")
            found = self._unpacker.decompress(piece, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)

    def _begin(self) -> bool:
        """Begin the next stream; return False at the end of the file."""
        rest = self._unpacker.unused_data or self._file.read(BUFFER_BYTES)
        while rest and not rest.strip(b"\0"):  # xz may be padded with zeros
            rest = self._file.read(BUFFER_BYTES)
        if not rest:
            return False
        self._unpacker = self._new()
        self._unpacker.decompress(rest.lstrip(b"\0"), 0)  # takes the bytes, gives none yet
        return True


class _Unpacked(io.RawIOBase):
    """Counts the bytes that come out of a container."""

    def __init__(self, name: str, stream: Any, size: int) -> None:
        self._name = name
        self._stream = stream
        self._size = size
        self._n_bytes = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put what is ready into ``buffer``; return the number of bytes, 0 at the end."""
        try:
            n = int(self._stream.readinto(buffer))
        except InputError:
            raise
        except _DAMAGED as exc:
            if isinstance(exc, OSError) and exc.errno is not None:
                raise
            raise InputError(f"{self._name}: damaged {self._kind()} ({exc}); fetch the file again") from exc
        self._n_bytes += n
        check_unpacked(self._name, self._n_bytes, self._size)
        return n

    def _kind(self) -> str:
        kinds = {gzip.GzipFile: "gzip", zipfile.ZipExtFile: "zip", _Streams: "bzip2 or xz"}
        return next((kind for type_, kind in kinds.items() if isinstance(self._stream, type_)), "zstd")


_DAMAGED: Final = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError)
