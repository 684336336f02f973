"""Headless Chromium, driven through its DevTools protocol over a pipe: no driver, no port.

https://chromedevtools.github.io/devtools-protocol/ describes the messages. With
``--remote-debugging-pipe`` the browser reads them on descriptor 3 and writes them on 4, each ended
by a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal

OPTIONS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)  # fmt: skip
NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ANSWER_S: Final = 60.0
WAIT_S: Final = 60.0
POLL_S: Final = 0.02
INSTALL_S: Final = 600.0


def find_chromium() -> str | None:
    """Return the path of a Chromium; install Debian's where this process may. None without one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium", "fonts-noto-cjk"]):
            subprocess.run(command, check=False, timeout=INSTALL_S, stdout=subprocess.DEVNULL)
        found = shutil.which("chromium")
    return found


class Browser:
    """A running browser; a context manager.

    Parameters
    ----------
    path : of the program
    profile : an empty folder for its data
    """

    def __init__(self, path: str, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        arguments = [path, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        command = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{to_write}', "bash", *arguments]
        self._process = subprocess.Popen(
            command, pass_fds=(to_read, to_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._buffer = b""
        self._last_id = 0
        self._tabs: dict[str, Tab] = {}
        self._targets: list[str] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Send a command; return its result. What happens meanwhile goes to the tabs."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + ANSWER_S
        while True:
            answer = self._next(deadline - time.monotonic())
            assert answer is not None, f"no answer to {method} within {ANSWER_S} s"
            if answer.get("id") == self._last_id:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])
            self._note(answer)

    def listen(self, seconds: float) -> None:
        """Take what happens for some time."""
        deadline = time.monotonic() + seconds
        while (message := self._next(deadline - time.monotonic())) is not None:
            self._note(message)

    def _next(self, wait_s: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + wait_s
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))

    def _note(self, message: dict[str, Any]) -> None:
        tab = self._tabs.get(message.get("sessionId", ""))
        if tab is not None:
            tab.note(message["method"], message.get("params", {}))

    def close_tabs(self) -> None:
        """Close all tabs, and so their connections."""
        for target in self._targets:
            self.call("Target.closeTarget", targetId=target)
        self._targets, self._tabs = [], {}

    def tab(self, width: int = 1280, height: int = 900, scheme: Literal["light", "dark"] = "light") -> Tab:
        """Return a new tab of a size in CSS pixels, whose system prefers a colour scheme."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        self._targets.append(target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        is_phone = width < 600
        tab.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        return tab


class Tab:
    """One page of the browser.

    Attributes
    ----------
    problems : errors and warnings of the console, uncaught exceptions, and what the browser logged
    requests : address of each request
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._is_loaded = False
        self.problems: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self._browser.call(method, self._session, **parameters)

    def note(self, method: str, parameters: dict[str, Any]) -> None:
        """Take what happened."""
        match method:
            case "Page.loadEventFired":
                self._is_loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Runtime.exceptionThrown":
                self.problems.append(json.dumps(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
                self.problems.append(json.dumps(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                self.problems.append(json.dumps(parameters["entry"]))

    def open(self, url: str) -> None:
        """Open a page, and wait until it is loaded."""
        self._is_loaded = False
        assert "errorText" not in self.call("Page.navigate", url=url)
        self.until(lambda: self._is_loaded, url)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str, wait_s: float = WAIT_S) -> Any:
        """Wait until a JavaScript expression is true; return its value."""
        deadline = time.monotonic() + wait_s
        while not (value := self.ask(expression)):
            assert time.monotonic() < deadline, f"not within {wait_s} s: {expression}\n{self.text()[:3000]}"
            self._browser.listen(POLL_S)
        return value

    def until(self, is_done: Callable[[], bool], what: str) -> None:
        """Wait until something has happened in this tab."""
        deadline = time.monotonic() + WAIT_S
        while not is_done():
            assert time.monotonic() < deadline, f"not within {WAIT_S} s: {what}"
            self._browser.listen(POLL_S)

    def text(self) -> str:
        """Return the text that the page shows."""
        return str(self.ask("document.body.innerText"))

    def press(self, key: str, code: int) -> None:
        """Press a key, such as ``Tab`` (9) or ``Enter`` (13)."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            pressed = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **pressed)

    def picture(self, path: Path) -> None:
        """Write what the tab shows as a PNG file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
