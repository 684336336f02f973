"""Item text: width, case, Chinese words, stop words, model numbers; any text has a result."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models.text import clean as text_module
from models.text.clean import (
    clean,
    item_text,
    load_user_words,
    normalise,
    segment,
    text_rules,
    text_version,
    use_segmenter,
)

ROOT = Path(__file__).parents[4]
TITLES = [
    "小米手环9 NFC版 智能运动手环 心率血氧监测", "华为Mate60Pro手机壳磁吸防摔", "南极人纯棉四件套床单被套1.5m床上用品",
    "苏泊尔不粘锅炒锅家用电磁炉燃气灶适用", "三只松鼠坚果大礼包1500g混合干果零食", "雅诗兰黛小棕瓶眼霜抗皱淡化黑眼圈",
    "李宁跑步鞋男鞋轻便透气减震运动鞋",
    "得力A4打印纸70g整箱五包装", "春季新款韩版宽松显瘦连衣裙女学生", "儿童积木拼装玩具男孩子益智礼物",
    "結婚對戒情侶款純銀開口可調節", "美的空调1.5匹变频冷暖壁挂式节能省电", "老北京布鞋女软底防滑妈妈鞋", "他来到了网易杭研大厦",
    "小明硕士毕业于中国科学院计算所",
    "欧阳锋和令狐冲在北京大学门口等公交车", "乒乓球拍卖完了", "䶮字与𠮷野家", "永和服装饰品有限公司",
]  # fmt: skip


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the process one that has cut no text yet."""
    monkeypatch.setattr(text_module, "_state", text_module.Segmentation())


def dictionary(folder: Path, content: str) -> Path:
    """Write a user dictionary."""
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:8]}.txt"
    path.write_text(content, "utf-8")
    return path


def test_width_and_case_do_not_matter() -> None:
    """Full width and capitals give the words of half width and small letters."""
    assert segment("ＮＩＫＥ Ａｉｒ") == segment("nike air") == ["nike", "air"]


@pytest.mark.parametrize(
    "token", ["iphone15-pro", "a7m4", "wh-1000xm5", "c++", "c#", "3.5mm", "5g", "rtx4090", "mate60pro", "usb3.0", "1/2"]
)
def test_model_numbers_stay_whole(token: str) -> None:
    """Letters, digits and the marks between them are one word, also between Chinese words."""
    assert token in segment(f"索尼{token.upper()}相机")


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("华为Mate60Pro 5G手机", ["华为", "mate60pro", "5g", "手机"]),
        ("iPhone15-Pro壳", ["iphone15-pro", "壳"]),
        ("RTX4090显卡", ["rtx4090", "显卡"]),
        ("男士T恤 U盘", ["男士", "t恤", "u盘"]),
        ("spat恤", ["spat", "恤"]),
        ("Nike™ Air", ["nike", "air"]),
        ("नमस्ते กี่", ["नमस्ते", "กี่"]),
        ("Чай 紅茶 ティー tea", ["чай", "红茶", "ティー", "tea"]),
    ],
)
def test_words_of_mixed_scripts(title: str, words: list[str]) -> None:
    """Each script has its own rule; trade marks are no letters, vowel signs end no word."""
    assert segment(title) == words


def test_traditional_and_simplified_chinese_are_one() -> None:
    """Both scripts give the same words; whole words are converted, so 乾 stays in a name."""
    assert segment("無線藍牙耳機") == segment("无线蓝牙耳机")
    assert normalise("乾淨 乾隆 後面 皇后") == "干净 乾隆 后面 皇后"


def test_chinese_is_cut_into_words_without_stop_words() -> None:
    """A Chinese run is cut by the segmenter; Chinese and English stop words go."""
    words = segment("我的无线蓝牙耳机 and the strap")
    assert {"无线", "蓝牙", "耳机", "strap"} <= set(words)
    assert not {"的", "and", "the"} & set(words)


def test_a_text_of_stop_words_only_does_not_vanish() -> None:
    """A title of stop words only, such as It, is kept."""
    assert clean("It") == "it"


@pytest.mark.parametrize("text", ["", "   ", "🎉🎉", "👩‍👩‍👧", "!?…", "，。！", "___", "\ud800", "\0"])
def test_a_text_without_words_is_empty(text: str) -> None:
    """No words give an empty text, never an error."""
    assert clean(text) == item_text(text) == ""


def test_a_lone_surrogate_or_nul_costs_only_itself() -> None:
    """Text beside a lone surrogate is read, Chinese too."""
    assert segment("無線\ud800耳機 red\0hat") == ["无线", "耳机", "red", "hat"]


