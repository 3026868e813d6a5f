"""A headless Chromium that tests drive over a pipe (Chrome DevTools Protocol), if one is installed."""

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium (`apt-get install chromium`)")
NAVIGATED = re.compile("target navigated or closed|context was destroyed|Cannot find context")


class Navigated(Exception):
    """The page has gone to another one, or loaded itself again, before it answered."""


class Page:
    """One page of the browser.

    Attributes:
        complaints: What the page or the browser has complained of: exceptions, errors, what the policy has refused.
    """

    def __init__(self, process: subprocess.Popen, commands: int, answers: int):
        self.process, self.commands, self.answers = process, commands, answers
        self.number, self.read, self.session = 0, b"", None
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                if NAVIGATED.search(answer.get("error", {}).get("message", "")):
                    raise Navigated
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.read:
            part = os.read(self.answers, 1 << 20)
            assert part, "the browser has ended"
            self.read += part
        line, _, self.read = self.read.partition(b"\0")
        message = json.loads(line)
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(message["params"]["exceptionDetails"]["exception"]["description"])
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])
        return message

    def open(self, file: Path, width: int = 1280, dark: bool = False, scripts: bool = True) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=features)
        self.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.send("Page.navigate", url=file.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """Returns what an expression of JavaScript gives."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, expression: str, timeout: float = 20) -> None:
        deadline = time.monotonic() + timeout

        def holds() -> bool:
            try:
                return bool(self.value(expression))
            except Navigated:  # a page that writes itself anew has been asked meanwhile
                return False

        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout:.0f} s: {expression}"
            time.sleep(0.05)

    def move(self, x: float, y: float) -> None:
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def picture(self, file: Path) -> None:
        """Writes the whole page as a PNG."""
        found = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Gives a page of a browser whose files are in a folder."""
    to_browser, commands = os.pipe()
    answers, from_browser = os.pipe()
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder}",
        "--remote-debugging-pipe",
    ]

    def connect() -> None:
        held = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_browser, from_browser)]  # 3 and 4 may be these very ones
        os.dup2(held[0], 3)
        os.dup2(held[1], 4)

    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, preexec_fn=connect, close_fds=False, **quiet)
    os.close(to_browser)
    os.close(from_browser)
    try:
        yield Page(process, commands, answers)
    finally:
        process.kill()
        process.wait()
        os.close(commands)
        os.close(answers)
