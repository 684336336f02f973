"""User words: read from a dictionary in jieba's format; mixed words are found whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

#: The process holds the dictionary in memory and tries its words at each character; jieba's own has
#: 349,046.
MAX_USER_WORDS: Final = 500_000
#: jieba stores each prefix of a word, so length costs memory.
MAX_USER_WORD_CHARS: Final = 64

_LINE: Final = re.compile(r"(?P<word>.+?)(?:\s+(?P<freq>-?\d+))?(?:\s+(?P<tag>[a-z]+))?")


class UserWord(NamedTuple):
    """One entry of a user dictionary.

    Parameters
    ----------
    word : normalised
    freq : how often it occurs in jieba's corpus; None lets jieba choose a frequency at which the
        word is kept whole
    tag : part of speech, or None
    """

    word: str
    freq: int | None
    tag: str | None


def read_user_words(path: Path, normalise: Callable[[str], str]) -> tuple[UserWord, ...]:
    """Read a dictionary of lines ``word [freq [tag]]``.

    Empty lines do not count. Of a repeated word the last line counts.

    Parameters
    ----------
    normalise : what cleaning does to a text before cutting; words are compared in that form

    Raises
    ------
    ValueError
        When the file cannot be read, a line has no word, or a limit is exceeded; the message names
        file and line.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ValueError(f"user dictionary {path}: cannot be read: {exc}; name a UTF-8 text file") from exc
    if len(lines) > MAX_USER_WORDS:
        raise ValueError(
            f"user dictionary {path}: {len(lines)} lines, at most {MAX_USER_WORDS}; keep the words you need"
        )
    words = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            entry = _parse(line.strip(), normalise, f"user dictionary {path} line {number}")
            words[entry.word] = entry
    return tuple(words[word] for word in sorted(words))


def _parse(line: str, normalise: Callable[[str], str], where: str) -> UserWord:
    found = _LINE.fullmatch(line)
    word = normalise(found["word"]).strip() if found else ""
    if not found or not any(char.isalnum() for char in word) or len(word) > MAX_USER_WORD_CHARS:
        raise ValueError(
            f"{where}: {line[:80]!r} has no word of 1 to {MAX_USER_WORD_CHARS} characters with a letter or digit; "
            "write: word [frequency [tag]]"
        )
    freq = int(found["freq"]) if found["freq"] else None
    if freq is not None and not 1 <= freq <= 1_000_000_000:
        raise ValueError(f"{where}: frequency {freq}, from 1 to 1000000000; leave it out to let jieba find one")
    return UserWord(word, freq, found["tag"])


def digest(words: Iterable[UserWord]) -> str:
    """Return 12 hexadecimal digits over words, frequencies and tags, in any order of lines."""
    lines = "\n".join(f"{word.word}\t{word.freq}\t{word.tag}" for word in sorted(words))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


class WholeWords:
    """Finds words in a text, longest first, from the left; not inside a longer Latin word.

    Parameters
    ----------
    words : normalised; may be empty
    is_letter : whether a character belongs to words that are not cut: true for Latin letters and
        digits, false for Chinese
    """

    def __init__(self, words: Iterable[str], is_letter: Callable[[str], bool]) -> None:
        self._words = frozenset(words)
        self._is_letter = is_letter
        lengths: dict[str, set[int]] = {}
        for word in self._words:
            lengths.setdefault(word[0], set()).add(len(word))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}
        self._first = re.compile(f"[{''.join(map(re.escape, sorted(lengths)))}]") if lengths else None

    def split(self, text: str) -> Iterator[tuple[str, bool]]:
        """Yield the pieces of a text in order, each with True if it is one of the words."""
        start = at = 0
        while self._first and (first := self._first.search(text, at)):
            at = first.start()
            if end := self._end(text, at):
                yield text[start:at], False
                yield text[at:end], True
                start = at = end
            else:
                at += 1
        yield text[start:], False

    def _end(self, text: str, start: int) -> int:
        """Return where the longest word that starts here ends; 0 without one."""
        if start and self._is_letter(text[start - 1]) and self._is_letter(text[start]):
            return 0
        for length in self._lengths[text[start]]:
            end = start + length
            is_inside = end < len(text) and self._is_letter(text[end - 1]) and self._is_letter(text[end])
            if not is_inside and text[start:end] in self._words:
                return end
        return 0