def test_a_huge_text_has_a_bounded_result() -> None:
    """A text of 100,000 characters is cut, not refused."""
    assert 0 < len(clean("耳机 abc " * 16_667)) <= 40_000


@pytest.mark.parametrize("word", ["耳机", "abc ", "\ufdfa"])
def test_an_items_text_has_a_bounded_length(word: str) -> None:
    """An item's text has at most 2,000 characters, also after cleaning; the title stays."""
    found = item_text("zebra", word * 5_000)
    assert 1_000 < len(found) <= 2_000
    assert found.startswith("zebra ")
    assert found == found.strip()


def test_an_item_is_one_text_with_its_title_first() -> None:
    """Title, categories, tags and text are embedded together.

    Each category comes once, and missing fields leave nothing.
    """
    assert item_text("Zebra", "stripes", "animal", ["wild"]) == "zebra animal wild stripes"
    assert item_text("Zebra") == "zebra"
    assert item_text("Zebra", "stripes", "animal", ["wild"], ["horse", "animal"]) == "zebra animal horse wild stripes"


def test_threads_share_one_segmenter() -> None:
    """Concurrent first uses give the result of a single one."""
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(segment("无线蓝牙耳机"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [segment("无线蓝牙耳机")] * 4


def test_both_segmenters_cut_alike(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """rjieba, if installed, gives jieba's words; the version names the one in use."""
    pytest.importorskip("rjieba")
    for words in ("", "小棕瓶 100\n大厦网易\n血氧监测 3 n\n"):
        found = {}
        for name in ("jieba", "rjieba"):
            monkeypatch.setattr(text_module, "_state", text_module.Segmentation())
            use_segmenter(name)
            load_user_words(dictionary(tmp_path, words))
            found[name] = [segment(title) for title in TITLES]
            assert f"{name}-" in text_version()
        assert found["rjieba"] == found["jieba"]


def test_an_unknown_segmenter_is_refused() -> None:
    """The message names the segmenters."""
    with pytest.raises(ValueError, match=r"segmenter 'pkuseg': there are jieba, rjieba"):
        use_segmenter("pkuseg")


def test_user_words_are_found_whole_and_change_the_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Chinese words join the segmentation; mixed ones stay whole in any case and width."""
    assert segment("网易杭研大厦") == ["网易", "杭研", "大厦"]
    monkeypatch.setattr(text_module, "_state", text_module.Segmentation())
    assert text_version() == text_rules("jieba")
    load_user_words(dictionary(tmp_path, "\ufeff杭研大廈 50 n\n華為Mate60\n\nAir Force 1 100\n"))
    assert text_version().startswith(f"{text_rules('jieba')}+words-")
    assert segment("网易杭研大厦") == ["网易", "杭研大厦"]
    assert segment("新华为Ｍate60 手机") == ["新", "华为mate60", "手机"]
    assert segment("华为Mate60Pro") == ["华为", "mate60pro"]
    assert segment("Nike air force 1") == ["nike", "air force 1"]


def test_the_version_follows_the_content_of_the_dictionary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Order, width and path do not change the version; a word or a frequency does."""
    versions = []
    for content in ("甲乙 3\nABC\n", "ａｂｃ\n甲乙 3\n", "甲乙 4\nABC\n", "甲乙 3\nABC\n丙丁\n"):
        monkeypatch.setattr(text_module, "_state", text_module.Segmentation())
        load_user_words(dictionary(tmp_path, content))
        versions.append(text_version())
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_user_words_come_before_the_first_text(fresh: None, tmp_path: Path) -> None:
    """A process cuts all its texts in one way; loading the same words again is allowed."""
    path = dictionary(tmp_path, "小棕瓶\n")
    load_user_words(path)
    segment("小棕瓶")
    load_user_words(path)
    with pytest.raises(ValueError, match="before the first text"):
        load_user_words(dictionary(tmp_path, "大棕瓶\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ok 3\n!!! 3\n", "line 2: .* has no word"),
        (b"ok 0\n", "line 1: frequency 0, from 1"),
        (b"a" * 65, "line 1: .* has no word of 1 to 64 characters"),
        (b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_a_bad_dictionary_is_refused_in_one_line(fresh: None, tmp_path: Path, content: bytes, message: str) -> None:
    """The message names the file, the line and the form to write."""
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_user_words(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.model
def test_loading_jieba_warns_nobody(tmp_path: Path) -> None:
    """In an interpreter that compiles jieba, with warnings as errors, stderr stays empty."""
    code = "from models.text.clean import segment; print(*segment('手机壳'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode"), "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "手机 壳\n", "")
    assert any((tmp_path / "bytecode").rglob("jieba/__init__.*.pyc")), "jieba was not compiled"
