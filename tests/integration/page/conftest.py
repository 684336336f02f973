"""A browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.page.browser import Browser, find_chromium


@pytest.fixture(scope="module")
def running_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Give a running Chromium."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or run the tests as root, which installs it")
    with Browser(path, tmp_path_factory.mktemp("chromium") / "profile") as found:
        yield found


@pytest.fixture
def browser(running_browser: Browser) -> Iterator[Browser]:
    """Give the browser; the test's tabs are closed behind it: each may hold a connection."""
    yield running_browser
    running_browser.close_tabs()
