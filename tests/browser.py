"""A real browser without a window: Chromium, driven over a pipe.

Chromium's DevTools protocol: JSON messages that end with a zero byte, commands to its
file descriptor 3 and answers from its descriptor 4.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

SECONDS = 30.0
SHIFT = 8
# Of keys that do something by themselves: their number, and what they type.
KEYS = {"Tab": (9, ""), "Enter": (13, "\r")}
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--disable-dev-shm-usage --hide-scrollbars --window-size=1100,900 "
    "--remote-debugging-pipe"
).split()


def find() -> str | None:
    """The program, where the machine has it."""
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """One tab.

    Attributes:
        complaints: Errors that scripts threw and what a security policy blocked.
    """

    def __init__(self, folder: Path, *options: str):
        """Start Chromium with a profile in `folder`, and further options."""
        self.complaints = []
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # 3 and 4 there, wherever they are here; sh knows no number above 9
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}', find()]
            + [*OPTIONS, f"--user-data-dir={folder}", *options]
            + ["about:blank"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._session, self._rest = 0, None, b""
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self.send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page"):
            self.send(f"{domain}.enable")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=SECONDS)
        os.close(self._to)
        os.close(self._from)

    def send(self, method: str, **parameters) -> dict:
        """Give a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def open(self, url: str) -> "Browser":
        self.complaints.clear()
        self.send("Page.navigate", url=url)
        return self

    def run(self, script: str):
        """Return the value of a piece of JavaScript in the page."""
        answer = self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self) -> str:
        """What a reader of the page sees of its text."""
        return self.run("document.body?.innerText ?? ''")

    def wait_for(self, text: str) -> str:
        """Wait until the page shows `text`; return all that it shows."""
        deadline = time.monotonic() + SECONDS
        while text not in (seen := self.text()):
            assert time.monotonic() < deadline, f"no {text!r} in: {seen}"
            time.sleep(0.05)
        return seen

    def hover(self, selector: str, across: float = 0.5) -> None:
        """Move the mouse over an element, at this share of its width."""
        x, y = self.run(
            f"(function (element) {{ element.scrollIntoView({{block: 'center'}});"
            "  const box = element.getBoundingClientRect();"
            f"  return [box.left + box.width * {across}, box.top + box.height / 2];"
            f"}})(document.querySelector({json.dumps(selector)}))"
        )
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, name: str, shift: bool = False) -> None:
        """Press and release a key, such as "ArrowLeft"."""
        number, text = KEYS.get(name, (0, ""))
        event = {"key": name, "code": name, "windowsVirtualKeyCode": number}
        event["modifiers"] = SHIFT if shift else 0
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def tab_to(self, text: str) -> None:
        """Press Tab until the element with this text (or label) has the focus."""
        deadline = time.monotonic() + SECONDS
        while self.focused() != text:
            assert time.monotonic() < deadline, f"Tab does not lead to {text!r}"
            self.key("Tab")

    def focused(self) -> str:
        """Text of the element that has the focus, or its label."""
        return self.run("""
            (one => one.getAttribute("aria-label") ?? one.labels?.[0]?.textContent
              ?? one.querySelector("title")?.textContent ?? one.textContent.trim()
            )(document.activeElement)""")

    def picture(self, path: Path) -> None:
        """Keep a picture of the whole page."""
        answer = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _note(self, event: dict) -> None:
        details = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(details["exceptionDetails"])
        elif event.get("method") == "Log.entryAdded":
            entry = details["entry"]
            self.complaints.append(f"{entry['text']} {entry.get('url', '')}".strip())

    def _receive(self, deadline: float) -> dict:
        while b"\0" not in self._rest:
            left = deadline - time.monotonic()
            assert (
                left > 0 and select.select([self._from], [], [], left)[0]
            ), "no answer"
            piece = os.read(self._from, 1 << 16)
            assert piece, "the browser ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
