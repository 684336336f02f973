"""Pseudonymous user ids: the producer replaces the shop's id by a keyed hash of it.

Whoever has the key can compute the pseudonym of a known id; nobody can reverse a pseudonym.
Everything behind the topic ``events`` treats a pseudonym like any other id.
"""

from __future__ import annotations

import base64
import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Final

from streams.errors import SettingsError
from streams.settings.load import KafkaSettings
from streams.settings.record_limits import MAX_ID_LENGTH
from streams.settings.secrets import read_secret

#: A key must be as hard to guess as a pseudonym.
MIN_KEY_BYTES: Final = 16
#: Fewest different steps between neighbouring bytes, or characters, of a key. A key that counts or
#: repeats has fewer. Of a million random keys of 32 hexadecimal digits none was refused.
MIN_DISTINCT_STEPS: Final = 8
MAKE_KEY: Final = "(umask 077; openssl rand -hex 32 >FILE)"
#: 128 bits: the chance that any two of a thousand million users collide is below 2e-21.
DIGEST_BYTES: Final = 16
_DOMAIN: Final = b"headrace.user_id"
_REMEMBERED: Final = 100_000


class Pseudonyms:
    """Maps user ids to pseudonyms of 32 hexadecimal digits.

    References
    ----------
    BLAKE2b in its keyed mode: RFC 7693, section 2.9.
    """

    def __init__(self, key: str) -> None:
        self._key = hashlib.sha512(key.encode()).digest()
        self.of = lru_cache(_REMEMBERED)(self._of)

    def _of(self, user_id: str) -> str:
        """Return the pseudonym of a user id.

        An id outside the contract's limits stays as it is, so that it is refused.
        """
        if not 1 <= len(user_id) <= MAX_ID_LENGTH:
            return user_id
        content = user_id.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=self._key, person=_DOMAIN).hexdigest()

    def fingerprint(self) -> str:
        """Return a short hash that tells two keys apart. It is nobody's pseudonym."""
        return hashlib.blake2b(b"", digest_size=4, key=self._key, person=_DOMAIN).hexdigest()


def open_pseudonyms(kafka: KafkaSettings) -> Pseudonyms | None:
    """Return the pseudonyms of the key in ``user_id_key_file``, or None where that is not set.

    Raises
    ------
    SettingsError
        When the file cannot be used, or the key does not look random and could be guessed.
    """
    if not kafka.user_id_key_file:
        return None
    key = read_secret(kafka.user_id_key_file, "user_id_key_file")
    problem = weakness(key)
    if problem:
        raise SettingsError(
            f"user_id_key_file={kafka.user_id_key_file!r}: the key {problem}, must be {MIN_KEY_BYTES} or more random bytes in hexadecimal "
            f"or base64; make one with: {MAKE_KEY}"
        )
    return Pseudonyms(key)


def weakness(key: str) -> str:
    """Return why a key does not look random, or an empty string.

    It refuses keys that repeat or count, and keys that do not encode bytes, such as phrases, whose
    words can be tried. It cannot know a random key that somebody has published.
    """
    drawn = _decoded(key)
    if drawn is None:
        return "is neither hexadecimal nor base64"
    if len(drawn) < MIN_KEY_BYTES:
        return f"holds {len(drawn)} bytes"
    n_steps = min(len({after - before for before, after in pairwise(symbols)}) for symbols in (drawn, key.encode()))
    if 2 * len(set(drawn)) < len(drawn[:256]) or n_steps < MIN_DISTINCT_STEPS:
        return "repeats itself or counts"
    return ""


def _decoded(key: str) -> bytes | None:
    """Return the bytes that a key encodes, or None.

    Base64 must have capital and small letters; else it may be a word.
    """
    if re.fullmatch(r"(?:[0-9a-f]{2})+|(?:[0-9A-F]{2})+", key):
        return bytes.fromhex(key)
    text = key.rstrip("=")
    if re.fullmatch(r"[A-Za-z0-9+/]+|[A-Za-z0-9_-]+", text) and text.upper() != text and text.lower() != text:
        with suppress(ValueError):
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_" if set(text) & set("-_") else None)
    return None


def short_name(key: bytes) -> str:
    """Return a user's name in logs: it does not reveal the user, and is always the same."""
    return hashlib.blake2b(key, digest_size=4).hexdigest()
