"""Each page in Chromium: no error, nothing from elsewhere, on a phone too, and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.page.browser import Browser
from tests.integration.page.screenshots import FOLDER, SHOTS, Shot
from tests.integration.page.shop import IDS, USER, open_shop
from tests.unit.streams.server.page.deployed import NEW, NEXT, ROOT

pytestmark = pytest.mark.long

PAGES = (
    "/",
    "/page/users",
    f"/page/user?id={USER}",
    "/page/items",
    f"/page/item?id={IDS[3]}",
    f"/page/items/map?user={USER}",
    "/page/models",
    f"/page/rules?user={USER}",
    "/page/rejects?reason=missing",
    "/page/runs",
    "/page/static/nothing.css",
)
#: Each label, name and landmark that somebody needs who does not see the page.
UNNAMED = """[
  ...[...document.querySelectorAll('input, select')].filter(field => !field.labels.length),
  ...[...document.querySelectorAll('a, button')].filter(one => !one.innerText.trim()),
  ...[...document.querySelectorAll('nav, section')].filter(
    one => !one.ariaLabel && !document.getElementById(one.getAttribute('aria-labelledby'))),
  ...[...document.querySelectorAll('img')].filter(one => !one.hasAttribute('alt')),
].map(one => one.outerHTML)"""
#: Contrast of text and background, as WCAG 2 defines it, of each element with text of its own.
LOW_CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(
    v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((a, v, i) => a + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = one => { for (; one; one = one.parentElement) {
    const found = rgba(getComputedStyle(one).backgroundColor); if (found[3] === 255) return found; }
    return [255, 255, 255, 255]; };
  return [...document.querySelectorAll('body *')].filter(one => one.checkVisibility() &&
    [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).map(one => {
      const [a, b] = [light(rgba(getComputedStyle(one).color)), light(behind(one))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.outerHTML.slice(0, 80)];
    }).filter(([contrast]) => contrast < 4.5);
})()"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a made shop's page."""
    with open_shop(tmp_path_factory.mktemp("shop")) as url:
        yield url


@pytest.mark.parametrize(("theme", "language"), [("light", "en"), ("dark", "zh")])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole(browser: Browser, shop: str, path: str, width: int, theme: str, language: str) -> None:
    """No error, no request elsewhere, no scrolling sideways; names and contrast for everybody."""
    tab = browser.tab(width)
    tab.open(f"{shop}{path}{'&' if '?' in path else '?'}language={language}&theme={theme}")
    browser.listen(0.6)
    expected = [] if "nothing" not in path else ["404"]
    assert [problem for problem in tab.problems if not any(status in problem for status in expected)] == []
    assert [url for url in tab.requests if not url.startswith((f"{shop}/", "data:"))] == []
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask("document.documentElement.lang") == {"en": "en", "zh": "zh-Hans"}[language]
    assert tab.ask("document.querySelectorAll('h1').length") == 1
    assert tab.ask(UNNAMED) == []
    assert tab.ask(LOW_CONTRAST) == []


def test_the_systems_colours_are_followed_until_somebody_chooses(browser: Browser, shop: str) -> None:
    """Dark systems get a dark page, and a choice goes before the system's."""
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = browser.tab(scheme="light"), browser.tab(scheme="dark")
    for tab in (light, dark):
        tab.open(f"{shop}/?theme=auto")
    assert light.ask(paper) != dark.ask(paper)
    dark.open(f"{shop}/?theme=light")
    assert light.ask(paper) == dark.ask(paper)
    dark.open(f"{shop}/page/users")  # the choice was kept
    assert light.ask(paper) == dark.ask(paper)


