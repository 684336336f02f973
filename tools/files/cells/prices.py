"""Prices as shops write them: ``$12.99``, ``1.299,00 €``, ``¥4,999``, ``1 299,00 kr``, ``CHF 5.-``.

A price is read twice, with a decimal point and with a decimal comma. Mostly only one reading is a
number. ``1,299`` has two: the other prices of the file decide, see :func:`decimal_mark`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

from models.text.characters import visible

Mark = Literal["point", "comma"]
#: The contract's limit.
MAX_PRICE: Final = 1e12
#: No price is longer.
MAX_CHARS: Final = 64
#: ISO 4217, and what shops write instead.
_CODES: Final = frozenset(
    "aed afn all amd aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd btn bwp byn bzd cad cdf chf clp "
    "cny cop crc cup cve czk djf dkk dop dzd egp ern etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl htg huf "
    "idr ils inr iqd irr isk jmd jod jpy kes kgs khr kmf kpw krw kwd kyd kzt lak lbp lkr lrd lsl lyd mad mdl mga mkd "
    "mmk mnt mop mru mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub "
    "rwf sar sbd scr sdg sek sgd shp sle sos srd ssp stn svc syp szl thb tjs tmt tnd top try ttd twd tzs uah ugx usd "
    "uyu uzs ved ves vnd vuv wst xaf xcd xof xpf yer zar zmw zwg "
    "rmb cnh ntd euro euros dollar dollars us a au c ca hk nt s mx r rs rs. fr fr. sfr sfr. kr kr. dkr nkr skr "
    "zł zl kč kc ft lei leu din tl rm rp rp. ksh lv лв лв. руб руб. р р. грн грн. тг "
    "元 圆 圓 円 원 块 塊 人民币 人民幣 港币 港元 美元 欧元 日元 ریال تومان".split()
)
_MINUS: Final = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u2019": "'", "\u066b": ".", "\u066c": "'"}
)
#: A number with what stands around it. A dash after the mark says that there are no cents.
_PARTS: Final = re.compile(
    r"(?P<before>[^0-9]*?)(?P<number>[.,]?[0-9](?:[0-9.,' ]*[0-9])?)(?:[.,]-{1,2}|\.)?(?P<after>[^0-9]*)"
)
_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?[eE][+-]?[0-9]{1,3}")


@dataclass(frozen=True, slots=True)
class WrittenPrice:
    """A price as a text says it: its value with each decimal mark, None where that is no number.

    Parameters
    ----------
    has_currency : whether a currency stands beside the number: a program writes none
    """

    point: float | None
    comma: float | None
    has_currency: bool = False

    @property
    def is_ambiguous(self) -> bool:
        """Whether the two readings differ."""
        return self.point is not None and self.comma is not None and self.point != self.comma

    def value(self, mark: Mark | None) -> float:
        """Return the price.

        Parameters
        ----------
        mark : the file's decimal mark. None where no other price shows it: then a comma stands
            between thousands, and so does a point beside a currency; a point without one is the
            decimal point of a program
        """
        if self.point is None or self.comma is None:
            return self.comma if self.point is None else self.point  # type: ignore[return-value]  # one is a number
        if mark is None:
            return max(self.point, self.comma) if self.has_currency else self.point
        return self.point if mark == "point" else self.comma


def read_price(raw: Any) -> WrittenPrice | str:
    """Return a raw price, or in words what is wrong with it: ``is no number``."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | Decimal | str):
        return "is no number"
    price = _of_text(raw) if isinstance(raw, str) else _of_number(raw)
    if price is None:
        return "is no number"
    known = [value for value in (price.point, price.comma) if value is not None]
    if min(known) < 0:
        return "is below 0"
    return "is above 1e12" if max(known) > MAX_PRICE else price


def decimal_mark(prices: Iterable[WrittenPrice]) -> Mark | None:
    """Return the mark that most prices with one reading have, None where they do not tell."""
    n_points = n_commas = 0
    for price in prices:
        n_points += price.comma is None
        n_commas += price.point is None
    if n_points == n_commas:
        return None
    return "point" if n_points > n_commas else "comma"


def _of_number(raw: float | Decimal) -> WrittenPrice | None:
    try:
        value = float(raw)
    except (OverflowError, ValueError):  # too large, or a signalling NaN
        return None
    return WrittenPrice(value, value) if math.isfinite(value) else None


def _of_text(raw: str) -> WrittenPrice | None:
    """Return the price of a text, None where it is none; a negative one has negative readings."""
    if len(raw) > MAX_CHARS or any(unicodedata.category(char) == "No" for char in raw):
        return None  # a raised figure, as in 12⁹⁹, would become one of the digits before it
    text = unicodedata.normalize("NFKC", visible(raw)).translate(_MINUS)
    text = "".join(str(unicodedata.decimal(char, char)) for char in text).strip()
    if _PLAIN.fullmatch(text):
        return WrittenPrice(float(text), float(text))
    is_negative = text.startswith("(") and text.endswith(")")
    found = _PARTS.fullmatch(text[1:-1] if is_negative else text)
    if not found:
        return None
    around = found["before"], found["after"]
    if any(part.count("-") > 1 for part in around):
        return None
    is_negative |= any("-" in part for part in around)
    names = [part.replace("-", "").replace("+", "").strip() for part in around]
    if not all(map(_is_currency, names)):
        return None
    sign = -1.0 if is_negative else 1.0
    point, comma = (_reading(found["number"], mark) for mark in (".", ","))
    if point is None and comma is None:
        return None
    return WrittenPrice(
        None if point is None else sign * point, None if comma is None else sign * comma, has_currency=any(names)
    )


def _is_currency(name: str) -> bool:
    """Return whether a text is empty or names a currency: ``€``, ``USD``, ``US$``, ``kr.``."""
    letters = "".join(char for char in name if unicodedata.category(char) != "Sc").strip().casefold()
    return not letters or letters in _CODES


def _reading(number: str, mark: str) -> float | None:
    """Return digits and marks as a number with this decimal mark, None where that is none."""
    between = "," if mark == "." else "."
    whole, _, cents = number.partition(mark)
    groups = next((each for each in (" ", "'", between) if each in whole), None)
    if groups is not None:
        first, *others = whole.split(groups)
        if not _are_groups(first, others):
            return None
        whole = first + "".join(others)
    if (whole and not whole.isdigit()) or (cents and not cents.isdigit()) or not (whole or cents):
        return None
    return float(f"{whole or 0}.{cents or 0}")


def _are_groups(first: str, others: list[str]) -> bool:
    """Return whether digits are grouped by thousands, or as in India: 1,29,999."""
    if not 1 <= len(first) <= 3 or first.startswith("0") or len(others[-1]) != 3:
        return False
    widths = {len(group) for group in others[:-1]}
    return widths <= {3} or (widths <= {2} and len(first) <= 2)
