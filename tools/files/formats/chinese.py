"""Tells Chinese text in GB18030 from other text whose bytes happen to be GB18030 too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

#: Of the lines, so many may be broken; each is refused as a row.
MAX_BROKEN_SHARE: Final = 0.1
#: So much of the text must be characters of GB2312, and of its characters so much must be the
#: common ones, which modern text is made of.
MIN_GB2312_SHARE: Final = 0.7
MIN_COMMON_SHARE: Final = 0.7
#: Japanese in EUC-JP has the kana where GB2312 has them; Chinese text has hardly any.
MAX_KANA_SHARE: Final = 0.2
#: Korean in EUC-KR has its syllables where GB2312 has the common characters up to pinyin r; of
#: Chinese text, about 40 % come after these.
MIN_LATE_SHARE: Final = 0.08
ENOUGH: Final = 30
#: Words of exports. A log repeats few words, which say little by their letters; two of these words
#: come from no other encoding by chance.
WORDS: Final = (
    "用户", "会员", "商品", "产品", "编号", "名称", "标题", "时间", "日期", "行为", "类型", "类目", "分类", "价格", "标签", "评分",
    "浏览", "点击", "购买", "加购", "收藏", "下单", "支付", "曝光",
)  # fmt: skip
_PAIR: Final = re.compile(rb"[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[\x30-\x39][\x81-\xfe][\x30-\x39])", re.DOTALL)


def is_chinese(lines: Sequence[bytes]) -> bool:
    """Return whether lines that are not UTF-8 are Chinese in GB18030.

    GB2312, the core of GB18030, has two bytes above 0xa0 for each character. In cp1252 and its
    neighbours, bytes above 0x7f stand alone among letters; Big5 and Shift JIS use lower second or
    first bytes.
    """
    n_broken = 0
    pairs: list[bytes] = []
    words: set[str] = set()
    for line in lines:
        try:
            text = line.decode("gb18030")
        except UnicodeDecodeError:
            n_broken += 1
            continue
        words |= {word for word in WORDS if word in text}
        # four bytes are rare letters and emoji
        pairs += [pair for pair in _PAIR.findall(line) if len(pair) == 2]
    if n_broken > MAX_BROKEN_SHARE * len(lines) or not pairs:
        return False
    if len(words) > 1:
        return True
    core = [pair for pair in pairs if pair[0] >= 0xA1 and pair[1] >= 0xA1]
    han = [pair for pair in core if 0xB0 <= pair[0] <= 0xF7]
    n_common = sum(pair[0] <= 0xD7 for pair in han)
    n_late = sum(0xC9 <= pair[0] <= 0xD7 for pair in han)
    n_kana = sum(pair[0] in (0xA4, 0xA5) for pair in core)
    return (
        bool(han)
        and len(core) >= MIN_GB2312_SHARE * len(pairs)
        and n_common >= MIN_COMMON_SHARE * len(han)
        and n_kana <= MAX_KANA_SHARE * len(core)
        and (len(han) < ENOUGH or n_late >= MIN_LATE_SHARE * len(han))
    )