def test_the_keyboard_reaches_the_content_first_and_finds_a_user(browser: Browser, shop: str) -> None:
    """The first Tab shows a way past the navigation; stops can be seen; Enter sends the form."""
    tab = browser.tab()
    tab.open(f"{shop}/page/users?language=en&theme=light")
    tab.press("Tab", 9)
    assert tab.ask("document.activeElement.textContent") == "Skip to the content"
    assert tab.ask("document.activeElement.getBoundingClientRect().left") >= 0
    tab.press("Enter", 13)
    tab.wait("document.activeElement.id === 'main'")
    tab.press("Tab", 9)
    assert tab.ask("document.activeElement.id") == "user"
    assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.ask(f"document.activeElement.value = '{USER}'")
    tab.press("Enter", 13)
    tab.wait(f"location.search === '?id={USER}'")
    tab.wait(f"document.querySelectorAll('.list > li').length === 6 && document.body.innerText.includes('{IDS[0]}')")


def test_an_event_that_is_only_pretended_shows_its_list_and_what_moved(browser: Browser, shop: str) -> None:
    """The list beneath stays as it is, because nothing was published."""
    tab = browser.tab(390)
    tab.open(f"{shop}/page/user?id={USER}&language=en")
    before = tab.ask("document.getElementById('live').innerText")
    tab.ask(f"document.getElementById('item').value = '{IDS[5]}'")
    tab.ask("document.getElementById('pretend').click()")
    tab.wait("document.getElementById('what-if').innerText.includes('If a click of 雨衣 男款 轻量 came now')")
    assert tab.ask("document.querySelector('#what-if .title').innerText").startswith("Down jacket, women's")
    assert "↓" in tab.ask("document.getElementById('what-if').innerText")
    assert "↑4" in tab.ask("document.getElementById('what-if').innerText")
    assert tab.ask("document.getElementById('live').innerText") == before
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.problems == []


def test_rejects_show_their_bytes_and_are_checked_before_they_are_sent(browser: Browser, shop: str) -> None:
    """A reject opens; the button says what would be sent, and reloads nothing."""
    tab = browser.tab(390)
    tab.open(f"{shop}/page/rejects?reason=missing&language=en")
    tab.ask("document.querySelectorAll('details').forEach(one => { one.open = true })")
    assert "7b 22 76 22 3a 31" in tab.text() and '{"v":1,"event_id' in tab.text()
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.ask("document.getElementById('reason').value") == "missing"
    tab.ask("document.querySelector('button[value=check]').click()")
    tab.wait("document.getElementById('said').innerText.startsWith('84 events would be sent; 6 would be')")
    tab.ask("document.querySelector('button[value=send]').click()")
    tab.wait("document.getElementById('said').innerText.startsWith('84 events sent')")
    assert tab.problems == []


def test_a_model_is_checked_before_it_is_published(browser: Browser, shop: str) -> None:
    """Two steps by keyboard; an artifact with other golden lists, or from elsewhere, is refused."""
    tab = browser.tab(390)
    tab.open(f"{shop}/page/models?language=en")
    tab.ask("document.getElementById('place').focus()")
    for place, told in (("/etc", "outside /srv/models"), (f"{ROOT}/unlike", "Recommenders refuse an artifact")):
        tab.ask(f"document.getElementById('place').value = '{place}'")
        tab.press("Enter", 13)
        tab.wait(f"document.getElementById('confirm').innerText.includes('{told}')")
        assert tab.ask("document.querySelectorAll('#confirm button').length") == 0
    tab.ask(f"document.getElementById('place').value = '{ROOT}/2026-12-01'")
    tab.press("Enter", 13)
    tab.wait(f"document.getElementById('confirm').innerText.includes('Publish {NEXT}?')")
    assert "0.2134" in tab.ask("document.getElementById('confirm').innerText")
    tab.wait("document.querySelector('#confirm button')?.checkVisibility()")
    tab.ask("document.querySelector('#confirm button').focus()")
    tab.press("Enter", 13)
    tab.wait("document.getElementById('confirm').innerText.startsWith('Announced: live@0.8')")
    tab.ask("document.getElementById('roll-back').click()")
    tab.wait(f"document.getElementById('confirm').innerText.includes('Take {NEW} back')")
    tab.ask("document.querySelector('#confirm button').click()")
    tab.wait("document.getElementById('confirm').innerText.startsWith('Announced: live@0.8')")
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    assert tab.problems == []


