"""API keys: the file that holds their hashes, and the look-up of a key in it.

A key is 256 random bits, so one SHA-256 of it is as hard to reverse as it is to guess the key. The
file never holds a key.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from models.files.atomic import replace_file
from streams.errors import InputError, SettingsError
from streams.server.gate.callers import Caller, Scope
from streams.settings.secrets import check_file

SETTING: Final = "serve_keys_file"
#: A key begins so: scanners for secrets, and people, know what it is.
KEY_PREFIX: Final = "hr_"
KEY_BYTES: Final = 32
MAX_FILE_BYTES: Final = 4 << 20
#: Seconds between two looks at the file: a key that was removed is refused after that.
LOOK_EVERY_S: Final = 1.0
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class StoredKey(msgspec.Struct, frozen=True):
    """A key as the file has it."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created_ts: int


class _File(msgspec.Struct):
    v: Annotated[int, Meta(ge=1, le=1)]
    keys: list[StoredKey]


def hash_of(key: str) -> str:
    """Return the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def read_keys(file: Path) -> list[StoredKey]:
    """Return the keys of a file.

    Raises
    ------
    SettingsError
        When the file cannot be read, others may read or write it, or it is no file of keys.
    """
    check_file(str(file), SETTING, private=True)
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise SettingsError(f"{SETTING}={str(file)!r}: is above {MAX_FILE_BYTES} bytes; remove keys from it")
        return msgspec.json.decode(content, type=_File).keys
    except OSError as exc:
        raise SettingsError(
            f"{SETTING}={str(file)!r}: cannot be read ({exc.strerror}); make it with headrace serve keys add"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(
            f"{SETTING}={str(file)!r}: is no file of keys ({exc}); make one with headrace serve keys add"
        ) from None


def add_key(file: Path, name: str, scopes: Sequence[Scope]) -> str:
    """Put a new key into a file, which is made where it is missing; return the key.

    Raises
    ------
    InputError
        When the name cannot be used, or is there already.
    SettingsError
        As :func:`read_keys`.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"name {name!r}: must be 1 to 64 of letters, digits, '_', '.' and '-'")
    keys = read_keys(file) if file.exists() else []
    if any(key.name == name for key in keys):
        raise InputError(f"name {name!r}: there is a key of this name; remove it first, or take another name")
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    keys.append(StoredKey(name, sorted(set(scopes)), hash_of(key), int(1000 * time.time())))
    _write(file, keys)
    return key


def remove_key(file: Path, name: str) -> None:
    """Remove a key from a file.

    Raises
    ------
    InputError
        When there is no key of this name.
    SettingsError
        As :func:`read_keys`.
    """
    keys = read_keys(file)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        raise InputError(f"name {name!r}: no such key; headrace serve keys list names them")
    _write(file, left)


def _write(file: Path, keys: list[StoredKey]) -> None:
    try:
        replace_file(file, msgspec.json.format(msgspec.json.encode(_File(1, keys)), indent=1) + b"\n")
    except OSError as exc:
        raise InputError(f"{file}: cannot be written: {exc.strerror}; name a file in a folder of this user") from None


class Keys:
    """Finds the owner of a key. It follows changes of the file.

    A file that becomes unusable lets nobody in.

    Raises
    ------
    SettingsError
        As :func:`read_keys`.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._looked_s = time.monotonic()
        self._stamp = _stamp(file)
        self._owners = self._read()

    def owner(self, key: str) -> Caller | None:
        """Return who has a key, None for a key that is not in the file."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._look()
        return self._owners.get(hash_of(key))

    def _look(self) -> None:
        if (stamp := _stamp(self._file)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._owners = self._read()
        except SettingsError:
            self._owners = {}

    def _read(self) -> dict[str, Caller]:
        return {key.sha256: Caller(key.name, frozenset(key.scopes)) for key in read_keys(self._file)}


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """Return what changes when the file does; None where there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
