"""In which language and colours a visitor sees the page."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from streams.server.page.frame.look import LANGUAGES, Look, accepted, look_of
from streams.server.page.frame.shell import PAGES, TEMPLATES
from streams.server.page.frame.texts import locale

PAGE = TEMPLATES.parent
#: Keys that are put together: these beginnings stand in the code.
MADE_OF_PARTS = (
    "type.", "source.", "degraded.", "theme.", "window.", "flow.event_", "flow.window_", "golden.", "stage.", "app.",
    "fate.", "effect.", "runs.kind_",
)  # fmt: skip


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de-DE,de;q=0.9,en;q=0.5,zh;q=0.7", "zh"),
        ("en-GB", "en"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=much", "en"),
        ("zh;q=nan,en;q=0.1", "en"),
        (";;,q=;zh", "en"),
        ("x," * 50 + "zh", "en"),
    ],
)
def test_the_browsers_language_decides(header: str, language: str) -> None:
    """The greatest weight wins; what cannot be read counts nothing."""
    assert accepted(header) == language


def test_a_choice_goes_before_a_cookie_and_a_cookie_before_the_browser() -> None:
    """A link chooses now, a cookie kept an earlier choice; neither names what is not there."""
    assert look_of({}, {}, "zh") == Look("zh", "auto")
    assert look_of({}, {"headrace-language": "en", "headrace-theme": "dark"}, "zh") == Look("en", "dark")
    assert look_of({"language": "zh", "theme": "light"}, {"headrace-language": "en"}, "") == Look("zh", "light")
    assert look_of({"language": "../en", "theme": "<b>"}, {"headrace-theme": "'"}, "") == Look("en", "auto")


def placeholders(text: str) -> set[str]:
    """Return the names that a text wants filled in."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_texts_with_the_same_names_in_them() -> None:
    """A visitor of either language sees every text, with every value."""
    first, *others = LANGUAGES
    for other in others:
        assert locale(other).keys() == locale(first).keys()
        wrong = [key for key, text in locale(first).items() if placeholders(text) != placeholders(locale(other)[key])]
        assert wrong == []
    assert [key for key, text in locale("zh").items() if text == locale("en")[key]] == []


def test_every_text_that_is_asked_for_exists_and_each_is_asked_for() -> None:
    """No template shows a key in place of a text, and no text is left over."""
    sources = "\n".join(path.read_text("utf-8") for path in [*PAGE.rglob("*.j2"), *PAGE.rglob("*.py")])
    asked = set(re.findall(r'\bt\("([a-z_.\-]+)"\s*[,)]', sources)) | {key for _, key in PAGES}
    asked |= set(re.findall(r'texts_of\([a-z]+\)\("([a-z_.]+)"', sources))
    known = locale("en").keys()
    assert asked - known == set()
    assert {key for key in known - asked if not key.startswith(MADE_OF_PARTS)} == set()


def test_no_template_has_script_or_style_of_its_own() -> None:
    """The content security policy would refuse them, and only in the browser."""
    for path in sorted(Path(TEMPLATES).rglob("*.j2")):
        text = path.read_text("utf-8")
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:|hx-on|\|\s*safe\b", text), path.name
        assert all(" src=" in tag for tag in re.findall(r"<script[^>]*>", text)), path.name
