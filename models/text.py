"""Item text: one width, one case, Chinese cut into words, stop words dropped, model numbers kept whole."""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Final

#: Part of every vector's version: change the number with any change of the rules below.
TEXT_VERSION: Final = f"2+jieba-{version('jieba')}+stopwordsiso-{version('stopwordsiso')}"
#: Encoders read a few hundred tokens, so text beyond this changes no vector.
MAX_CHARS: Final = 20_000
#: Of an item's text; its title and the beginning of its description say what it is.
MAX_ITEM_CHARS: Final = 2_000

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
#: A Chinese run, or letters and digits of any other script joined by marks that model numbers use: iphone15-pro, c++, 1/2.
_TOKEN: Final = re.compile(rf"[{_HAN}]+|(?:(?![{_HAN}])[^\W_])+(?:[-+.'/&_](?:(?![{_HAN}])[^\W_])+)*[+#]*")
_IS_HAN: Final = re.compile(rf"[{_HAN}]")
_lock: Final = threading.Lock()


def normalise(text: str) -> str:
    """Return text in NFKC (full width becomes half width), lower case, at most :data:`MAX_CHARS` characters."""
    return unicodedata.normalize("NFKC", text[:MAX_CHARS]).lower().replace("\u2019", "'")[:MAX_CHARS]


def segment(text: str) -> list[str]:
    """Return the words of a text in order, without stop words and punctuation.

    Safe to call from several threads. A text without words (empty, emoji only) gives an empty list; one that has nothing but
    stop words keeps them, because a title such as "It" must not vanish.
    """
    words: list[str] = []
    for token in _TOKEN.findall(normalise(text)):
        words.extend(_segmenter().cut(token) if _IS_HAN.match(token) else [token])
    kept = [word for word in words if word not in _stop_words()]
    return kept or words


def clean(text: str) -> str:
    """Return the words of a text joined by spaces: what the encoder is given. A text without words gives ``""``."""
    return " ".join(segment(text))


def item_text(
    title: str, text: str | None = None, category: str | None = None, tags: Sequence[str] | None = None
) -> str:
    """Return the cleaned text that stands for an item: title first, for encoders read only the beginning.

    Of the text given, as of the result, no more than :data:`MAX_ITEM_CHARS` characters count.
    """
    joined = " ".join(part for part in (title, category, *(tags or ()), text) if part)
    return clean(joined[:MAX_ITEM_CHARS])[:MAX_ITEM_CHARS].rstrip()


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    import stopwordsiso

    words = stopwordsiso.stopwords("zh") | stopwordsiso.stopwords("en")
    return frozenset(word for word in words if not word.isdecimal())


class _Segmenter:
    """jieba with its own dictionary, loaded once.

    ``Tokenizer.initialize`` is passed by: it reads and writes a cache of marshalled code objects in the shared temporary folder.
    """

    def __init__(self) -> None:
        import jieba

        jieba.default_logger.setLevel(logging.WARNING)
        self._tokenizer: Any = jieba.Tokenizer()
        self._tokenizer.FREQ, self._tokenizer.total = self._tokenizer.gen_pfdict(self._tokenizer.get_dict_file())
        self._tokenizer.initialized = True

    def cut(self, run: str) -> list[str]:
        """Return the words of a run of Chinese characters; reading the dictionary is safe from several threads."""
        return list(self._tokenizer.cut(run))


_segmenters: Final[list[_Segmenter]] = []


def _segmenter() -> _Segmenter:
    """Return the one segmenter; the first call loads the dictionary, which takes about a second."""
    with _lock:
        if not _segmenters:
            _segmenters.append(_Segmenter())
    return _segmenters[0]
