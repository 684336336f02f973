"""Names of text encodings: which Python knows, and which one some bytes have most likely."""

from __future__ import annotations

import codecs
import re
from typing import Final

from streams.errors import InputError

UTF_8: Final = "utf-8"


def check_encoding(name: str) -> str:
    """Return Python's name of a text encoding; raise :class:`InputError` where it knows none."""
    try:
        found = codecs.lookup(name).name
        codecs.getincrementaldecoder(name)("strict").decode(b"", final=True)
        "a".encode(name)
    except (LookupError, TypeError, ValueError) as exc:
        raise InputError(
            f"--encoding {name!r}: is not a text encoding; name one, as utf-8, gb18030, big5, shift_jis or cp1252"
        ) from exc
    return UTF_8 if found in ("utf-8", "utf-8-sig", "ascii") else found


def likely_encoding(sample: bytes) -> str:
    """Return the most likely encoding of lines of text.

    Of the Western encodings it is that of Windows.
    """
    from charset_normalizer import from_bytes

    best = from_bytes(sample).best()
    if best is not None and not re.search("[A-Za-z\u00c0-\u024f]{3}", str(best)):
        return best.encoding
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"
