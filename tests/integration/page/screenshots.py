"""Takes the shots of ``docs/screenshots``: ``python -m tests.integration.page.screenshots``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from tests.integration.page.browser import Browser, find_chromium
from tests.integration.page.shop import USER, open_shop

FOLDER: Final = Path(__file__).resolve().parents[3] / "docs" / "screenshots"


class Shot(NamedTuple):
    """One screenshot: what it shows, and how."""

    name: str
    path: str
    language: str
    theme: str
    width: int = 1280
    height: int = 820


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
                browser.listen(1.0)
                tab.picture(folder / f"{shot.name}.png")


if __name__ == "__main__":
    take(FOLDER)
