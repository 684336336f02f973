"""Whom a command is to forget: ids of the shop, and what stands for them in a deployment."""

from __future__ import annotations

import hashlib
import string
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.contract.pseudonyms import Pseudonyms, short_name
from streams.contract.records import is_user_key
from streams.errors import InputError
from streams.settings.record_limits import MAX_ID_LENGTH

#: A shorter id, or one of digits alone, is a common word: in free text only its quoted form counts.
LONG_ENOUGH: Final = 5
QUOTES: Final = ("'", '"')
#: A name is part of a longer one where one of these bytes stands beside it.
HEXADECIMAL: Final = frozenset(b"0123456789abcdef")
IN_IDS: Final = frozenset(f"{string.ascii_letters}{string.digits}_-".encode())


@dataclass(frozen=True)
class Person:
    """A user by all names.

    Parameters
    ----------
    given : the id that the shop uses
    user_id : the id on the topics: the pseudonym, where the deployment has them
    """

    given: str
    user_id: str

    @property
    def key(self) -> bytes:
        """The key of the user's records."""
        return self.user_id.encode()

    @property
    def names(self) -> tuple[str, ...]:
        """The ids that may stand in a record or in a file."""
        return tuple(dict.fromkeys((self.user_id, self.given)))

    @property
    def short(self) -> str:
        """The name by which workers' logs speak of the user."""
        return short_name(self.key)

    @property
    def digest(self) -> str:
        """What stands for the user in the file of receipts, which must not hold the id."""
        return hashlib.blake2b(self.key, digest_size=16, person=b"headrace.receipt").hexdigest()

    def in_text(self) -> dict[bytes, frozenset[int]]:
        """Return what names the user in free text, with the bytes that must not stand beside it."""
        found = {self.short.encode(): HEXADECIMAL}
        for name in self.names:
            if name.isdigit() or len(name) < LONG_ENOUGH:
                found |= {f"{left}{name}{right}".encode(): frozenset() for left in QUOTES for right in QUOTES}
            else:
                found[name.encode()] = IN_IDS
        return found


def people_of(users: Sequence[str], file: str | None, pseudonyms: Pseudonyms | None) -> list[Person]:
    """Return whom the command line and a file name, each once.

    Parameters
    ----------
    file : a file with an id in each line, ``-`` for standard input; None for no file

    Raises
    ------
    InputError
        When nobody is named, the file cannot be read, or an id breaks the contract.
    """
    given = list(dict.fromkeys([*users, *(() if file is None else _lines(file))]))
    if not given:
        raise InputError("name a USER, or a file with one id in each line: --file FILE")
    for one in given:
        if not is_user_key(one.encode("utf-8", "surrogatepass")):
            raise InputError(f"user {one!r}: must be 1 to {MAX_ID_LENGTH} characters of UTF-8; nothing was sent")
    return [Person(one, one if pseudonyms is None else pseudonyms.of(one)) for one in given]


def _lines(file: str) -> Iterable[str]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"--file {file}: cannot be read ({exc}); name a text file in UTF-8") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
