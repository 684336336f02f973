"""Item text: one width, one case, one Chinese script; Chinese cut into words; no stop words.

Model numbers such as ``iphone15-pro`` stay whole. HTML entities are read as their characters, and
invisible characters end no word.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import re
import threading
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from models.text.characters import visible
from models.text.user_words import UserWord, WholeWords, digest, read_user_words

#: Increase it with every change of the rules below: it is part of the version of every vector.
RULES: Final = 4
#: ``jieba`` is the default; ``rjieba`` is the same in Rust, several times faster; the user installs
#: it.
SEGMENTERS: Final = ("jieba", "rjieba")
#: Encoders read a few hundred tokens, so text beyond this length changes no vector.
MAX_CHARS: Final = 20_000
#: Most characters of an item's text; its title and the start of its description say what it is.
MAX_ITEM_CHARS: Final = 2_000
#: Words of shop titles with letters of two scripts. jieba's dictionary has them in capitals, but
#: normalised text has none.
MIXED_WORDS: Final = ("t恤", "t恤衫", "u盘", "k歌", "x光", "ic卡", "sim卡", "ph值", "cd机", "4s店", "卡拉ok")

_HAN: Final = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
#: Vowel signs and accents that are separate characters in Devanagari, Thai, Arabic and others; they
#: do not end a word. Nor do the joiners that :func:`~models.text.characters.visible` leaves.
_MARKS: Final = "\u200c\u200d" + "".join(
    chr(c) for c in range(0x300, 0x1E00) if unicodedata.category(chr(c)).startswith("M")
)
_LETTER: Final = rf"(?:(?![{_HAN}])(?:[^\W_]|[{_MARKS}]))"
#: A run of Chinese, or letters and digits of any other script joined by marks of model numbers:
#: iphone15-pro, c++, 1/2.
_TOKEN: Final = re.compile(rf"[{_HAN}]+|{_LETTER}+(?:[-+.'/&_]{_LETTER}+)*[+#]*")
_IS_HAN: Final = re.compile(rf"[{_HAN}]")
_IS_LETTER: Final = re.compile(_LETTER)
#: NFKC would turn these signs into letters of the word before: Nike with a trade mark into niketm.
_SIGNS: Final = str.maketrans({"\u2122": " ", "\u2120": " "})


def text_rules(segmenter: str) -> str:
    """Return the version of the cleaning with a segmenter and without user words.

    It names the Unicode tables, which come with Python: another Python may fold another character.
    """
    packages = (segmenter, "opencc", "stopwordsiso")
    versions = (f"{package}-{importlib.metadata.version(package)}" for package in packages)
    return "+".join([str(RULES), f"unicode-{unicodedata.unidata_version}", *versions])


def normalise(text: str) -> str:
    """Return text in NFKC (full width becomes half width), lower case and simplified Chinese.

    Entities are read and invisible characters dropped: :func:`~models.text.characters.visible`. The
    result has at most :data:`MAX_CHARS` characters. A lone surrogate, which JSON can hold and no
    converter accepts, becomes a question mark.
    """
    text = visible(text[:MAX_CHARS].encode("utf-8", "replace").decode("utf-8"))
    text = unicodedata.normalize("NFKC", text.translate(_SIGNS))[:MAX_CHARS].lower().replace("\u2019", "'")[:MAX_CHARS]
    return str(_converter().convert(text))[:MAX_CHARS] if _IS_HAN.search(text) else text


def segment(text: str) -> list[str]:
    """Return the words of a text in order, without stop words and punctuation.

    A text without words (empty, emoji only) gives an empty list. A text of stop words only keeps
    them, because a title such as "It" must not vanish. Several threads may call this.
    """
    segmenter = _state.segmenter()
    words: list[str] = []
    for piece, is_word in segmenter.whole_words.split(normalise(text)):
        words.extend([piece] if is_word else _cut(piece, segmenter))
    kept = [word for word in words if word not in _stop_words()]
    return kept or words


def _cut(piece: str, segmenter: Segmenter) -> list[str]:
    words: list[str] = []
    for token in _TOKEN.findall(piece):
        words.extend(segmenter.cut(token) if _IS_HAN.match(token) else [token])
    return words


def clean(text: str) -> str:
    """Return the words of a text joined by spaces: the encoder's input; ``""`` without words."""
    return " ".join(segment(text))


def own_title(item_id: str, title: str) -> str:
    """Return an item's title, empty where it is only the item's id.

    An item of a file without titles is titled so, and an id means nothing to an encoder.
    """
    return "" if title == item_id else title


def raw_item_text(
    title: str,
    text: str | None = None,
    category: str | None = None,
    tags: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
) -> str:
    """Return the text of an item before cleaning, title first: encoders read only the beginning.

    Only the first :data:`MAX_ITEM_CHARS` characters count. A category that is also in
    ``categories`` stands there once.
    """
    groups = dict.fromkeys((category, *(categories or ())))
    return " ".join(part for part in (title, *groups, *(tags or ()), text) if part)[:MAX_ITEM_CHARS]


