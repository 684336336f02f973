"""Takes the shots of ``docs/screenshots``: ``python -m tests.integration.page.screenshots``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.integration.page.browser import Browser, find_chromium
from tests.integration.page.shop import USER, open_shop

FOLDER: Final = Path(__file__).resolve().parents[3] / "docs" / "screenshots"


class Shot(NamedTuple):
    """One screenshot: what it shows, and how.

    Parameters
    ----------
    act : a script that is run on the page before
    """

    name: str
    path: str
    language: str
    theme: str
    width: int = 1280
    height: int = 820
    act: str = ""


CHECKS: Final = """
document.getElementById('place').value = '/srv/models/2026-12-01';
document.querySelector('main form button').click();
"""
NEAR: Final = """
document.getElementById('of').value = 'sku-1003';
document.querySelector('#near-head + form button').click();
"""
PREVIEWS: Final = """
document.getElementById('rules-text').value = 'deny = ["sku-1001"]\\n\\n[[pins]]\\nitem = "sku-1004"\\nplace = 1\\n';
document.querySelector('main form button').click();
setTimeout(() => document.getElementById('try').scrollIntoView(), 500);
"""
SHOTS: Final = (
    Shot("user-en-light", f"/page/user?id={USER}&", "en", "light"),
    Shot("user-zh-dark", f"/page/user?id={USER}&", "zh", "dark"),
    Shot("user-zh-light-390", f"/page/user?id={USER}&", "zh", "light", 390, 844),
    Shot("overview-en-light", "/?", "en", "light"),
    Shot("overview-zh-dark", "/?", "zh", "dark"),
    Shot("overview-en-light-390", "/?", "en", "light", 390, 900),
    Shot("users-en-light", "/page/users?", "en", "light", 1280, 460),
    Shot("item-en-light", "/page/item?id=sku-1003&", "en", "light", 1280, 620),
    Shot("items-zh-dark-390", "/page/items?", "zh", "dark", 390, 844),
    Shot("models/en-light", "/page/models?", "en", "light", 1280, 1130, act=CHECKS),
    Shot("models/zh-dark", "/page/models?", "zh", "dark", 1280, 1130, act=CHECKS),
    Shot("models/en-dark-390", "/page/models?", "en", "dark", 390, 844),
    Shot("models/zh-light-390", "/page/models?", "zh", "light", 390, 844),
    Shot("rules/en-light", f"/page/rules?user={USER}&", "en", "light", act=PREVIEWS),
    Shot("rules/zh-dark", f"/page/rules?user={USER}&", "zh", "dark", act=PREVIEWS),
    Shot("rules/zh-light-390", f"/page/rules?user={USER}&", "zh", "light", 390, 844, act=PREVIEWS),
    Shot("rules/en-dark-390", f"/page/rules?user={USER}&", "en", "dark", 390, 844, act=PREVIEWS),
    Shot("map/en-light", f"/page/items/map?user={USER}&", "en", "light", 1280, 900, act=NEAR),
    Shot("map/zh-dark", f"/page/items/map?user={USER}&", "zh", "dark", 1280, 900, act=NEAR),
    Shot("map/en-dark-390", f"/page/items/map?user={USER}&", "en", "dark", 390, 844),
    Shot("map/zh-light-390", f"/page/items/map?user={USER}&", "zh", "light", 390, 844),
    Shot("runs/en-light", "/page/runs?", "en", "light"),
    Shot("runs/zh-dark", "/page/runs?", "zh", "dark"),
    Shot("runs/en-dark-390", "/page/runs?", "en", "dark", 390, 844),
    Shot("runs/zh-light-390", "/page/runs?", "zh", "light", 390, 844),
    Shot("rejects-zh-light", "/page/rejects?", "zh", "light"),
    Shot("rejects-en-dark-390", "/page/rejects?reason=missing&", "en", "dark", 390, 844),
)


def take(folder: Path) -> None:
    """Write all screenshots into a folder."""
    path = find_chromium()
    assert path is not None, "no Chromium here: apt-get install chromium"
    with tempfile.TemporaryDirectory() as work:
        with open_shop(Path(work) / "shop") as url, Browser(path, Path(work) / "profile") as browser:
            for shot in SHOTS:
                tab = browser.tab(shot.width, shot.height)
                tab.open(f"{url}{shot.path}language={shot.language}&theme={shot.theme}")
                if shot.act:
                    tab.ask(shot.act)
                browser.listen(1.2)
                tab.picture(folder / f"{shot.name}.png")
                browser.close_tabs()


if __name__ == "__main__":
    take(FOLDER)