def test_rules_are_tried_on_a_users_list_before_they_are_put(browser: Browser, shop: str) -> None:
    """An error names its line; a preview marks what changes; a text that changed is refused."""
    tab = browser.tab(390)
    tab.open(f"{shop}/page/rules?user={USER}&language=en")
    write = "document.getElementById('rules-text').value = "
    press = "document.querySelector('main form button').click()"
    tab.ask(write + """'deny = ["sku-1001"]\\nlist_size = 0\\n'""")
    tab.ask(press)
    tab.wait("document.getElementById('confirm').innerText.startsWith('line 2: list_size=0: must be between 1')")
    tab.ask(write + """'deny = ["sku-1001"]\\n[[pins]]\\nitem = "sku-1004"\\nplace = 1\\n'""")
    tab.ask(press)
    tab.wait("document.getElementById('confirm').innerText.includes('can be used')")
    fates = "[...document.querySelectorAll('#confirm .list > li')].map(li => li.className.slice(3)).join(' ')"
    assert tab.ask(fates) == "down gone same same up up up down same same up new"
    assert tab.ask("document.documentElement.scrollWidth") <= 390
    tab.ask(write + "'deny = []'")
    tab.ask("document.querySelector('#confirm button').click()")
    tab.wait("document.getElementById('confirm').innerText.includes('changed since the preview')")
    tab.ask(press)
    tab.wait("document.getElementById('confirm').innerText.includes('can be used')")
    tab.ask("document.querySelector('#confirm button').click()")
    tab.wait("document.getElementById('confirm').innerText.startsWith('Announced: default@0.4')")
    assert tab.problems == []


def test_a_click_on_the_map_shows_and_marks_the_nearest_items(browser: Browser, shop: str) -> None:
    """The form beside it does the same for who sees no map; the user and the window are on it."""
    tab = browser.tab()
    tab.open(f"{shop}/page/items/map?user={USER}&language=en")
    tab.wait("document.getElementById('map').dataset.drawn")
    chart = "echarts.getInstanceByDom(document.getElementById('map'))"
    series = f"Object.fromEntries({chart}.getOption().series.map(one => [one.id, one.data.length]))"
    assert tab.ask(series) == {"items": 910, "near": 0, "window": 4, "user": 1}
    x, y = tab.ask(f"{chart}.convertToPixel('grid', [-0.56, -0.34])")  # of sku-1003
    left, top = tab.ask("(r => [r.left, r.top])(document.getElementById('map').getBoundingClientRect())")
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        tab.call("Input.dispatchMouseEvent", type=kind, x=left + x, y=top + y, **pressed)
    tab.wait("document.querySelectorAll('#near .list > li').length")
    tab.wait(f"{series}.near === 9")
    tab.ask("document.getElementById('of').value = 'sku-1003'")
    tab.ask("document.querySelector('#near-head + form button').click()")
    tab.wait("document.getElementById('near').innerText.startsWith('Head torch, 400 lm')")
    assert "Down jacket" in tab.ask("document.getElementById('near').innerText")
    assert tab.problems == []


def test_a_server_that_ends_is_told(browser: Browser, tmp_path: Path) -> None:
    """Nobody takes an old list for a new one."""
    tab = browser.tab()
    with open_shop(tmp_path / "shop") as url:
        tab.open(f"{url}/page/user?id={USER}&language=en")
        assert tab.ask("document.getElementById('lost').hidden") is True
    tab.wait("document.getElementById('lost').hidden === false")


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_each_screenshot_is_kept(shot: Shot) -> None:
    """``python -m tests.integration.page.screenshots`` takes them; somebody looks at them."""
    data = (FOLDER / f"{shot.name}.png").read_bytes()
    size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    assert size == (shot.width, shot.height) and len(data) < 300_000