def clean_item(raw: str) -> str:
    """Return the cleaned text of an item, at most :data:`MAX_ITEM_CHARS` characters.

    Parameters
    ----------
    raw : what :func:`raw_item_text` returned
    """
    return clean(raw)[:MAX_ITEM_CHARS].rstrip()


def item_text(
    title: str,
    text: str | None = None,
    category: str | None = None,
    tags: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
) -> str:
    """Return the cleaned text of an item, of the same fields as :func:`raw_item_text`."""
    return clean_item(raw_item_text(title, text, category, tags, categories))


def fields_text(item: Mapping[str, Any], item_id: str = "") -> str:
    """Return :func:`item_text` of an item that is given as fields of the contract."""
    return item_text(
        own_title(item_id, item["title"]), *(item.get(name) for name in ("text", "category", "tags", "categories"))
    )


def use_segmenter(name: str) -> None:
    """Choose the segmenter of this process, before its first text.

    Parameters
    ----------
    name : one of :data:`SEGMENTERS`

    Raises
    ------
    ValueError
        When the name is unknown, the package is not installed, or another segmenter has already cut
        texts.
    """
    if name not in SEGMENTERS:
        raise ValueError(f"segmenter {name!r}: there are {', '.join(SEGMENTERS)}; name one of them")
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as exc:
        raise ValueError(f"segmenter {name!r}: is not installed; pip install {name}, or use jieba") from exc
    _state.set(name, _state.words)


def load_user_words(path: Path) -> None:
    """Read the user words of this process, before its first text.

    The words become part of :func:`text_version`. A word that mixes Chinese with other letters, or
    has a space in it, is always found whole. A Chinese word takes part in the segmentation with its
    frequency.

    Raises
    ------
    ValueError
        When the file cannot be read or is not a dictionary, or texts were already cut with other
        words.
    """
    _state.set(_state.name, read_user_words(path, normalise))


def text_version() -> str:
    """Return the version of the cleaning in effect.

    It names the rules, Unicode tables, segmenter, converter, stop words, and a hash of the user
    words if there are any.
    """
    rules = text_rules(_state.name)
    return f"{rules}+words-{digest(_state.words)}" if _state.words else rules


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    import stopwordsiso

    words = stopwordsiso.stopwords("zh") | stopwordsiso.stopwords("en")
    return frozenset(word for word in words if not word.isdecimal())


_lock: Final = threading.Lock()
_converters: Final[list[Any]] = []


def _converter() -> Any:
    """Return the converter from traditional to simplified Chinese, which threads share."""
    with _lock:
        if not _converters:
            from opencc import OpenCC

            _converters.append(OpenCC("t2s"))
    return _converters[0]


class Segmenter:
    """A segmenter with its dictionary and the user words; several threads may cut with it."""

    def __init__(self, name: str, words: Sequence[UserWord]) -> None:
        self._tokenizer: Any = importlib.import_module(name).Jieba() if name == "rjieba" else _jieba()
        whole = [*MIXED_WORDS]
        for word in words:
            if all(_IS_HAN.match(char) for char in word.word):
                self._tokenizer.add_word(word.word, word.freq, word.tag)
            else:
                whole.append(word.word)
        self.whole_words = WholeWords(whole, lambda char: bool(_IS_LETTER.match(char)))

    def cut(self, run: str) -> list[str]:
        """Return the words of a run of Chinese characters."""
        return list(self._tokenizer.cut(run))


def _jieba() -> Any:
    """Return jieba's tokenizer with its dictionary loaded, which takes about a second.

    ``Tokenizer.initialize`` is not called: it reads and writes a cache of marshalled code objects
    in the shared temporary folder.
    """
    with warnings.catch_warnings():
        # Python warns of jieba's old string escapes when it compiles jieba on the first import, and
        # some versions of pkg_resources, which jieba imports, warn of their own age.
        for category in (SyntaxWarning, DeprecationWarning, UserWarning):
            warnings.filterwarnings("ignore", category=category, module=r".*\bjieba\b")
        import jieba

    jieba.default_logger.setLevel(logging.WARNING)
    tokenizer: Any = jieba.Tokenizer()
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(tokenizer.get_dict_file())
    tokenizer.initialized = True
    return tokenizer


class Segmentation:
    """Segmenter and user words of the process.

    The first text fixes them: vectors of texts cut in two ways must not be compared.
    """

    def __init__(self) -> None:
        self.name = SEGMENTERS[0]
        self.words: tuple[UserWord, ...] = ()
        self._lock = threading.Lock()
        self._segmenter: Segmenter | None = None

    def set(self, name: str, words: tuple[UserWord, ...]) -> None:
        """Choose segmenter and user words; raise ValueError if texts were cut otherwise."""
        with self._lock:
            if self._segmenter and (name, words) != (self.name, self.words):
                raise ValueError(
                    f"text cleaning: texts were already cut by {self.name} (user words: {len(self.words)}); "
                    "choose segmenter and user dictionary before the first text"
                )
            self.name, self.words = name, words

    def segmenter(self) -> Segmenter:
        """Return the segmenter, loaded on the first call; the choice is fixed from then on."""
        with self._lock:
            if self._segmenter is None:
                self._segmenter = Segmenter(self.name, self.words)
            return self._segmenter


_state: Final = Segmentation()
