"""Pseudonymous user ids: a keyed hash in place of the id that the shop knows, made where events are produced.

Who has the key can find the pseudonym of a known id, and nobody can turn a pseudonym back. Everything behind the topic ``events`` works
on pseudonyms as on any other id.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Final

from streams.errors import SettingsError
from streams.records import MAX_ID_LENGTH
from streams.security import read_secret
from streams.settings import KafkaSettings

MIN_KEY_CHARACTERS: Final = 32
#: 128 bits: with a thousand million users, the chance that any two meet is below 2e-21.
DIGEST_BYTES: Final = 16
_DOMAIN: Final = b"headrace.user_id"
_REMEMBERED: Final = 100_000


class Pseudonyms:
    """Maps user ids to pseudonyms: BLAKE2b in its keyed mode (RFC 7693, section 2.9), 32 hexadecimal digits."""

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha512(key.encode()).digest()
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _of(self, user_id: str) -> str:
        """Return the pseudonym of a user id; an id beyond the contract's limits stays as it is, to be refused as such."""
        if not 1 <= len(user_id) <= MAX_ID_LENGTH:
            return user_id
        content = user_id.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._key, person=_DOMAIN).hexdigest()

    def fingerprint(self) -> str:
        """Return what tells two keys apart and is nobody's pseudonym."""
        return hashlib.blake2b(b"", digest_size=4, key=self._key, person=_DOMAIN).hexdigest()


def open_pseudonyms(kafka: KafkaSettings) -> Pseudonyms | None:
    """Return the pseudonyms of the key in ``user_id_key_file``, or None where that is not set.

    Raises
    ------
    SettingsError
        When the file cannot be used, or the key is too short to withstand guessing.
    """
    if not kafka.user_id_key_file:
        return None
    key = read_secret(kafka.user_id_key_file, "user_id_key_file")
    if len(key) < MIN_KEY_CHARACTERS:
        raise SettingsError(
            f"user_id_key_file={kafka.user_id_key_file!r}: the key has {len(key)} characters, needs {MIN_KEY_CHARACTERS}; "
            "write one with: openssl rand -hex 32"
        )
    return Pseudonyms(key)
